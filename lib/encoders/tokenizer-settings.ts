import { isJsonObject } from './strict-json.js';

/**
 * What the files around a tokenizer.json say about it. transformers and sentence-transformers let these win over
 * tokenizer.json itself, so the same must happen here for the ids to be the same.
 */
export interface TokenizerSettings {
  /** Lower-case the text before anything else (`do_lower_case` in sentence_bert_config.json). */
  readonly lowercase?: boolean;
  /** Which end of a text that is too long is cut off; what tokenizer.json says where absent, else `'right'`. */
  readonly truncationSide?: 'left' | 'right';
  /** Replaces these fields of a `BertNormalizer` (from tokenizer_config.json of a BERT tokenizer class). */
  readonly bertNormalizer?: {
    readonly lowercase: boolean;
    readonly strip_accents: boolean | null;
    readonly handle_chinese_chars: boolean;
  };
  /** Replaces `add_prefix_space` of a `ByteLevel` pre-tokenizer (from tokenizer_config.json of a RoBERTa class). */
  readonly addPrefixSpace?: boolean;
}

/** Applies settings to the parsed content of a tokenizer.json; returns the same object where nothing changes. */
export function applySettings(
  parsed: Readonly<Record<string, unknown>>,
  settings: TokenizerSettings,
): Readonly<Record<string, unknown>> {
  let normalizer = parsed.normalizer;
  let preTokenizer = parsed.pre_tokenizer;
  if (settings.bertNormalizer && isJsonObject(normalizer) && normalizer.type === 'BertNormalizer') {
    normalizer = overlay(normalizer, settings.bertNormalizer);
  }
  if (settings.lowercase === true && !hasLowercase(normalizer)) {
    // Where and when sentence-transformers adds it: in front of whatever normalizer there is.
    const rest = isSequence(normalizer) ? normalizer.normalizers : normalizer ? [normalizer] : [];
    normalizer = { type: 'Sequence', normalizers: [{ type: 'Lowercase' }, ...rest] };
  }
  if (
    settings.addPrefixSpace !== undefined &&
    isJsonObject(preTokenizer) &&
    preTokenizer.type === 'ByteLevel'
  ) {
    preTokenizer = overlay(preTokenizer, { add_prefix_space: settings.addPrefixSpace });
  }
  if (normalizer === parsed.normalizer && preTokenizer === parsed.pre_tokenizer) return parsed;
  return { ...parsed, normalizer, pre_tokenizer: preTokenizer };
}

/** The side at which tokenizer.json cuts, as far as it says. */
export function statedTruncationSide(parsed: Readonly<Record<string, unknown>>): 'left' | 'right' {
  return isJsonObject(parsed.truncation) && parsed.truncation.direction === 'Left' ? 'left' : 'right';
}

/** One more than the largest token id in a tokenizer.json: the rows that an embedding table needs. */
export function vocabularySizeOf(parsed: Readonly<Record<string, unknown>>): number {
  let size = 0;
  const vocabulary = isJsonObject(parsed.model) ? parsed.model.vocab : undefined;
  if (Array.isArray(vocabulary)) {
    size = vocabulary.length; // Unigram: [token, score] pairs, the id is the place in the list
  } else if (isJsonObject(vocabulary)) {
    for (const id of Object.values(vocabulary)) if (typeof id === 'number' && id >= size) size = id + 1;
  }
  for (const { id } of addedTokensOf(parsed)) if (id >= size) size = id + 1;
  return size;
}

/** A token that is matched as a whole before the text is split, as tokenizer.json lists it. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** True for tokens such as `[CLS]` that stand for structure, not text. */
  readonly special: boolean;
}

/** The `added_tokens` of a tokenizer.json. */
export function addedTokensOf(parsed: Readonly<Record<string, unknown>>): AddedToken[] {
  if (!Array.isArray(parsed.added_tokens)) return [];
  return parsed.added_tokens.flatMap((token: unknown) =>
    isJsonObject(token) && typeof token.id === 'number' && typeof token.content === 'string'
      ? [{ id: token.id, content: token.content, special: token.special === true }]
      : [],
  );
}

function overlay(target: Record<string, unknown>, fields: object): Record<string, unknown> {
  const changed = Object.entries(fields).some(([key, value]) => target[key] !== value);
  return changed ? { ...target, ...fields } : target;
}

function isSequence(normalizer: unknown): normalizer is { type: 'Sequence'; normalizers: unknown[] } {
  return isJsonObject(normalizer) && normalizer.type === 'Sequence' && Array.isArray(normalizer.normalizers);
}

function hasLowercase(normalizer: unknown): boolean {
  if (isSequence(normalizer))
    return normalizer.normalizers.some((each) => isJsonObject(each) && each.type === 'Lowercase');
  return isJsonObject(normalizer) && normalizer.type === 'Lowercase';
}
