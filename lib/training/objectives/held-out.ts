import { HELD_OUT_SETTINGS } from '../../data/setting-names.js';
import type { EncodesTexts } from '../../evaluation/encode-texts.js';
import { evaluateRetrieval } from '../../evaluation/retrieval.js';
import { evaluateSts } from '../../evaluation/sts.js';
import { retrievalPairs, sentencePairs } from '../../evaluation/tasks.js';
import { flattenScores } from '../../evaluation/scores.js';
import { SettingError } from '../../options/fields.js';
import { SIMILARITIES } from '../../options/similarity.js';
import { similarityOf } from '../../losses/loss-kinds.js';
import type { FilledTrainConfig } from '../read-config.js';
import { promptOf } from './prompts.js';

/** Held-out data, to be measured with any model. */
export interface HeldOutTask {
  measure(model: EncodesTexts, signal: AbortSignal | undefined): Promise<Readonly<Record<string, number>>>;
}

/** Reads the held-out data of a run for its task; null if it has none. @param signal ends the reading */
export async function loadHeldOut(
  config: NonNullable<FilledTrainConfig['evaluation']>,
  { columns, prompts, loss }: Pick<FilledTrainConfig, 'columns' | 'prompts' | 'loss'>,
  signal: AbortSignal | undefined,
): Promise<HeldOutTask | null> {
  if (config.task === undefined) return null;
  // Texts are compared by the similarity that is trained, behind the prompts of the training: those of its anchors and of
  // its positives, or none.
  const similarity = similarityOf(loss);
  const [query, document] = columns.map((column) => promptOf({ prompts }, column));
  const { columns: own, format, header, quoting } = config;
  const how = { columns: own, format, header, quoting, signal };
  if (config.task === 'sts') {
    const rows = SIMILARITIES.find((name) => name === similarity);
    if (rows === undefined)
      throw new SettingError(
        'config.evaluation.task',
        'is "sts", which compares one representation of each text; "retrieval" is for a model with one for each token.',
      );
    const task = await sentencePairs(config.data, how, HELD_OUT_SETTINGS);
    return {
      measure: (model, signal) =>
        atLengths(async (dimensions) =>
          flattenScores(
            await evaluateSts(model, task, { similarity: rows, prompt: query, dimensions, signal }),
          ),
        ),
    };
  }
  const task = await retrievalPairs(config.data, how, HELD_OUT_SETTINGS);
  return {
    measure: (model, signal) =>
      atLengths(async (dimensions) =>
        flattenScores(
          await evaluateRetrieval(model, task, {
            similarity,
            prompts: { query, document },
            dimensions,
            signal,
          }),
        ),
      ),
  };

  /** The scores of whole representations, and of those cut to each length that is asked for. */
  async function atLengths(
    measure: (dimensions: number | undefined) => Promise<Record<string, number>>,
  ): Promise<Record<string, number>> {
    const scores = await measure(undefined);
    for (const length of config.dimensions ?? [])
      for (const [name, score] of Object.entries(await measure(length))) scores[`${name}/${length}`] = score;
    return scores;
  }
}
