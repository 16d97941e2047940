import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SparseRows } from '../encoders/sparse-rows.js';
import { GradCacheError } from '../errors.js';
import { throwIfAborted } from '../options/abort.js';
import type { Ranking } from './exact-search.js';

/** Milliseconds of work after which other events have their turn. */
const TURN = 20;

/**
 * Exact search among sparse rows: the dot products of each query with the documents that have a column in common with it,
 * by lists of the documents of each column. Sums are in float64, in the order of the columns, so that equal documents tie.
 * Documents with equal scores are listed in their order.
 *
 * @param documents blocks of rows; one is held at a time
 * @throws GradCacheError `NON_FINITE` for a value that is NaN or infinite, `ABORTED`
 */
export async function searchSparse(
  queries: SparseRows,
  documents: AsyncIterable<SparseRows>,
  { k, similarity, signal }: { k: number; similarity: 'cosine' | 'dot'; signal: AbortSignal | undefined },
): Promise<Ranking> {
  requireFinite('query', queries, 0);
  const rows = queries.offsets.length - 1;
  const best = Array.from({ length: rows }, () => new Best(k));
  let seen = 0;
  let turn = performance.now();
  for await (const block of documents) {
    requireFinite('document', block, seen);
    const index = new ColumnIndex(block, similarity);
    for (let query = 0; query < rows; query++) {
      best[query]!.add(index.scores(queries, query), seen);
      if (performance.now() - turn < TURN) continue;
      await nextTurn();
      throwIfAborted(signal);
      turn = performance.now();
    }
    seen += block.offsets.length - 1;
  }
  return toRanking(best, Math.min(k, seen), similarity === 'cosine' ? lengthsOf(queries) : null);
}

/** The documents of a block by column. */
class ColumnIndex {
  /** Where the list of a column begins. */
  readonly #begins: Int32Array;
  readonly #documents: Int32Array;
  readonly #values: Float64Array;
  readonly #scores: Float64Array;

  constructor(rows: SparseRows, similarity: 'cosine' | 'dot') {
    const { values, columns, offsets, dimension } = rows;
    const lengths = similarity === 'cosine' ? lengthsOf(rows) : null;
    this.#begins = new Int32Array(dimension + 1);
    for (const column of columns) this.#begins[column + 1]!++;
    for (let column = 0; column < dimension; column++) this.#begins[column + 1]! += this.#begins[column]!;
    const next = this.#begins.slice();
    this.#documents = new Int32Array(columns.length);
    this.#values = new Float64Array(columns.length);
    for (let row = 0; row + 1 < offsets.length; row++)
      for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++) {
        const place = next[columns[entry]!]!++;
        this.#documents[place] = row;
        this.#values[place] = values[entry]! / (lengths?.[row] ?? 1);
      }
    this.#scores = new Float64Array(offsets.length - 1);
  }

  /** The scores of all documents, until the next call. */
  scores({ values, columns, offsets }: SparseRows, query: number): Float64Array {
    const scores = this.#scores.fill(0);
    for (let entry = offsets[query]!; entry < offsets[query + 1]!; entry++) {
      const value = values[entry]!;
      const end = this.#begins[columns[entry]! + 1]!;
      for (let place = this.#begins[columns[entry]!]!; place < end; place++)
        scores[this.#documents[place]!]! += value * this.#values[place]!;
    }
    return scores;
  }
}

/** The best documents so far of a query, best first. */
class Best {
  readonly #k: number;
  #list: { readonly document: number; readonly score: number }[] = [];

  constructor(k: number) {
    this.#k = k;
  }

  get list(): readonly { readonly document: number; readonly score: number }[] {
    return this.#list;
  }

  /** Adds documents that come behind all before. */
  add(scores: Float64Array, first: number): void {
    // Of documents with equal scores the first are listed.
    const known = this.#list.length < this.#k ? -Infinity : this.#list.at(-1)!.score;
    const sorted = scores.slice().sort();
    const least = sorted[Math.max(0, sorted.length - this.#k)]!;
    let equal = this.#k - (sorted.length - sorted.findLastIndex((score) => score === least) - 1);
    const found = [...this.#list];
    for (const [at, score] of scores.entries())
      if (score > known && (score > least || (score === least && equal-- > 0)))
        found.push({ document: first + at, score });
    found.sort((a, b) => b.score - a.score || a.document - b.document);
    this.#list = found.slice(0, this.#k);
  }
}

function toRanking(best: readonly Best[], k: number, lengths: Float64Array | null): Ranking {
  const ranking = {
    k,
    documents: new Int32Array(best.length * k),
    scores: new Float64Array(best.length * k),
  };
  for (const [query, { list }] of best.entries())
    for (const [place, { document, score }] of list.entries()) {
      ranking.documents[query * k + place] = document;
      ranking.scores[query * k + place] = score / (lengths?.[query] ?? 1);
    }
  return ranking;
}

/** Euclidean lengths of rows; 1 for a row of zeros, whose cosine is 0. */
function lengthsOf({ values, offsets }: SparseRows): Float64Array {
  return Float64Array.from({ length: offsets.length - 1 }, (_, row) => {
    let squares = 0;
    for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++) squares += values[entry]! ** 2;
    return Math.sqrt(squares) || 1;
  });
}

function requireFinite(kind: string, { values, offsets }: SparseRows, first: number): void {
  const place = values.findIndex((value) => !Number.isFinite(value));
  if (place < 0) return;
  const row = offsets.findIndex((offset) => offset > place) - 1;
  throw new GradCacheError(
    'NON_FINITE',
    `The representation of ${kind} ${first + row} holds ${values[place]}: the model gives no number for it.`,
  );
}
