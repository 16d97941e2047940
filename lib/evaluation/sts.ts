import { noGrad } from '../autograd.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../known-options.js';
import { tidy } from '../scope.js';
import { pearson, spearman } from './correlation.js';
import type { EncodesTexts } from './retrieval.js';

/** Pairs of sentences and how alike people found them, on any scale. */
export interface StsTask {
  readonly first: readonly string[];
  readonly second: readonly string[];
  readonly scores: readonly number[];
}

/** Correlation of the cosine of two representations with the scores people gave. */
export interface StsScores {
  readonly pairs: number;
  readonly spearman: number;
  readonly pearson: number;
}

/** Settings of {@link evaluateSts}. */
export interface StsOptions {
  /** Name of a prompt of the model, put before every sentence. */
  readonly prompt?: string;
  /** Pairs encoded at a time. Default 4096. */
  readonly block?: number;
  readonly signal?: AbortSignal;
  /** Told after every block: pairs done, pairs in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Semantic textual similarity: encodes both sides, compares by cosine.
 *
 * @throws GradCacheError `SHAPE` when the three lists differ in length or have fewer than 2 entries, `INPUT` for a score
 * that is not a number, `NON_FINITE` where a representation is not
 */
export async function evaluateSts(
  encoder: EncodesTexts,
  task: StsTask,
  options: StsOptions = {},
): Promise<StsScores> {
  checkKnown('evaluateSts', options, ['prompt', 'block', 'signal', 'onProgress']);
  const { first, second, scores } = task;
  const { prompt, block = 4096, signal, onProgress } = options;
  if (first.length !== second.length || first.length !== scores.length || first.length < 2) {
    throw new GradCacheError(
      'SHAPE',
      `Got ${first.length} and ${second.length} sentences with ${scores.length} scores; there must be as many of each, at least 2.`,
    );
  }
  const bad = scores.findIndex((score) => !Number.isFinite(score));
  if (bad >= 0)
    throw new GradCacheError('INPUT', `The score of pair ${bad} is ${scores[bad]}, not a number.`);

  const cosines = new Float64Array(first.length);
  for (let start = 0; start < first.length; start += block) {
    const left = await encoder.encode(first.slice(start, start + block), { prompt, signal });
    const right = await encoder.encode(second.slice(start, start + block), { prompt, signal });
    const cosine = tidy(() => noGrad(() => left.normalize().mul(right.normalize()).sum(1)));
    cosines.set((await cosine.values()) as ArrayLike<number>, start);
    for (const tensor of [left, right, cosine]) tensor.dispose();
    const wrong = cosines.subarray(0, start + block).findIndex((value) => !Number.isFinite(value));
    if (wrong >= 0)
      throw new GradCacheError(
        'NON_FINITE',
        `The cosine of pair ${wrong} is ${cosines[wrong]}: the model gives representations that are not finite.`,
      );
    onProgress?.(Math.min(start + block, first.length), first.length);
  }
  return { pairs: first.length, spearman: spearman(cosines, scores), pearson: pearson(cosines, scores) };
}
