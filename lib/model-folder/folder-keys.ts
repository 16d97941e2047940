import { all, only, table, type KeyTable } from '../files/key-table.js';
import { OLDER_KEYS } from './older-keys.js';

/** Keys of sentence_bert_config.json whose meaning depends on no task. */
const ANY_TASK = {
  ...all('read', 'max_seq_length do_lower_case query_length document_length'),
  ...all('kept', 'model_args tokenizer_args config_args model_kwargs processor_kwargs config_kwargs'),
  ...all('kept', 'unpad_inputs cache_dir backend'),
  module_output_name: only('Its output must go to the pooling.', 'token_embeddings'),
  processing_kwargs: only('Remove it; max_seq_length states the length of texts.', {}, null),
  tokenizer_name_or_path: only('The tokenizer must lie in the folder.', null),
} as const;

const textAlone = (output: string) =>
  only('Text alone is supported.', { text: { method: 'forward', method_output_name: output } });

const FEATURES = {
  ...ANY_TASK,
  transformer_task: only('Other tasks than embedding are not supported.', 'feature-extraction'),
  modality_config: textAlone('last_hidden_state'),
} as const;
const NO_EXPANSION = only('It is for models with a representation for each token.', null);

/** sentence_bert_config.json: the Transformer module of sentence-transformers. */
export const TRANSFORMER_KEYS = table({ ...FEATURES, query_expansion: NO_EXPANSION });

/** The same file of a model with a representation for each token. */
export const TOKEN_TRANSFORMER_KEYS = table({ ...FEATURES, ...all('read', 'query_expansion') });

/** The same file before a SpladePooling. */
export const MASKED_LANGUAGE_MODEL_KEYS = table({
  ...ANY_TASK,
  query_expansion: NO_EXPANSION,
  transformer_task: only('SPLADE needs the logits of a masked language model.', 'fill-mask'),
  modality_config: textAlone('logits'),
});

/** The same file of a cross-encoder. */
export const CLASSIFIER_KEYS = table({
  ...ANY_TASK,
  transformer_task: only('Sequence classification alone is supported.', 'sequence-classification'),
  modality_config: textAlone('logits'),
  module_output_name: only('Its output must be the scores.', 'scores'),
});

const ANY_MODEL = {
  ...all('read', 'prompts default_prompt_name similarity_fn_name'),
  ...all('kept', '__version__ requirements'),
} as const;

/** config_sentence_transformers.json: the model as a whole. */
export const MODEL_KEYS = table({
  ...ANY_MODEL,
  ...all('read', 'truncate_dim'),
  model_type: only('Models of another kind are not supported.', 'SentenceTransformer'),
});

/** The same file of a model with a representation for each token. */
export const TOKEN_MODEL_KEYS = table({
  ...ANY_MODEL,
  ...all('read', `model_type ${OLDER_KEYS}`),
  truncate_dim: only('Token representations are not cut.', null),
});

/** The same file of a sparse encoder. */
export const SPARSE_MODEL_KEYS = table({
  ...ANY_MODEL,
  ...all('read', 'model_type'),
  truncate_dim: only('A sparse representation is a row over the whole vocabulary.', null),
  max_active_dims: only('Representations with all their dimensions are supported.', null),
});

/** The same file of a cross-encoder. */
export const CROSS_ENCODER_KEYS = table({
  ...ANY_MODEL,
  ...all('read', 'activation_fn'),
  ...all('kept', 'keep_in_fp32_modules'),
  model_type: only('Models of another kind are not supported.', 'CrossEncoder'),
});

/** An entry of modules.json. */
export const ENTRY_KEYS = table({
  ...all('read', 'idx name path type'),
  kwargs: only('A module that takes arguments at encoding time is not supported.', [], null),
});

export const POOLING_KEYS = table({
  ...all('read', 'word_embedding_dimension embedding_dimension pooling_mode'),
  ...all('read', 'pooling_mode_cls_token pooling_mode_max_tokens pooling_mode_mean_tokens'),
  ...all('read', 'pooling_mode_mean_sqrt_len_tokens pooling_mode_weightedmean_tokens pooling_mode_lasttoken'),
  ...all('read', 'include_prompt'),
});

export const SPLADE_KEYS = table({
  ...all('read', 'pooling_strategy activation_function embedding_dimension word_embedding_dimension'),
  ...all('kept', 'chunk_size'),
});

const ON_EMBEDDINGS = only('It must work on the pooled representation.', 'sentence_embedding', null);
export const DENSE_KEYS = table({
  ...all('read', 'in_features out_features bias activation_function use_residual'),
  module_input_name: ON_EMBEDDINGS,
  module_output_name: ON_EMBEDDINGS,
});

export const NORM_KEYS = table(all('read', 'dimension'));
export const DROPOUT_KEYS = table(all('read', 'dropout'));

export const NORMALIZE_KEYS = table({
  module_input_name: ON_EMBEDDINGS,
  module_output_name: ON_EMBEDDINGS,
});

export const MASK_KEYS = table({
  ...all('read', 'skiplist_words skiplist_tasks'),
  keep_only_token_ids: only('Tokens that alone count are for images.', null, []),
});

/** The keys that say what a Dense or a Normalize works on. */
const ON_TOKENS = only('It must work on the tokens.', 'token_embeddings', null);
export const TOKEN_DENSE_KEYS: KeyTable = new Map([
  ...DENSE_KEYS,
  ['module_input_name', ON_TOKENS],
  ['module_output_name', ON_TOKENS],
]);
export const TOKEN_NORMALIZE_KEYS = table({ module_input_name: ON_TOKENS, module_output_name: ON_TOKENS });
