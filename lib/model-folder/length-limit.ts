import { faultIn, refusedIn } from '../files/file-fault.js';
import { SettingError } from '../options/fields.js';
import { show } from '../options/option-values.js';
import { plural } from '../options/plural.js';
import { positionsIn } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';

/** What the length limit of a model is taken from. */
export interface LengthSources {
  readonly modelType: string;
  /** config.json */
  readonly config: Readonly<Record<string, unknown>>;
  /** `max_seq_length` of sentence_bert_config.json; null where it says nothing. */
  readonly sentenceLength: number | null;
  /** `model_max_length` of tokenizer_config.json. */
  readonly tokenizerLength: unknown;
}

/** From here on, tokenizer_config.json means "no limit": it says 1e30. */
const NO_LIMIT = 1e9;

/**
 * The most tokens of a text, special ones included: `max_seq_length` of sentence_bert_config.json, else
 * `model_max_length` of tokenizer_config.json, and in no case more than the model has positions for. The limit inside
 * tokenizer.json is not used: neither transformers nor sentence-transformers do.
 *
 * @throws GradCacheError `CHECKPOINT` for a value that is no length
 */
export function lengthLimitOf(sources: LengthSources): number {
  const stated = sources.sentenceLength ?? tokenizerLimit(sources.tokenizerLength);
  return Math.min(stated, mostTokens(sources.modelType, sources.config));
}

/**
 * The most tokens that a model has positions for: `max_position_embeddings`, less the padding id plus one where
 * positions are numbered after it.
 *
 * @throws GradCacheError `CHECKPOINT` where there is none
 */
export function mostTokens(modelType: string, config: Readonly<Record<string, unknown>>): number {
  const { positions, most } = positionsIn(architectureOf(modelType), config);
  if (most >= 1) return most;
  const fault = `max_position_embeddings is ${positions}, which leaves no position for a token after pad_token_id`;
  throw faultIn('config.json', fault);
}

/** @throws GradCacheError `INPUT` for a limit that is none, or that the model has no positions for */
export function requireLength(
  maxLength: number,
  modelType: string,
  config: Readonly<Record<string, unknown>>,
): void {
  const most = mostTokens(modelType, config);
  if (Number.isSafeInteger(maxLength) && maxLength >= 1 && maxLength <= most) return;
  throw new SettingError(
    'maxLength',
    `is ${show(maxLength)}; a whole number from 1 to ${most} is needed: the model has no more positions.`,
  );
}

/**
 * What a limit that is asked for has to leave room for. That of a folder is not asked for.
 *
 * @param special tokens that the tokenizer puts around a text, or a pair
 * @throws GradCacheError `INPUT`
 */
export function requireTextRoom(maxLength: number | undefined, special: number, of: 'text' | 'pair'): void {
  const least = special + (of === 'pair' ? 2 : 1);
  if (maxLength === undefined || maxLength >= least) return;
  throw new SettingError(
    'maxLength',
    `is ${maxLength}; a whole number from ${least} is needed: ${plural(special, 'special token')} and at least one of ` +
      `${of === 'pair' ? 'each text of a pair' : 'the text'}.`,
  );
}

function tokenizerLimit(value: unknown): number {
  if (value === undefined || value === null) return Infinity;
  if (typeof value !== 'number' || !(value >= NO_LIMIT || (Number.isInteger(value) && value >= 1))) {
    throw refusedIn('tokenizer_config.json', 'model_max_length', value, 'a whole number from 1');
  }
  return value >= NO_LIMIT ? Infinity : value;
}
