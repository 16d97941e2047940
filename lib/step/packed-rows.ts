import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { requireCount, refused } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { putRows } from '../tensor/rows.js';
import { untracked } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** The most representations that 32-bit offsets can address. */
const MOST = 2 ** 31 - 1;

/**
 * The representations of one tower in one tensor, in the order of the batch's rows. Chunks may come in any order.
 *
 * If each row has one representation, row k's is number k, and a chunk's are put into their places at once. If rows have
 * several, such as one for each token, row k's are numbers offsets[k] to offsets[k + 1] - 1. Their places are known only
 * after the last chunk; until then the chunks are kept as they came.
 */
export class PackedRows {
  readonly rows: number;
  /** [rows, dimension], or [offsets[rows], dimension]. */
  #values: Tensor | null = null;
  /** 1 for each row that has its representations. */
  readonly #has: Uint8Array;
  #filled = 0;
  /** How many representations each row has; null: one each. */
  #counts: Int32Array | null = null;
  #offsets: Int32Array | null = null;
  #waiting: { readonly rows: Int32Array; readonly representations: Tensor }[] = [];

  constructor(rows: number) {
    this.rows = rows;
    this.#has = new Uint8Array(rows);
  }

  /** How many rows have their representations. */
  get filled(): number {
    return this.#filled;
  }

  /** All representations; null until the last `put`. */
  get values(): Tensor | null {
    return this.#filled === this.rows ? this.#values : null;
  }

  /** [rows + 1], known after the last `put`; null if each row has one representation. */
  get offsets(): Int32Array | null {
    return this.#offsets;
  }

  /** @throws GradCacheError `INPUT`, `SHAPE` */
  put(rows: Int32Array, representations: Tensor, counts?: Int32Array): void {
    this.#begin(counts !== undefined);
    if (counts === undefined) this.#putOnes(rows, representations);
    else this.#putSeveral(rows, representations, counts);
  }

  /**
   * The tensor of all representations, for an encoder that puts them there itself; see {@link fill}.
   *
   * @param empty makes it at the first call
   * @param counts how many representations each row of the tower has; undefined: one each
   */
  target(empty: (representations: number) => Tensor, counts?: () => Int32Array | undefined): Tensor {
    if (counts === undefined) this.#begin(false);
    if (this.#values !== null) return this.#values;
    const several = counts?.();
    this.#begin(several !== undefined);
    if (several !== undefined) {
      requireCounts(several, this.rows);
      this.#counts = several.slice();
      this.#offsets = this.#offsetsOf(this.#counts);
    }
    const count = this.#offsets?.[this.rows] ?? this.rows;
    const values: unknown = untracked(() => empty(count));
    if (!(values instanceof Tensor)) throw refused('what empty() of rowPasses returned', values, 'a Tensor');
    requireMatrix(values, this.rows, count);
    return (this.#values = values);
  }

  /** Takes none, where there is no row: they are of the length and type of those of `other`, and as many a row. */
  fillNone(other: PackedRows): void {
    const like = other.values!;
    this.#values = emptyLike(like, 0, like.shape[1]!);
    if (other.offsets === null) return;
    this.#counts = new Int32Array(0);
    this.#offsets = new Int32Array(1);
  }

  /** Notes that these rows have their representations. */
  fill(rows: Int32Array): void {
    for (const row of rows) {
      this.#filled += 1 - this.#has[row]!;
      this.#has[row] = 1;
    }
  }

  /** Numbers of the representations of these rows, in their order. */
  places(rows: Int32Array): Int32Array {
    const [offsets, counts] = [this.#offsets, this.#counts];
    if (offsets === null || counts === null) return rows;
    const places = new Int32Array(rows.reduce((sum, row) => sum + counts[row]!, 0));
    let next = 0;
    for (const row of rows)
      for (let place = offsets[row]!; place < offsets[row + 1]!; place++) places[next++] = place;
    return places;
  }

  /** Frees the representations. Their places stay known. */
  release(): void {
    for (const { representations } of this.#waiting) representations.dispose();
    this.#waiting = [];
    this.#values?.dispose();
    this.#values = null;
    this.#has.fill(0);
    this.#filled = 0;
  }

  /** @param several whether the rows of a chunk say how many representations they have */
  #begin(several: boolean): void {
    if (this.#filled === 0) this.#counts = this.#offsets = null;
    else if (several !== (this.#counts !== null))
      throw new GradCacheError(
        'INPUT',
        'some chunks of a tower say how many representations each row has, others do not: all must, or none',
      );
  }

  #putOnes(rows: Int32Array, representations: Tensor): void {
    const dimension = requireMatrix(representations, rows.length, rows.length);
    requireAlike(representations, this.#values);
    this.#values ??= emptyLike(representations, this.rows, dimension);
    putRows(this.#values, rows, representations);
    this.fill(rows);
  }

  #putSeveral(rows: Int32Array, representations: Tensor, counts: Int32Array): void {
    requireCounts(counts, rows.length);
    requireMatrix(representations, rows.length, totalOf(counts));
    requireAlike(representations, this.#waiting[0]?.representations ?? null);
    const given = new Set(rows);
    const twice = rows.find((row) => this.#has[row] === 1 || !given.delete(row));
    if (twice !== undefined)
      throw new GradCacheError('INPUT', `row ${twice} has its representations already`);
    this.#counts ??= new Int32Array(this.rows);
    const copy = untracked(() => noGrad(() => representations.clone()));
    this.#waiting.push({ rows: rows.slice(), representations: copy });
    for (const [k, row] of rows.entries()) this.#counts[row] = counts[k]!;
    this.fill(rows);
    if (this.#filled === this.rows) this.#pack(this.#counts);
  }

  #offsetsOf(counts: Int32Array): Int32Array {
    const offsets = new Int32Array(this.rows + 1);
    let total = 0;
    for (const [row, count] of counts.entries()) {
      total += count;
      if (total > MOST)
        throw new GradCacheError(
          'INPUT',
          `a tower has more than ${MOST} representations: give it fewer rows`,
        );
      offsets[row + 1] = total;
    }
    return offsets;
  }

  #pack(counts: Int32Array): void {
    this.#offsets = this.#offsetsOf(counts);
    const { representations: like } = this.#waiting[0]!;
    const values = emptyLike(like, this.#offsets[this.rows]!, like.shape[1]!);
    for (const { rows, representations } of this.#waiting) {
      putRows(values, this.places(rows), representations);
      representations.dispose();
    }
    this.#waiting = [];
    this.#values = values;
  }
}

/** How many representations these rows have together. */
export function totalOf(counts: Int32Array): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** The cache keeps it, also where the caller puts representations in a tidy block. */
function emptyLike({ dtype, device }: Tensor, rows: number, dimension: number): Tensor {
  return untracked(() => call('aten::empty.memory_format', [rows, dimension], { dtype, device }));
}

/** @returns the dimension @throws GradCacheError `SHAPE` */
function requireMatrix({ shape }: Tensor, rows: number, count: number): number {
  const [first, dimension] = shape;
  if (shape.length === 2 && first === count) return dimension!;
  const wanted = count === rows ? '' : ` with ${count} representations`;
  throw new GradCacheError(
    'SHAPE',
    `${rows} rows${wanted} cannot hold representations of shape [${shape.join()}]`,
  );
}

/** @throws GradCacheError `SHAPE`, `DTYPE`, `DEVICE` for representations unlike those of the first chunk */
function requireAlike({ shape, dtype, device }: Tensor, first: Tensor | null): void {
  if (first === null) return;
  for (const [code, found, wanted] of [
    ['SHAPE', `dimension ${shape[1]!}`, `dimension ${first.shape[1]!}`],
    ['DTYPE', dtype, first.dtype],
    ['DEVICE', device, first.device],
  ] as const) {
    if (found !== wanted)
      throw new GradCacheError(code, `the chunk's representations have ${found}, those before it ${wanted}`);
  }
}

/** @throws GradCacheError `INPUT`, `SHAPE` unless it counts the representations of `rows` rows, at least one each */
export function requireCounts(counts: unknown, rows: number): asserts counts is Int32Array {
  if (!types.isInt32Array(counts))
    throw refused('the number of representations of each row', counts, 'an Int32Array');
  if (counts.length !== rows)
    throw new GradCacheError('SHAPE', `${counts.length} numbers of representations for ${rows} rows`);
  for (const [row, count] of counts.entries())
    requireCount(`the number of representations of row ${row} of the chunk`, count, 1);
}
