import { all, only, table } from '../files/key-table.js';

/** Keys of every config.json that change nothing: where the model came from, what Python returns, the heads of other tasks. */
export const KEPT_KEYS = table({
  ...all('kept', '_name_or_path _commit_hash transformers_version architectures auto_map return_dict'),
  ...all('kept', 'output_attentions output_hidden_states use_cache chunk_size_feed_forward'),
  ...all('kept', 'gradient_checkpointing torchscript attn_implementation _attn_implementation_autoset'),
  ...all('kept', 'id2label label2id num_labels problem_type finetuning_task task_specific_params'),
  ...all('kept', 'classifier_dropout tie_word_embeddings bos_token_id eos_token_id sep_token_id'),
});

/** What every encoder refuses. */
export const ENCODERS_ALONE = table({
  is_decoder: only('Encoders alone are supported.', false, null),
  is_encoder_decoder: only('Encoders alone are supported.', false, null),
  add_cross_attention: only('Encoders alone are supported.', false, null),
  per_layer_config: only('All layers must be alike.', null, {}),
  pruned_heads: only('Models with pruned heads are not supported.', null, {}),
  quantization_config: only('The weights are quantized: save the model unquantized.', null),
});

/** config.json of BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT and MPNet. */
export const CONFIG_KEYS = new Map([
  ...KEPT_KEYS,
  ...ENCODERS_ALONE,
  ...table({
    ...all('read', 'model_type vocab_size max_position_embeddings type_vocab_size pad_token_id'),
    ...all('read', 'hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act'),
    ...all('read', 'hidden_dropout_prob attention_probs_dropout_prob layer_norm_eps initializer_range'),
    ...all('read', 'dim n_layers n_heads hidden_dim activation dropout attention_dropout'),
    ...all('read', 'relative_attention_num_buckets dtype torch_dtype'),
    // The heads of other tasks, and initialisation.
    ...all('kept', 'qa_dropout seq_classif_dropout sinusoidal_pos_embds tie_weights_'),
    ...all('kept', 'directionality pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers'),
    ...all('kept', 'pooler_size_per_head pooler_type output_past'),
    position_embedding_type: only('Relative positions are not supported.', 'absolute', null),
  }),
]);
