import { GradCacheError } from '../errors.js';
import { requireOneOf } from '../options/option-values.js';
import {
  SIMILARITIES,
  TOKEN_SIMILARITIES,
  type Similarity,
  type TokenSimilarity,
} from '../options/similarity.js';
import { callAsync } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import type { RowPairs } from './row-pairs.js';
import { inWorkspace, type Workspace } from './workspace.js';

/**
 * The similarity that a model is used with: the one asked for, else the one that the model names, else cosine.
 *
 * @throws GradCacheError `INPUT` for a name that is none of {@link SIMILARITIES}
 */
export function chooseSimilarity(
  asked: string | undefined,
  model: { readonly similarity?: string | null | undefined },
): Similarity {
  if (asked !== undefined) {
    requireOneOf('similarity', asked, SIMILARITIES);
    return asked;
  }
  const named = model.similarity ?? 'cosine';
  const known = SIMILARITIES.find((similarity) => similarity === named);
  if (known !== undefined) return known;
  throw new GradCacheError(
    'INPUT',
    `The model's similarity (similarity_fn_name) is ${JSON.stringify(named)}, which is not supported. Name the one to use: ` +
      `${SIMILARITIES.join(', ')} (similarity, --similarity).`,
  );
}

/**
 * The similarity by which a model with a representation for each token is used, as {@link chooseSimilarity}.
 *
 * @throws GradCacheError `INPUT` for a name that is none of {@link TOKEN_SIMILARITIES}
 */
export function chooseTokenSimilarity(
  asked: string | undefined,
  model: { readonly similarity?: string | null | undefined },
): TokenSimilarity {
  const name = asked ?? model.similarity ?? 'maxsim';
  requireOneOf('similarity', name, TOKEN_SIMILARITIES);
  return name;
}

/**
 * Rows that are ready to be compared.
 *
 * A score must not depend on what is scored beside it: equal documents must tie in any tile. But the rounding of a matrix
 * product depends on its shape and kernel. So each row is split into two parts of so few bits that products of parts, and
 * their sums, are whole numbers up to 2^53: they are exact in any order.
 */
export interface ComparedRows {
  /**
   * For products `[n, 2d]`: the high parts and then the low parts of a first side, the low and then the high of a second. For
   * distances `[n, d]`: the rows.
   */
  readonly parts: Tensor;
  /** For products `[n, 1]`: what the products of a row are multiplied by. */
  readonly weights: Tensor | null;
}

/** Rows that are made ready at once on a CPU: so few that what lies between stays in its cache. */
const PIECE = 512;

/**
 * Makes rows `[n, d]` ready to be one side of a comparison.
 *
 * @param buffer memory for the parts
 */
export function compareRows(
  rows: Tensor,
  similarity: Similarity,
  side: 'first' | 'second',
  buffer?: PartsBuffer,
): Promise<ComparedRows> {
  return inWorkspace(async (space) => {
    const double = { dtype: 'float64', device: rows.device };
    if (!isProduct(similarity)) {
      return space.keep({ parts: await space.call('aten::to.dtype_layout', rows, double), weights: null });
    }
    const [count, width] = rows.shape as [number, number];
    const memory = await (buffer === undefined
      ? emptyParts(rows).then((made) => space.note(made))
      : buffer.for(rows));
    const parts = space.view('aten::narrow', memory, 0, 0, count);
    const [highAt, lowAt] = side === 'first' ? [0, width] : [width, 0];
    const piece = rows.device === 'cpu' ? PIECE : Math.max(1, count);
    const weights: Tensor[] = [];
    for (let start = 0; start < count; start += piece) {
      const length = Math.min(piece, count - start);
      const weight = await inWorkspace(async (inner) => {
        const take = (of: Tensor, dim: number, at: number, size: number): Tensor =>
          inner.view('aten::narrow', of, dim, at, size);
        const wide = await inner.call('aten::to.dtype_layout', take(rows, 0, start, length), double);
        const here = take(parts, 0, start, length);
        const made = { high: take(here, 1, highAt, width), low: take(here, 1, lowAt, width) };
        return inner.keep(await splitRows(wide, made, similarity, inner));
      });
      weights.push(space.note(weight));
    }
    return space.keep({ parts, weights: await space.call('aten::cat', weights, 0) });
  });
}

/** Memory for the parts of rows, used again and again: fresh memory takes a CPU longer than computing the parts. */
export class PartsBuffer {
  #tensor: Tensor | null = null;

  /** Memory for rows `[n, d]` or a few more. It is the same each time, so only one holder can use it at a time. */
  async for(rows: Tensor): Promise<Tensor> {
    const enough = this.#tensor !== null && (this.#tensor.shape[0] as number) >= (rows.shape[0] as number);
    if (enough) return this.#tensor as Tensor;
    this.dispose();
    return (this.#tensor = await emptyParts(rows));
  }

  dispose(): void {
    this.#tensor?.dispose();
    this.#tensor = null;
  }
}

function emptyParts({ shape, device }: Tensor): Promise<Tensor> {
  const [count, width] = shape as [number, number];
  return callAsync('aten::empty.memory_format', [count, 2 * width], { dtype: 'float64', device });
}

/** Writes the parts of rows, and gives the weights. */
async function splitRows(
  rows: Tensor,
  { high, low }: { readonly high: Tensor; readonly low: Tensor },
  similarity: Similarity,
  space: Workspace,
): Promise<Tensor> {
  const unit = 2 ** bitsOf(rows.shape[1] as number);
  const scale = await scaleOf(rows, space);
  const factor = await space.call(
    'aten::div.Tensor',
    await space.call('aten::full_like', scale, unit),
    scale,
  );
  const scaled = await space.call('aten::mul.Tensor', rows, factor);
  await space.call('aten::round.out', scaled, { out: high });
  const rest = await space.call('aten::sub_.Tensor', scaled, high);
  await space.call('aten::round.out', await space.call('aten::mul_.Tensor', rest, unit), { out: low });
  return similarity === 'dot'
    ? space.call('aten::div.Tensor', scale, unit)
    : space.call('aten::reciprocal', await lengthOf(high, low, unit, space));
}

/** Scores of every row of the first with every row of the second: `[n, m]`, float64. */
export function scoreAll(first: ComparedRows, second: ComparedRows, similarity: Similarity): Promise<Tensor> {
  return inWorkspace(async (space) => {
    if (!isProduct(similarity)) return space.keep(await negativeDistances(first, second, similarity, space));
    const width = (first.parts.shape[1] as number) / 2;
    const columns = await space.call('aten::t', second.parts);
    const high = await space.call(
      'aten::mm',
      await space.call('aten::narrow', first.parts, 1, 0, width),
      await space.call('aten::narrow', columns, 0, width, width),
    );
    const mixed = await space.call('aten::mm', first.parts, columns);
    const scores = await addParts(high, mixed, 2 ** bitsOf(width), space);
    await space.call('aten::mul_.Tensor', scores, first.weights);
    await space.call('aten::mul_.Tensor', scores, await space.call('aten::t', second.weights));
    return space.keep(scores);
  });
}

/** Rows of a first side whose pairs are scored at once. More of them multiply more for nothing, fewer make more calls. */
const AT_ONCE = 8;

/** Scores of some pairs of rows, to the bit as {@link scoreAll} has them: `[pairs]`, float64. For products only. */
export function scoreListed(first: ComparedRows, second: ComparedRows, pairs: RowPairs): Promise<Tensor> {
  return inWorkspace(async (space) => {
    const [rows, width] = [first.parts.shape[0] as number, (first.parts.shape[1] as number) / 2];
    // For each row of the first both of its factors, so that one product gives the two sums.
    const high = space.view('aten::narrow', first.parts, 1, 0, width);
    const highOnly = await space.call('aten::constant_pad_nd', high, [width, 0]);
    const factors = await space.call('aten::stack', [highOnly, first.parts], 1);
    const missing = (AT_ONCE - (rows % AT_ONCE)) % AT_ONCE;
    const filled = await space.call('aten::constant_pad_nd', factors, [0, 0, 0, 0, 0, missing]);
    const groups = space.view('aten::reshape', filled, [-1, 2 * AT_ONCE, 2 * width]);

    const products: Tensor[] = [];
    let start = 0;
    for (let group = 0; group * AT_ONCE < rows; group++) {
      const counts = pairs.counts.slice(group * AT_ONCE, (group + 1) * AT_ONCE);
      const length = counts.reduce((sum, count) => sum + count, 0);
      if (length === 0) continue;
      const product = await inWorkspace(async (inner) => {
        const places = inner.view('aten::narrow', pairs.second, 0, start, length);
        const listed = await inner.call('aten::index_select', second.parts, 0, places);
        const factor = inner.view('aten::select.int', groups, 0, group);
        return inner.keep(await inner.call('aten::mm', factor, inner.view('aten::t', listed)));
      });
      products.push(space.note(product));
      start += length;
    }
    // Each pair's own row of the products of its group.
    const all = await space.call('aten::cat', products, 1);
    const own = await space.call('aten::remainder.Scalar', pairs.first, AT_ONCE);
    const place = space.view('aten::unsqueeze', await space.call('aten::mul.Scalar', own, 2), 0);
    const next = await space.call('aten::add.Scalar', place, 1);
    const scores = await addParts(
      await space.call('aten::gather', all, 0, place),
      await space.call('aten::gather', all, 0, next),
      2 ** bitsOf(width),
      space,
    );
    for (const [weights, of] of [
      [first.weights, pairs.first],
      [second.weights, pairs.second],
    ] as const) {
      const flat = space.view('aten::reshape', weights, [-1]);
      await space.call('aten::mul_.Tensor', scores, await space.call('aten::index_select', flat, 0, of));
    }
    return space.keep(space.view('aten::reshape', scores, [-1]));
  });
}

/** Scores of each row of the first with the row of the second at its place: `[n]`, float64. */
function scorePairs(first: ComparedRows, second: ComparedRows, similarity: Similarity): Promise<Tensor> {
  return inWorkspace(async (space) => {
    if (!isProduct(similarity)) {
      const sides: ComparedRows[] = [];
      for (const { parts } of [first, second])
        sides.push({ parts: await space.call('aten::unsqueeze', parts, 1), weights: null });
      const distances = await negativeDistances(sides[0]!, sides[1]!, similarity, space);
      return space.keep(await space.call('aten::reshape', distances, [-1]));
    }
    const width = (first.parts.shape[1] as number) / 2;
    const high = await space.call(
      'aten::mul.Tensor',
      await space.call('aten::narrow', first.parts, 1, 0, width),
      await space.call('aten::narrow', second.parts, 1, width, width),
    );
    const mixed = await space.call('aten::mul.Tensor', first.parts, second.parts);
    const sums = await addParts(
      await space.call('aten::sum.dim_IntList', high, [1], true),
      await space.call('aten::sum.dim_IntList', mixed, [1], true),
      2 ** bitsOf(width),
      space,
    );
    // The weights are multiplied first, so that a pair scores the same with its sides exchanged.
    const weights = await space.call('aten::mul.Tensor', first.weights, second.weights);
    const scores = await space.call('aten::mul_.Tensor', sums, weights);
    return space.keep(await space.call('aten::reshape', scores, [-1]));
  });
}

/** Similarities of the rows of two tensors, each with the one at its place. The tensors are disposed. */
export function similaritiesOf(
  sides: readonly [Tensor, Tensor],
  similarity: Similarity,
): Promise<Float64Array> {
  return inWorkspace(async (space) => {
    const [left, right] = space.note(sides);
    const first = space.note(await compareRows(left, similarity, 'first'));
    const second = space.note(await compareRows(right, similarity, 'second'));
    const scores = space.note(await scorePairs(first, second, similarity));
    return (await scores.values()) as Float64Array;
  });
}

/** Whether a similarity is a product of the rows, not a distance between them. */
export function isProduct(similarity: Similarity): boolean {
  return similarity === 'cosine' || similarity === 'dot';
}

/** Bits of a part: as many as let `width` products of high parts, or twice as many with a low part, stay within 2^53. */
function bitsOf(width: number): number {
  return Math.floor((53 - Math.ceil(Math.log2(Math.max(1, width)))) / 2);
}

/** For each row the power of two just above its largest number, `[n, 1]`. */
async function scaleOf(rows: Tensor, space: Workspace): Promise<Tensor> {
  const sizes = await space.call('aten::amax', await space.call('aten::abs', rows), [1], true);
  // A row of zeros needs a scale as well.
  const largest = await space.call('aten::clamp_min', sizes, 1e-300);
  const [fraction] = await space.callTwo('aten::frexp.Tensor', largest);
  return space.call('aten::div.Tensor', largest, fraction);
}

/** The Euclidean length of each row in units of its high part, `[n, 1]`. */
async function lengthOf(high: Tensor, low: Tensor, unit: number, space: Workspace): Promise<Tensor> {
  const squares = await space.call('aten::mul.Tensor', high, high);
  const mixed = await space.call('aten::mul.Tensor', high, low);
  const square = await addParts(
    await space.call('aten::sum.dim_IntList', squares, [1], true),
    await space.call('aten::sum.dim_IntList', mixed, [1], true),
    unit / 2,
    space,
  );
  // With length 1 a row of zeros has the cosine 0. No other row is as short.
  return space.call('aten::sqrt_', await space.call('aten::clamp_min_', square, 1));
}

/** `high + mixed / unit`. As `unit` is a power of two, this rounds once, whether or not the processor fuses the two steps. */
function addParts(high: Tensor, mixed: Tensor, unit: number, space: Workspace): Promise<Tensor> {
  return space.call('aten::add_.Tensor', high, mixed, { alpha: 1 / unit });
}

/** Each distance is computed by itself (mode 2 takes no matrix product), so that it too depends on nothing beside it. */
async function negativeDistances(
  first: ComparedRows,
  second: ComparedRows,
  similarity: Similarity,
  space: Workspace,
): Promise<Tensor> {
  const power = similarity === 'euclidean' ? 2 : 1;
  const distances = await space.call('aten::cdist', first.parts, second.parts, power, 2);
  return space.call('aten::neg_', distances);
}
