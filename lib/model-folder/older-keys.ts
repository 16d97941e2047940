/** Keys of config_sentence_transformers.json that only PyLate writes. */
export const OLDER_KEYS =
  'query_length document_length query_expansion do_query_expansion attend_to_expansion_tokens attend_to_mask_tokens ' +
  'query_prefix document_prefix skiplist_words';
