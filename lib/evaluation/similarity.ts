import { GradCacheError } from '../errors.js';
import { requireOneOf } from '../options/option-values.js';
import { SIMILARITIES, type Similarity } from '../options/similarity.js';
import type { Tensor } from '../tensor/tensor.js';
import { inWorkspace } from './workspace.js';
import type { Workspace } from './workspace.js';

/**
 * The similarity that a model is used with: the one asked for, else the one that the model names, else cosine.
 *
 * @throws GradCacheError `INPUT` for a name that is none of {@link SIMILARITIES}
 */
export function chooseSimilarity(
  asked: Similarity | undefined,
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
 * Rows that are ready to be compared.
 *
 * A score must not depend on what is scored beside it: equal documents must tie, in whatever tile each of them is. But a
 * matrix product rounds as its shape and its kernel have it. So each row is cut into two parts of so few bits that
 * products of parts, and sums of those, are whole numbers up to 2^53: they are exact in any order.
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

/** Makes rows `[n, d]` ready to be one side of a comparison. */
export function compareRows(
  rows: Tensor,
  similarity: Similarity,
  side: 'first' | 'second',
): Promise<ComparedRows> {
  return inWorkspace(async (space) => {
    const wide = await space.call('aten::to.dtype_layout', rows, { dtype: 'float64', device: rows.device });
    if (!isProduct(similarity)) return { parts: space.keep(wide), weights: null };

    const unit = 2 ** bitsOf(rows.shape[1] as number);
    const scale = await scaleOf(wide, space);
    const below1 = await space.call('aten::div.Tensor', wide, scale);
    const scaled = await space.call('aten::mul_.Tensor', below1, unit);
    const high = await space.call('aten::round', scaled);
    const rest = await space.call('aten::sub_.Tensor', scaled, high);
    const low = await space.call('aten::round_', await space.call('aten::mul_.Tensor', rest, unit));
    const order = side === 'first' ? [high, low] : [low, high];
    const parts = await space.call('aten::cat', order, 1);
    const weights =
      similarity === 'dot'
        ? await space.call('aten::div.Tensor', scale, unit)
        : await space.call('aten::reciprocal', await lengthOf(high, low, unit, space));
    return { parts: space.keep(parts), weights: space.keep(weights) };
  });
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

/** Scores of each row of the first with the row of the second at its place: `[n]`, float64. */
export function scorePairs(
  first: ComparedRows,
  second: ComparedRows,
  similarity: Similarity,
): Promise<Tensor> {
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
    // The weights first: so a pair scores the same with its sides exchanged.
    const weights = await space.call('aten::mul.Tensor', first.weights, second.weights);
    const scores = await space.call('aten::mul_.Tensor', sums, weights);
    return space.keep(await space.call('aten::reshape', scores, [-1]));
  });
}

export function disposeRows({ parts, weights }: ComparedRows): void {
  parts.dispose();
  weights?.dispose();
}

function isProduct(similarity: Similarity): boolean {
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
  // So that a row of zeros has the cosine 0. No other row is as short as 1.
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
