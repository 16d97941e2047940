import type { SparseRows } from '../encoders/sparse-rows.js';
import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import type { Similarity } from '../options/similarity.js';
import type { EncodesTexts } from './encode-texts.js';
import type { Ranking } from './exact-search.js';
import { searchSparse } from './sparse-search.js';
import type { TaskPrompts } from './task-prompts.js';

/** Columns of a row that are not 0: means over the different texts. */
export interface ActiveDimensions {
  readonly queries: number;
  readonly documents: number;
}

/** How texts are encoded. */
interface Encoding {
  readonly prompts: TaskPrompts;
  readonly signal: AbortSignal | undefined;
}

/** An encoder that gives representations without their zeros. */
type EncodesSparse = Required<Pick<EncodesTexts, 'encodeSparse'>>;

/** Whether representations are to be had without their zeros. */
export function isSparse(encoder: EncodesTexts): encoder is EncodesTexts & EncodesSparse {
  return encoder.sparse === true && typeof encoder.encodeSparse === 'function';
}

/** Encodes texts without zeros and searches exactly, holding one block of documents at a time. */
export class SparseTexts {
  readonly #encoder: EncodesSparse;
  readonly #encoding: Encoding;
  readonly #similarity: 'cosine' | 'dot';
  /** Entries and rows so far. */
  readonly #counts = { query: { entries: 0, rows: 0 }, document: { entries: 0, rows: 0 } };

  constructor(encoder: EncodesSparse, encoding: Encoding, similarity: Similarity) {
    if (similarity !== 'cosine' && similarity !== 'dot')
      throw refused('similarity', similarity, "'dot' or 'cosine', for representations that are sparse,");
    this.#encoder = encoder;
    this.#encoding = encoding;
    this.#similarity = similarity;
  }

  /** Of the texts that were encoded. */
  get active(): ActiveDimensions {
    const { query, document } = this.#counts;
    return { queries: query.entries / query.rows, documents: document.entries / document.rows };
  }

  /** Finds the best `k` documents of each query. */
  readonly find = async (
    queries: readonly string[],
    documents: Iterable<readonly string[]>,
    k: number,
  ): Promise<Ranking> => {
    const rows = await this.#encode(queries, 'query');
    const { signal } = this.#encoding;
    return searchSparse(rows, this.#blocks(documents), { k, similarity: this.#similarity, signal });
  };

  async *#blocks(documents: Iterable<readonly string[]>): AsyncIterable<SparseRows> {
    for (const texts of documents) yield await this.#encode(texts, 'document');
  }

  async #encode(texts: readonly string[], task: 'query' | 'document'): Promise<SparseRows> {
    const { prompts, signal } = this.#encoding;
    const given = await this.#encoder.encodeSparse(texts, { task, prompt: prompts[task], signal });
    const rows = given.offsets.length - 1;
    if (rows !== texts.length)
      throw new GradCacheError(
        'SHAPE',
        `encodeSparse() returned ${rows} rows for ${texts.length} texts; one for each is needed.`,
      );
    this.#counts[task].entries += given.values.length;
    this.#counts[task].rows += rows;
    return given;
  }
}
