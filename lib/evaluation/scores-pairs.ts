import type { Prompt } from '../encoders/prompts.js';
import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import type { TextPair } from '../tokenizer/tokenizer.js';

/** What the measures of pairs need of a model that reads both texts together; `CrossEncoder` has it. */
export interface ScoresPairs {
  /** One score for each pair. */
  predict(
    pairs: readonly TextPair[],
    options?: { prompt?: Prompt | undefined; signal?: AbortSignal | undefined },
  ): Promise<ArrayLike<number>>;
}

/** Whether a model scores pairs, and does not encode texts. */
export function scoresPairs(model: unknown): model is ScoresPairs {
  const { predict, encode } = (model ?? {}) as Record<string, unknown>;
  return typeof predict === 'function' && typeof encode !== 'function';
}

/** @throws GradCacheError `INPUT` for options of representations, which a model that scores pairs has not */
export function refuseOfEncoders(options: object, names: readonly string[]): void {
  for (const [name, value] of Object.entries(options))
    if (names.includes(name) && value !== undefined)
      throw refused(name, value, 'none for a model that scores pairs of texts, which');
}

/** The scores that a model gave for pairs. @throws GradCacheError `SHAPE`, `NON_FINITE` */
export function requireScores(scores: ArrayLike<number>, pairs: number): ArrayLike<number> {
  if (scores?.length !== pairs)
    throw new GradCacheError(
      'SHAPE',
      `The model gave ${scores?.length} scores for ${pairs} pairs; a model with one label is needed.`,
    );
  const wrong = Array.from(scores).findIndex((score) => !Number.isFinite(score));
  if (wrong < 0) return scores;
  throw new GradCacheError(
    'NON_FINITE',
    `The score of a pair is ${scores[wrong]}: the model gives scores that are not finite.`,
  );
}
