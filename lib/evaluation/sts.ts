import type { Prompt } from '../encoders/prompts.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import {
  requireCount,
  requireFunction,
  requireSignal,
  requireTexts,
  show,
} from '../options/option-values.js';
import type { Similarity } from '../options/similarity.js';
import { pearson, spearman } from './correlation.js';
import { encodeTexts, type EncodesTexts } from './encode-texts.js';
import { EncodedTexts } from './encoded-texts.js';
import { requireEncoder } from './retrieval-checks.js';
import { refuseOfEncoders, requireScores, scoresPairs, type ScoresPairs } from './scores-pairs.js';
import { chooseSimilarity, similaritiesOf } from './similarity.js';
import type { TextPair } from '../tokenizer/tokenizer.js';
import { tell } from '../options/synchronous.js';

/** Pairs of sentences and how alike people found them, on any scale. */
export interface StsTask {
  /** The first sentence of each pair. */
  readonly first: readonly string[];
  /** The second sentence of each pair. */
  readonly second: readonly string[];
  /** What people say of each pair: how similar its sentences are. */
  readonly scores: readonly number[];
  /** Rows of the file that had no score and were left out; not there where there were none. */
  readonly unscored?: number;
}

/** Correlation of the similarity of two representations with the scores people gave. */
export interface StsScores {
  /** Pairs that were measured. */
  readonly pairs: number;
  /** Spearman's correlation: that of their ranks. */
  readonly spearman: number;
  /** Pearson's correlation of similarities with scores. */
  readonly pearson: number;
}

/** Settings of {@link evaluateSts}. */
export interface StsOptions {
  /** Of a text encoder. Default: the model's, or cosine if it names none. */
  readonly similarity?: Similarity;
  /**
   * What is put before every sentence: the name of a prompt of the model, `''` for nothing, or the words as
   * `{ prefix: 'query: ' }`. Default: the model's default prompt.
   */
  readonly prompt?: Prompt | undefined;
  /** Of a text encoder: how many numbers of each representation to compare, from the first on. Default: all. */
  readonly dimensions?: number | undefined;
  /** Pairs encoded or scored at a time. Default 4096. */
  readonly block?: number;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal;
  /** Told after every block: pairs done, pairs in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** The names of {@link StsOptions}. */
export const STS_OPTIONS: readonly (keyof StsOptions)[] = [
  'similarity',
  'prompt',
  'dimensions',
  'block',
  'signal',
  'onProgress',
];

/**
 * Semantic textual similarity: correlates the similarity of both sides, or what a cross-encoder says of them, with the scores. A
 * text in several pairs is encoded once. The representations of all different texts are in memory together.
 *
 * @throws GradCacheError `SHAPE` when the three lists differ in length or have fewer than 2 entries, `INPUT` for a wrong
 * option and a score that is not a number, `NON_FINITE` where a representation is not
 * @example
 * ```ts
 * const { spearman } = await evaluateSts(model, await readSts('sts.csv'));
 * ```
 */
export async function evaluateSts(
  model: EncodesTexts | ScoresPairs,
  task: StsTask,
  options: StsOptions = {},
): Promise<StsScores> {
  return (await compareAndScore(model, task, options)).scores;
}

/** {@link evaluateSts} that also gives the similarity of each pair. */
export async function compareAndScore(
  model: EncodesTexts | ScoresPairs,
  task: StsTask,
  options: StsOptions,
): Promise<{ scores: StsScores; similarities: Float64Array }> {
  checkKnown('evaluateSts', options, STS_OPTIONS);
  if (!scoresPairs(model)) requireEncoder(model);
  requireStsTask(task);
  const { dimensions, block = 4096, signal, onProgress } = options;
  if (dimensions !== undefined) requireCount('dimensions', dimensions, 1);
  requireCount('block', block, 1);
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);

  const { first, scores } = task;
  const found = new Float64Array(first.length);
  const pairs = pairsOf(model, task, options);
  try {
    for (let start = 0; start < first.length; start += block) {
      const end = Math.min(start + block, first.length);
      found.set(await pairs.compare(start, end), start);
      tell('onProgress', onProgress, end, first.length);
    }
  } finally {
    pairs.dispose();
  }
  return {
    scores: { pairs: first.length, spearman: spearman(found, scores), pearson: pearson(found, scores) },
    similarities: found,
  };
}

/** Pairs that a model compares, some at a time. */
interface ComparedPairs {
  /** What it says of the pairs from `start` to `end`. @throws GradCacheError `NON_FINITE` */
  compare(start: number, end: number): Promise<ArrayLike<number>>;
  dispose(): void;
}

function pairsOf(
  model: EncodesTexts | ScoresPairs,
  { first, second }: StsTask,
  options: StsOptions,
): ComparedPairs {
  const { prompt, dimensions, signal } = options;
  if (scoresPairs(model)) {
    refuseOfEncoders(options, ['similarity', 'dimensions']);
    return {
      async compare(start, end) {
        const some = first.slice(start, end).map((text, row): TextPair => [text, second[start + row]!]);
        return requireScores(await model.predict(some, { prompt, signal }), some.length);
      },
      dispose: () => undefined,
    };
  }
  const similarity = chooseSimilarity(options.similarity, model);
  const texts = new EncodedTexts([first, second], (list) =>
    encodeTexts(model, list, { prompt, dimensions, signal }),
  );
  return {
    async compare(start, end) {
      const found = await similaritiesOf(await texts.rowsOf(start, end), similarity);
      requireFinite(found, start, similarity);
      return found;
    },
    dispose: () => texts.dispose(),
  };
}

/** @throws GradCacheError `SHAPE`, `INPUT` */
export function requireStsTask(task: StsTask): void {
  const { first, second, scores } = task ?? {};
  requireTexts('first', first);
  requireTexts('second', second);
  const count = Array.isArray(scores) ? scores.length : 0;
  if (first.length !== second.length || first.length !== count || first.length < 2) {
    throw new GradCacheError(
      'SHAPE',
      `There are ${first.length} and ${second.length} sentences and ${count} scores; as many of each, at least 2, are needed.`,
    );
  }
  const bad = scores.findIndex((score) => !Number.isFinite(score));
  if (bad >= 0)
    throw new GradCacheError('INPUT', `The score of pair ${bad} is ${show(scores[bad])}, not a number.`);
}

function requireFinite(found: ArrayLike<number>, start: number, similarity: Similarity): void {
  const wrong = Array.from(found).findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return;
  const name = similarity === 'cosine' ? 'cosine' : `similarity (${similarity})`;
  throw new GradCacheError(
    'NON_FINITE',
    `The ${name} of pair ${start + wrong} is ${found[wrong]}: the model gives representations that are not finite.`,
  );
}
