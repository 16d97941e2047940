import type { Ranks } from '../distributed/ranks.js';
import { toldByEach } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireSignal, requireWeight } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import type { Segment } from './segment-model.js';
import { lengthOf, requireSegments, targetsIn } from './segments.js';
import type { Stream } from './stream.js';

/** Options of `AcrossSegments.step`. */
export interface SegmentStepOptions {
  /** What the loss, a sum over all targets of the step, is multiplied by. Default: 1 / targets, so that it is a mean. */
  readonly weight?: number;
  /** Seed of this step's dropout. Default: drawn from the seed of the whole. */
  readonly seed?: number;
  /** Ends the step after the current segment, and restores the gradients. */
  readonly signal?: AbortSignal | undefined;
}

/** What a step over segments is to do. */
export interface AgreedStep {
  /** With the rows of this rank. */
  readonly segments: readonly Segment[];
  readonly weight: number;
  readonly seed: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** Before each segment, the rows of all ranks that go on from the segment before. */
  readonly goingOn: readonly number[];
}

/** What ranks meet for at first. */
export const BEGIN = 'beginning a step over segments';

/**
 * Checks a step, over ranks together with the others.
 *
 * @param stream where the rows are; null: at their beginning
 * @param size how many numbers are trained
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export async function agreeOnStep(
  ranks: Ranks | null,
  stream: Stream | null,
  given: Segment | readonly Segment[],
  options: SegmentStepOptions,
  size: number,
): Promise<AgreedStep> {
  const { result: own, all } = await toldByEach(
    ranks,
    BEGIN,
    () => check(stream, given, options),
    (asked) => numbersOf(asked, size),
  );
  const { segments, weight: asked, seed, signal } = own;
  const others = all.map(readNumbers);
  for (const [rank, other] of others.entries()) requireAlike(rank, other, others[0]!);
  const targets = others.reduce((sum, each) => sum + each.targets, 0);
  const weight = asked ?? (targets > 0 ? 1 / targets : undefined);
  if (weight === undefined)
    throw new GradCacheError(
      'INPUT',
      'the segments have no target: give the step a weight to run them all the same',
    );
  const goingOn = segments.map((_, index) => others.reduce((sum, each) => sum + each.goingOn[index]!, 0));
  return { segments, weight, seed, signal, goingOn };
}

/** What one rank brings to a step. */
interface Asked {
  readonly segments: readonly Segment[];
  readonly weight: number | undefined;
  readonly seed: number | undefined;
  readonly signal: AbortSignal | undefined;
  readonly goingOn: readonly number[];
}

function check(
  stream: Stream | null,
  given: Segment | readonly Segment[],
  options: SegmentStepOptions,
): Asked {
  checkKnown('step', options, ['weight', 'seed', 'signal']);
  const segments: readonly unknown[] = Array.isArray(given) ? Array.from<unknown>(given) : [given];
  requireSegments(segments, stream?.rows, stream?.position ?? 0);
  const { weight, seed, signal } = options;
  if (weight !== undefined) requireWeight('weight of a step', weight, { above: 0 });
  if (seed !== undefined) requireSeed(seed);
  requireSignal('signal of a step', signal);
  const goingOn = segments.map(({ rows }, index) =>
    index > 0
      ? rows - new Set(segments[index - 1]!.ends).size
      : stream === null
        ? 0
        : rows - stream.anew.size,
  );
  return { segments, weight, seed, signal, goingOn };
}

function numbersOf({ segments, weight, goingOn }: Asked, size: number): number[] {
  const targets = segments.reduce((sum, segment) => sum + targetsIn(segment), 0);
  // 0 stands for none: a weight is above that.
  return [size, targets, weight ?? 0, ...segments.map(lengthOf), ...goingOn];
}

function readNumbers([size, targets, weight, ...rest]: readonly number[]) {
  const segments = rest.length / 2;
  const [lengths, goingOn] = [rest.slice(0, segments), rest.slice(segments)];
  return { size: size!, targets: targets!, weight: weight!, lengths, goingOn };
}

/** @throws GradCacheError `INPUT` where a rank's step is not a part of the first one's */
function requireAlike(
  rank: number,
  other: ReturnType<typeof readNumbers>,
  first: ReturnType<typeof readNumbers>,
): void {
  if (other.size !== first.size)
    throw new GradCacheError(
      'INPUT',
      `rank ${rank} trains ${other.size} numbers, and rank 0 ${first.size}: give all ranks the same model`,
    );
  if (other.lengths.join() !== first.lengths.join())
    throw new GradCacheError(
      'INPUT',
      `rank ${rank} gives segments of ${other.lengths.join(', ')} tokens, and rank 0 of ${first.lengths.join(', ')}: the rows ` +
        'of all ranks must be as long',
    );
  if (other.weight !== first.weight)
    throw new GradCacheError(
      'INPUT',
      `rank ${rank} gives the step ${shown(other.weight)}, and rank 0 ${shown(first.weight)}: give the same on all ranks`,
    );
}

const shown = (weight: number): string => (weight === 0 ? 'no weight' : `the weight ${weight}`);
