/** What the length limit of a model is taken from. */
export interface LengthSources {
  readonly modelType: string;
  /** config.json */
  readonly config: Readonly<Record<string, unknown>>;
  /** sentence_bert_config.json, where there is one. */
  readonly sentenceConfig: Readonly<Record<string, unknown>>;
  /** tokenizer_config.json, where there is one. */
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
}

/** Models that number positions from the padding id plus one, so that many rows of the table are never used. */
const POSITIONS_AFTER_PADDING = new Set(['roberta', 'xlm-roberta', 'xlm-roberta-xl', 'camembert', 'mpnet']);

/**
 * The most tokens of a text, special ones included: `max_seq_length` of sentence_bert_config.json, else
 * `model_max_length` of tokenizer_config.json, and in no case more than the model has positions for
 * (`max_position_embeddings`, less the padding id plus one for RoBERTa, XLM-RoBERTa, CamemBERT and MPNet). The limit
 * inside tokenizer.json is not used: neither transformers nor sentence-transformers do.
 *
 * @returns undefined where none of them says anything
 */
export function lengthLimitOf({
  modelType,
  config,
  sentenceConfig,
  tokenizerConfig,
}: LengthSources): number | undefined {
  const positions = asLength(config.max_position_embeddings);
  // MPNet counts from 2 whatever its config says about padding.
  const padding = modelType === 'mpnet' ? 1 : (asLength(config.pad_token_id) ?? 1);
  const offset = POSITIONS_AFTER_PADDING.has(modelType) ? padding + 1 : 0;
  const stated = asLength(sentenceConfig.max_seq_length) ?? asLength(tokenizerConfig.model_max_length);
  const limit = Math.min(stated ?? Infinity, positions === undefined ? Infinity : positions - offset);
  return Number.isFinite(limit) ? limit : undefined;
}

/** tokenizer_config.json says 1e30 where it means "no limit". */
function asLength(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < 1e9
    ? value
    : undefined;
}
