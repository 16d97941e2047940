import { GradCacheError } from '../errors.js';
import type { EncodesTexts } from '../evaluation/encode-texts.js';
import { requireScores, type ScoresPairs } from '../evaluation/scores-pairs.js';
import { chooseSimilarity } from '../evaluation/similarity.js';
import { throwIfAborted } from '../options/abort.js';
import { scoreByEncoder } from '../evaluation/score-listed.js';
import { promptsFor } from '../evaluation/task-prompts.js';
import { judgesPairs, type ReadMiningOptions } from './options.js';
import type { PairScores } from '../evaluation/pair-scores.js';
import type { PairSet } from './pair-set.js';

/** Pairs that a cross-encoder is asked for at a time. */
const AT_ONCE = 4096;

/**
 * Scores of listed pairs by another model: of a cross-encoder what it predicts, of an encoder the similarity that it names.
 *
 * @throws GradCacheError `SHAPE` where it gives other than a score a pair, `NON_FINITE` where a score is not finite
 */
export async function judge(
  model: ScoresPairs | EncodesTexts,
  set: PairSet,
  pairs: PairScores,
  options: ReadMiningOptions,
): Promise<Float64Array> {
  const { judgePrompts, block, signal, onProgress } = options;
  if (!judgesPairs(model)) {
    const how = { prompts: promptsFor(model, judgePrompts), similarity: chooseSimilarity(undefined, model) };
    return requireFinite(await scoreByEncoder(model, set, pairs, { ...how, block, signal, onProgress }));
  }
  const { anchors, documents } = pairs;
  const scores = new Float64Array(anchors.length);
  for (let begin = 0; begin < anchors.length; begin += AT_ONCE) {
    throwIfAborted(signal);
    const texts: [string, string][] = [];
    for (let at = begin; at < Math.min(begin + AT_ONCE, anchors.length); at++)
      texts.push([set.anchors[anchors[at]!]!, set.documents[documents[at]!]!]);
    const some = await model.predict(texts, { prompt: judgePrompts.query, signal });
    scores.set(requireScores(some, texts.length), begin);
    onProgress?.(begin + texts.length, anchors.length, 'pairs');
  }
  return scores;
}

function requireFinite(scores: Float64Array): Float64Array {
  const wrong = scores.findIndex((score) => !Number.isFinite(score));
  if (wrong < 0) return scores;
  throw new GradCacheError(
    'NON_FINITE',
    `The judge's score of a pair is ${scores[wrong]}: its representations are not finite.`,
  );
}
