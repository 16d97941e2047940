import { HELD_OUT_SETTINGS } from '../../data/setting-names.js';
import { evaluateBinary } from '../../evaluation/binary.js';
import { evaluateTriplets } from '../../evaluation/triplets.js';
import type { EncodesTexts } from '../../evaluation/encode-texts.js';
import { rankAndScore } from '../../evaluation/retrieval.js';
import { compareAndScore } from '../../evaluation/sts.js';
import { hardestPairs, hardestQueries } from '../../evaluation/hardest.js';
import { binaryPairs, retrievalPairs, sentencePairs, triplets } from '../../evaluation/tasks.js';
import { BINARY_NAMES, flattenBinary, flattenScores, retrievalNames } from '../../evaluation/scores.js';
import { SettingError } from '../../options/fields.js';
import { SIMILARITIES } from '../../options/similarity.js';
import { similarityOf } from '../../losses/loss-kinds.js';
import { OWN_LOSS } from '../../losses/own-loss.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Measured } from './objective.js';
import { promptOf } from './prompts.js';

/** Held-out data, to be measured with any model. */
export interface HeldOutTask {
  /** What its scores are called. */
  readonly names: readonly string[];
  measure(model: EncodesTexts, signal: AbortSignal | undefined): Promise<Measured>;
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
  // A loss of the program does not say by which; the model does.
  const similarity = loss.kind === OWN_LOSS ? undefined : similarityOf(loss);
  const [query, document] = columns.map((column) => promptOf({ prompts }, column));
  const { columns: own, format, header, quoting, delimiter } = config;
  const how = { columns: own, format, header, quoting, delimiter, signal };
  if (config.task !== 'retrieval') {
    const rows = SIMILARITIES.find((name) => name === similarity);
    if (rows === undefined && similarity !== undefined)
      throw new SettingError(
        'config.evaluation.task',
        `is "${config.task}", which compares one representation of each text; "retrieval" is for a model with one for each token.`,
      );
    if (config.task === 'triplets') {
      const task = await triplets(config.data, how, HELD_OUT_SETTINGS);
      return {
        names: namesAtLengths(['accuracy']),
        measure: (model, signal) =>
          atLengths(async (dimensions) => {
            const how = { similarity: rows, prompts: { query, document }, dimensions, signal };
            const { accuracy } = await evaluateTriplets(model, task, how);
            return { scores: { accuracy } };
          }),
      };
    }
    if (config.task === 'binary') {
      const task = await binaryPairs(config.data, how, HELD_OUT_SETTINGS);
      return {
        names: namesAtLengths(BINARY_NAMES),
        measure: (model, signal) =>
          atLengths(async (dimensions) => {
            const how = { similarity: rows, prompt: query, dimensions, signal };
            return { scores: flattenBinary(await evaluateBinary(model, task, how)) };
          }),
      };
    }
    const task = await sentencePairs(config.data, how, HELD_OUT_SETTINGS);
    return {
      names: namesAtLengths(['spearman', 'pearson']),
      measure: (model, signal) =>
        atLengths(async (dimensions) => {
          const how = { similarity: rows, prompt: query, dimensions, signal };
          const { scores, similarities } = await compareAndScore(model, task, how);
          return { scores: flattenScores(scores), hardest: hardestPairs(task, similarities) };
        }),
    };
  }
  const task = await retrievalPairs(config.data, how, HELD_OUT_SETTINGS);
  return {
    names: namesAtLengths(retrievalNames(config.measures)),
    measure: (model, signal) =>
      atLengths(async (dimensions) => {
        const measures = config.measures && { measures: config.measures };
        const how = { similarity, prompts: { query, document }, dimensions, signal, ...measures };
        const { scores, ranking } = await rankAndScore(model, task, how);
        return { scores: flattenScores(scores), hardest: hardestQueries(task, ranking) };
      }),
  };

  function namesAtLengths(names: readonly string[]): string[] {
    const lengths = config.dimensions ?? [];
    return [...names, ...lengths.flatMap((length) => names.map((name) => `${name}/${length}`))];
  }

  /** The scores of whole representations, and of those cut to each length that is asked for. */
  async function atLengths(
    measure: (dimensions: number | undefined) => Promise<Measured>,
  ): Promise<Measured> {
    const { scores: whole, hardest } = await measure(undefined);
    const scores = { ...whole };
    for (const length of config.dimensions ?? []) {
      const cut = await measure(length);
      for (const [name, score] of Object.entries(cut.scores)) scores[`${name}/${length}`] = score;
    }
    return { scores, hardest };
  }
}
