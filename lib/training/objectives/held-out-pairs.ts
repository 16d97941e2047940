/*
 * Held-out data of a cross-encoder: how each task is read, and measured with a model.
 */
import { evaluateBinary } from '../../evaluation/binary.js';
import { hardestPairs, hardestReranked } from '../../evaluation/hardest.js';
import { readReranking } from '../../evaluation/reranking-data.js';
import { rerankAndScore } from '../../evaluation/reranking.js';
import {
  BINARY_NAMES,
  flattenBinary,
  flattenScores,
  rerankingNames,
  STS_NAMES,
} from '../../evaluation/scores.js';
import type { ScoresPairs } from '../../evaluation/scores-pairs.js';
import { compareAndScore } from '../../evaluation/sts.js';
import type { NamedSet } from '../held-out-sets.js';
import { readLabelledPairs, readScoredPairs } from './held-out-sentences.js';
import type { HeldOut } from './objective.js';

/**
 * Reads a set of held-out data for its task.
 *
 * @param prompt put before the first text of each pair
 * @param signal ends the reading
 */
export async function loadHeldOutPairs(
  named: NamedSet,
  model: ScoresPairs,
  prompt: string,
  signal: AbortSignal | undefined,
): Promise<HeldOut> {
  const { set } = named;
  const { at, data, columns, format, header, quoting, delimiter } = set;
  const how = { columns, format, header, quoting, delimiter, signal };
  switch (set.task) {
    case 'sts': {
      const task = await readScoredPairs(named, how);
      return {
        names: STS_NAMES,
        async measure(signal) {
          const options = { prompt, ...(signal && { signal }) };
          const { scores, similarities } = await compareAndScore(model, task, options);
          return { scores: flattenScores(scores), hardest: hardestPairs(task, similarities) };
        },
      };
    }
    case 'binary': {
      const task = await readLabelledPairs(named, how);
      return {
        names: BINARY_NAMES,
        async measure(signal) {
          const options = { prompt, ...(signal && { signal }) };
          return { scores: flattenBinary(await evaluateBinary(model, task, options)) };
        },
      };
    }
    default: {
      const task = await readReranking(data!, { signal });
      return {
        names: rerankingNames(task, at),
        async measure(signal) {
          const { scores, ranked } = await rerankAndScore(model, task, { prompt, signal, ...(at && { at }) });
          return { scores: flattenScores(scores), hardest: hardestReranked(ranked) };
        },
      };
    }
  }
}
