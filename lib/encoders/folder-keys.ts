import { isDeepStrictEqual } from 'node:util';
import { GradCacheError } from '../errors.js';
import { show } from '../option-values.js';

/**
 * What a key of a model folder's file means here:
 *
 * - `'read'`: it is honoured, and written anew when the model is saved;
 * - `'kept'`: it changes no representation, and is saved as it was read;
 * - `{ only }`: it changes nothing at these values, and is refused at any other.
 *
 * A key that no table names changes nothing in Python either, and is kept.
 */
type Meaning = 'read' | 'kept' | { readonly only: readonly unknown[]; readonly way: string };
export type KeyTable = ReadonlyMap<string, Meaning>;

/** The keys of a JSON object that are saved as they were read. */
export type KeptKeys = Readonly<Record<string, unknown>>;

const table = (meanings: Readonly<Record<string, Meaning>>): KeyTable => new Map(Object.entries(meanings));
const all = (meaning: Meaning, keys: string): Record<string, Meaning> =>
  Object.fromEntries(keys.split(/\s+/).map((key) => [key, meaning]));
const only = (way: string, ...values: unknown[]): Meaning => ({ only: values, way });

/** config.json of BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT and MPNet. */
export const CONFIG_KEYS = table({
  ...all('read', 'model_type vocab_size max_position_embeddings type_vocab_size pad_token_id'),
  ...all('read', 'hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act'),
  ...all('read', 'hidden_dropout_prob attention_probs_dropout_prob layer_norm_eps initializer_range'),
  ...all('read', 'dim n_layers n_heads hidden_dim activation dropout attention_dropout'),
  ...all('read', 'relative_attention_num_buckets dtype torch_dtype'),
  // Where the model came from, what Python returns beside it, and how Python computes it.
  ...all('kept', '_name_or_path _commit_hash transformers_version architectures auto_map return_dict'),
  ...all('kept', 'output_attentions output_hidden_states use_cache chunk_size_feed_forward'),
  ...all('kept', 'gradient_checkpointing torchscript attn_implementation _attn_implementation_autoset'),
  // Of the heads of other tasks, and of initialisation.
  ...all('kept', 'id2label label2id num_labels problem_type finetuning_task task_specific_params'),
  ...all('kept', 'classifier_dropout qa_dropout seq_classif_dropout tie_word_embeddings'),
  ...all('kept', 'bos_token_id eos_token_id sep_token_id sinusoidal_pos_embds tie_weights_'),
  ...all('kept', 'directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers'),
  ...all('kept', 'pooler_size_per_head pooler_type output_past'),
  position_embedding_type: only('Relative positions are not supported.', 'absolute', null),
  is_decoder: only('Encoders alone are supported.', false, null),
  is_encoder_decoder: only('Encoders alone are supported.', false, null),
  add_cross_attention: only('Encoders alone are supported.', false, null),
  per_layer_config: only('All layers must be alike.', null, {}),
  pruned_heads: only('Models with pruned heads are not supported.', null, {}),
  quantization_config: only('The weights are quantized: save the model unquantized.', null),
});

/** sentence_bert_config.json: the Transformer module of sentence-transformers. */
export const TRANSFORMER_KEYS = table({
  ...all('read', 'max_seq_length do_lower_case query_length document_length'),
  ...all('kept', 'model_args tokenizer_args config_args model_kwargs processor_kwargs config_kwargs'),
  ...all('kept', 'unpad_inputs cache_dir backend'),
  transformer_task: only('Other tasks than embedding are not supported.', 'feature-extraction'),
  modality_config: only('Text alone is supported.', {
    text: { method: 'forward', method_output_name: 'last_hidden_state' },
  }),
  module_output_name: only('Its output must go to the pooling.', 'token_embeddings'),
  processing_kwargs: only('Remove it; max_seq_length states the length of texts.', {}, null),
  query_expansion: only('Models that compare token by token are not supported.', null),
  tokenizer_name_or_path: only('The tokenizer must lie in the folder.', null),
});

/** config_sentence_transformers.json: the model as a whole. */
export const MODEL_KEYS = table({
  ...all('read', 'prompts default_prompt_name similarity_fn_name truncate_dim'),
  ...all('kept', '__version__ requirements'),
  model_type: only('Models of another kind are not supported.', 'SentenceTransformer'),
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
  include_prompt: only('Pooling that leaves out the tokens of the prompt is not supported.', true),
});

const ON_EMBEDDINGS = only('It must work on the pooled representation.', 'sentence_embedding', null);
export const DENSE_KEYS = table({
  ...all('read', 'in_features out_features bias activation_function'),
  module_input_name: ON_EMBEDDINGS,
  module_output_name: ON_EMBEDDINGS,
  use_residual: only('A dense layer with a residual is not supported.', false),
});

export const NORMALIZE_KEYS = table({
  module_input_name: ON_EMBEDDINGS,
  module_output_name: ON_EMBEDDINGS,
});

/**
 * Refuses the keys that have a value which cannot be honoured.
 *
 * @throws GradCacheError `CHECKPOINT` naming the file, the key, its value and what would do
 */
export function requireKeys(path: string, content: KeptKeys, keys: KeyTable): void {
  for (const [key, value] of Object.entries(content)) {
    const meaning = keys.get(key);
    if (typeof meaning !== 'object' || meaning.only.some((each) => isDeepStrictEqual(each, value))) continue;
    throw new GradCacheError(
      'CHECKPOINT',
      `${path}: ${key} is ${show(value)}; supported is ${JSON.stringify(meaning.only[0])}. ${meaning.way}`,
    );
  }
}

/** What of a file's content is saved as it was read. */
export function keptKeys(content: KeptKeys, keys: KeyTable): KeptKeys {
  return Object.fromEntries(Object.entries(content).filter(([key]) => keys.get(key) !== 'read'));
}
