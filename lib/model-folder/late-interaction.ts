import { join } from 'node:path';
import { refusedIn } from '../files/file-fault.js';
import { isJsonObject } from '../files/strict-json.js';

/** What a text is for: models with a representation for each token read queries and documents differently. */
export type TextTask = 'query' | 'document';

/** How a model with a representation for each token reads queries and documents (Khattab & Zaharia 2020). */
export interface LateInteraction {
  /** The most tokens of a query; null: as many as of any text. */
  readonly queryLength: number | null;
  /** The most tokens of a document; null: as many as of any text. */
  readonly documentLength: number | null;
  /** Tokens behind a query, which have representations like its own; null: none. */
  readonly queryExpansion: QueryExpansion | null;
  /** Tokens of the vocabulary, such as punctuation, whose representations are left out. */
  readonly skippedWords: readonly string[];
  /** What they are left out of. */
  readonly skippedIn: readonly TextTask[];
}

/** Query expansion: a query is filled up with a token, whose representations count like those of its words. */
export interface QueryExpansion {
  /** `'fixed'`: every query has `length` tokens, and a longer one is cut; `'min'`: at least as many. */
  readonly strategy: 'fixed' | 'min';
  /** Tokens of a query with what is added. */
  readonly length: number;
  /**
   * Whether all tokens of the query attend to those of expansion. False: these attend to the query's own alone, and nothing
   * attends to them. Default: false, as in sentence-transformers, PyLate and ColBERT.
   */
  readonly attend?: boolean;
  /** Null: the tokenizer's mask token. */
  readonly token?: string | null;
}

/** Models of queries and documents that are read alike. */
export const PLAIN_INTERACTION: LateInteraction = {
  queryLength: null,
  documentLength: null,
  queryExpansion: null,
  skippedWords: [],
  skippedIn: ['document'],
};

type Keys = Readonly<Record<string, unknown>>;

/**
 * How sentence-transformers reads queries and documents.
 *
 * @param path the file of the Transformer's settings, which `transformer` holds
 * @param mask the folder of the MultiVectorMask and its settings
 * @throws GradCacheError `CHECKPOINT` for what cannot be honoured exactly, naming the file and the key
 */
export function readLateInteraction(
  path: string,
  transformer: Keys,
  mask: { readonly folder: string; readonly config: Keys },
): LateInteraction {
  return {
    queryLength: lengthIn(path, 'query_length', transformer.query_length),
    documentLength: lengthIn(path, 'document_length', transformer.document_length),
    queryExpansion: expansionIn(path, transformer.query_expansion),
    ...maskIn(join(mask.folder, 'config.json'), mask.config),
  };
}

function maskIn(path: string, config: Keys): Pick<LateInteraction, 'skippedWords' | 'skippedIn'> {
  const { skiplist_words: words, skiplist_tasks: given } = config;
  const tasks = typeof given === 'string' ? [given] : (given ?? ['document']);
  if ((words ?? null) !== null && !isTexts(words))
    throw refusedIn(path, 'skiplist_words', words, 'a list of strings');
  if (!isTexts(tasks) || !tasks.every(isTask))
    throw refusedIn(path, 'skiplist_tasks', given, 'a list of "query" and "document"');
  return { skippedWords: (words as string[] | null | undefined) ?? [], skippedIn: tasks.filter(isTask) };
}

function expansionIn(path: string, value: unknown): QueryExpansion | null {
  if (value === undefined || value === null) return null;
  if (!isJsonObject(value)) throw refusedIn(path, 'query_expansion', value, 'an object or null');
  const { strategy, attend = false, token = null, length } = value;
  if (strategy !== 'fixed' && strategy !== 'min')
    throw refusedIn(path, 'strategy of query_expansion', strategy, '"fixed" or "min"');
  if (typeof attend !== 'boolean')
    throw refusedIn(path, 'attend of query_expansion', attend, 'true or false');
  if (token !== null && typeof token !== 'string')
    throw refusedIn(path, 'token of query_expansion', token, 'a string or null');
  const least = lengthIn(path, 'length of query_expansion', length);
  if (least === null) throw refusedIn(path, 'length of query_expansion', length, 'a whole number from 1');
  return { strategy, length: least, attend, token };
}

/** The lengths of texts that are stated, by the names of their settings. */
export function interactionLengths({
  queryLength,
  documentLength,
  queryExpansion,
}: LateInteraction): [string, number][] {
  const all = { queryLength, documentLength, 'queryExpansion.length': queryExpansion?.length ?? null };
  return Object.entries(all).flatMap(([name, length]) => (length === null ? [] : [[name, length]]));
}

/** The settings that sentence-transformers reads again. */
export function interactionToSave({ queryLength, documentLength, queryExpansion, ...mask }: LateInteraction) {
  const { strategy, length, attend = false, token = null } = queryExpansion ?? {};
  return {
    transformer: {
      query_length: queryLength,
      document_length: documentLength,
      query_expansion: queryExpansion === null ? null : { strategy, attend, token, length },
    },
    mask: { skiplist_words: mask.skippedWords, skiplist_tasks: mask.skippedIn, keep_only_token_ids: null },
  };
}

function lengthIn(path: string, key: string, value: unknown): number | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1) return value;
  throw refusedIn(path, key, value, 'a whole number from 1');
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string');
const isTask = (value: string): value is TextTask => value === 'query' || value === 'document';
