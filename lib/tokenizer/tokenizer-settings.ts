import { isJsonObject } from '../files/strict-json.js';
import { PLAIN_CLASS } from './tokenizer-classes.js';
import type { TokenizerFiles } from './tokenizer-files.js';

/** How a tokenizer.json is read, beyond what the files beside it say. */
export interface TokenizerSettings {
  /** Lower-case the text before anything else (`do_lower_case` in sentence_bert_config.json). */
  readonly lowercase?: boolean;
  /** Which end of a text that is too long is cut off; default: what tokenizer_config.json says, else tokenizer.json. */
  readonly truncationSide?: 'left' | 'right';
  /**
   * The class of transformers that reads it, where tokenizer_config.json names none. Default: `PreTrainedTokenizerFast`,
   * which takes tokenizer.json as it stands.
   */
  readonly tokenizerClass?: string;
  /** True: `tokenizerClass` holds whatever tokenizer_config.json names, as transformers has it for some models. */
  readonly fixedClass?: boolean;
  /**
   * False: tokenizer.json is taken as it stands, whatever the files beside it say, and no token is put around a text, as
   * StaticEmbedding of sentence-transformers reads it. Default: true.
   */
  readonly specialTokens?: boolean;
}

/** The class of transformers that reads a tokenizer, with or without `Fast`. */
export function classIn({ config }: TokenizerFiles, settings: TokenizerSettings): string {
  const named = config?.tokenizer_class;
  if (typeof named === 'string' && named !== '' && settings.fixedClass !== true) return named;
  return (settings.specialTokens === false ? null : settings.tokenizerClass) ?? PLAIN_CLASS;
}

/** Adds lower-casing where and when sentence-transformers adds it: in front of whatever normalizer there is. */
export function withLowercase(parsed: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { normalizer } = parsed;
  if (hasLowercase(normalizer)) return parsed;
  const rest = isSequence(normalizer) ? normalizer.normalizers : normalizer ? [normalizer] : [];
  return { ...parsed, normalizer: { type: 'Sequence', normalizers: [{ type: 'Lowercase' }, ...rest] } };
}

/** The side at which tokenizer.json cuts, as far as it says. */
export function statedTruncationSide(parsed: Readonly<Record<string, unknown>>): 'left' | 'right' {
  return isJsonObject(parsed.truncation) && parsed.truncation.direction === 'Left' ? 'left' : 'right';
}

/** One more than the largest token id in the vocabulary of a tokenizer.json, added tokens left out. */
export function vocabularySizeOf(parsed: Readonly<Record<string, unknown>>): number {
  const vocabulary = isJsonObject(parsed.model) ? parsed.model.vocab : undefined;
  if (Array.isArray(vocabulary)) return vocabulary.length; // Unigram: the id is the place in the list
  let size = 0;
  if (isJsonObject(vocabulary))
    for (const id of Object.values(vocabulary)) if (typeof id === 'number' && id >= size) size = id + 1;
  return size;
}

/** A token that is matched as a whole before the text is split. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  /** True for tokens such as `[CLS]` that stand for structure, not text. */
  readonly special: boolean;
}

function isSequence(normalizer: unknown): normalizer is { type: 'Sequence'; normalizers: unknown[] } {
  return isJsonObject(normalizer) && normalizer.type === 'Sequence' && Array.isArray(normalizer.normalizers);
}

function hasLowercase(normalizer: unknown): boolean {
  if (isSequence(normalizer))
    return normalizer.normalizers.some((each) => isJsonObject(each) && each.type === 'Lowercase');
  return isJsonObject(normalizer) && normalizer.type === 'Lowercase';
}
