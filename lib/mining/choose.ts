import { Random } from '../data/random.js';
import type { ReadMiningOptions } from './options.js';
import type { PairSet } from './pair-set.js';

/** The settings that take candidates away, in the order in which they do. */
export const LIMITS = ['absoluteMargin', 'relativeMargin', 'maxScore', 'minScore'] as const;

/** One of {@link LIMITS}. */
export type Limit = (typeof LIMITS)[number];

/** Documents of each anchor with their scores, best first. Lists of different lengths lie one behind the other. */
export interface Listed {
  /** For each anchor the place of its first document, and at last the number of all. */
  readonly offsets: Int32Array;
  readonly documents: Int32Array;
  readonly scores: Float64Array;
}

/** The negatives that were chosen, and how many candidates each setting took away. */
export interface Chosen extends Listed {
  readonly skipped: Readonly<Record<Limit, number>>;
}

type Limits = Pick<ReadMiningOptions, Limit>;

/**
 * Chooses the negatives of each anchor: settings take candidates away, the others are ranked by their scores, equal ones as
 * they were, and some of the ranks from `rangeMin` to `rangeMax` are taken.
 *
 * @param positives scores of the positives, in the order of the pair set
 */
export function chooseNegatives(
  set: PairSet,
  candidates: Listed,
  positives: Float64Array,
  options: ReadMiningOptions & { readonly rangeMax: number },
): Chosen {
  const { negatives, rangeMin, rangeMax, sampling, seed } = options;
  const skipped: Record<Limit, number> = { absoluteMargin: 0, relativeMargin: 0, maxScore: 0, minScore: 0 };
  const offsets = new Int32Array(set.anchors.length + 1);
  const documents: number[] = [];
  const scores: number[] = [];
  let firstPositive = 0;
  for (const [anchor, own] of set.positives.entries()) {
    const end = firstPositive + own.length;
    const least = positives.subarray(firstPositive, end).reduce((low, score) => Math.min(low, score));
    firstPositive = end;
    const places: number[] = [];
    for (let at = candidates.offsets[anchor]!; at < candidates.offsets[anchor + 1]!; at++) {
      const limit = limitOn(candidates.scores[at]!, least, options);
      if (limit === undefined) places.push(at);
      else skipped[limit]++;
    }
    places.sort((a, b) => candidates.scores[b]! - candidates.scores[a]! || a - b);
    const range = places.slice(rangeMin, rangeMax);
    const taken =
      sampling === 'top' ? range.slice(0, negatives) : sample(range, negatives, new Random(seed, anchor));
    for (const at of taken) {
      documents.push(candidates.documents[at]!);
      scores.push(candidates.scores[at]!);
    }
    offsets[anchor + 1] = documents.length;
  }
  return { offsets, documents: Int32Array.from(documents), scores: Float64Array.from(scores), skipped };
}

/** The setting that takes a candidate away, if one does. @param positive the score of the positive */
function limitOn(score: number, positive: number, limits: Limits): Limit | undefined {
  const { absoluteMargin, relativeMargin, maxScore, minScore } = limits;
  if (absoluteMargin !== undefined && score + absoluteMargin > positive) return 'absoluteMargin';
  // Not `positive * (1 - margin)`: for a negative score that would be more than the score itself.
  if (relativeMargin !== undefined && score > positive - Math.abs(positive) * relativeMargin)
    return 'relativeMargin';
  if (maxScore !== undefined && score > maxScore) return 'maxScore';
  if (minScore !== undefined && score < minScore) return 'minScore';
  return undefined;
}

/** Some items of a list, without replacement, in the order of the list. */
function sample(list: readonly number[], count: number, random: Random): number[] {
  if (list.length <= count) return [...list];
  const order = random.shuffle(Array.from(list.keys()));
  return order
    .slice(0, count)
    .sort((a, b) => a - b)
    .map((index) => list[index]!);
}
