import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import type { EncodesTexts } from './encode-texts.js';
import type { ScoresPairs } from './scores-pairs.js';
import { checkKnown } from '../options/known-options.js';
import { compareAndScore, STS_OPTIONS, type StsOptions } from './sts.js';

/** Pairs of texts, each of which belongs together (1) or does not (0). */
export interface BinaryTask {
  /** The first sentence of each pair. */
  readonly first: readonly string[];
  /** The second sentence of each pair. */
  readonly second: readonly string[];
  /** For each pair 1 (they belong together) or 0. */
  readonly labels: readonly number[];
}

/** How well the similarity of two texts tells whether they belong together. */
export interface BinaryScores {
  /** Pairs that were measured. */
  readonly pairs: number;
  /** The share of pairs that is right at the threshold that is best for it. */
  readonly accuracy: number;
  /** Pairs that are at least so similar count as belonging together. A distance counts as a similarity below 0. */
  readonly accuracyThreshold: number;
  /** F1 at the threshold that is best for it. */
  readonly f1: number;
  /** The similarity at which F1 is the best. */
  readonly f1Threshold: number;
  /** At that threshold: the share of the pairs above it that belong together. */
  readonly precision: number;
  /** At that threshold: the share of the pairs that belong together that are above it. */
  readonly recall: number;
  /** Average precision over all thresholds. */
  readonly ap: number;
  /** Matthews' correlation at the threshold of F1. */
  readonly mcc: number;
}

/**
 * Tells pairs that belong together by their similarity, as sentence-transformers' BinaryClassificationEvaluator does, or by what a
 * cross-encoder says of them, as its CrossEncoderClassificationEvaluator does. Each different text is encoded once.
 *
 * @param options as those of `evaluateSts`
 * @throws GradCacheError `SHAPE` for lists of different lengths, `INPUT` for labels other than 0 and 1 or of one kind alone and
 * for a wrong option, `NON_FINITE`, `ABORTED`
 * @example
 * ```ts
 * const scores = await evaluateBinary(model, await readBinary('labelled.csv'));
 * ```
 */
export async function evaluateBinary(
  model: EncodesTexts | ScoresPairs,
  task: BinaryTask,
  options: StsOptions = {},
): Promise<BinaryScores> {
  checkKnown('evaluateBinary', options, STS_OPTIONS);
  requireBinaryTask(task);
  const { first, second, labels } = task;
  const { similarities } = await compareAndScore(model, { first, second, scores: labels }, options);
  return { pairs: labels.length, ...separate(similarities, labels) };
}

/** @throws GradCacheError `INPUT` for labels other than 0 and 1, and of one kind alone */
export function requireBinaryTask(task: BinaryTask): void {
  const { labels } = task ?? {};
  const list: unknown = labels;
  const wrong: unknown = Array.isArray(list) ? list.find((label) => label !== 0 && label !== 1) : list;
  if (!Array.isArray(labels) || wrong !== undefined)
    throw refused('labels', wrong, 'a list of labels, 0 or 1,');
  if (new Set(labels).size < 2)
    throw new GradCacheError(
      'INPUT',
      `All ${labels.length} labels are alike; pairs of both kinds are needed.`,
    );
}

/** A threshold between two scores, which tells the pairs above it from those below. */
interface Cut {
  readonly threshold: number;
  /** Pairs above it, and those of them that belong together. */
  readonly above: number;
  readonly right: number;
}

function separate(scores: Float64Array, labels: readonly number[]): Omit<BinaryScores, 'pairs'> {
  const all = labels.length;
  const positives = labels.filter((label) => label === 1).length;
  const cuts = cutsOf(scores, labels);
  const accuracyOf = ({ above, right }: Cut): number => (right + (all - positives) - (above - right)) / all;
  const f1Of = ({ above, right }: Cut): number => (2 * right) / (above + positives);
  const [forAccuracy, forF1] = [firstBest(cuts, accuracyOf), firstBest(cuts, f1Of)];
  let ap = 0;
  for (const [place, { above, right }] of cuts.entries())
    if (place > 0) ap += ((right - cuts[place - 1]!.right) / positives) * (right / above);
  const { above, right } = forF1;
  return {
    accuracy: accuracyOf(forAccuracy),
    accuracyThreshold: forAccuracy.threshold,
    f1: f1Of(forF1),
    f1Threshold: forF1.threshold,
    precision: above === 0 ? 0 : right / above,
    recall: right / positives,
    ap,
    mcc: matthews({
      right,
      wrong: above - right,
      missed: positives - right,
      left: all - positives - (above - right),
    }),
  };
}

/** All cuts from the one above all pairs down; equal scores are never cut apart. */
function cutsOf(scores: Float64Array, labels: readonly number[]): Cut[] {
  const order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const top = scores[order[0]!]!;
  // A number that JSON has, and so not Infinity.
  const aboveAll = top + Math.max(Math.abs(top) * Number.EPSILON, Number.MIN_VALUE);
  const cuts: Cut[] = [{ threshold: aboveAll, above: 0, right: 0 }];
  let right = 0;
  for (const [place, pair] of order.entries()) {
    right += labels[pair]!;
    const [score, next] = [scores[pair]!, scores[order[place + 1] ?? pair]!];
    if (place + 1 < order.length && score === next) continue;
    const middle = (score + next) / 2;
    cuts.push({ threshold: middle === next ? score : middle, above: place + 1, right });
  }
  return cuts;
}

function firstBest(cuts: readonly Cut[], of: (cut: Cut) => number): Cut {
  return cuts.reduce((best, cut) => (of(cut) > of(best) ? cut : best));
}

function matthews(counts: Readonly<Record<'right' | 'wrong' | 'missed' | 'left', number>>): number {
  const { right, wrong, missed, left } = counts;
  const size = Math.sqrt((right + wrong) * (right + missed) * (left + wrong) * (left + missed));
  return size === 0 ? 0 : (right * left - wrong * missed) / size;
}
