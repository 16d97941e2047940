import type { Batch } from '../../data/batches.js';
import type { Ranks } from '../../distributed/ranks.js';
import { RoutedEncoder } from '../../encoders/routed-encoder.js';
import type { TextEncoder } from '../../encoders/text-encoder.js';
import { sharedEncoder } from '../../evaluation/shared-encoder.js';
import { windowedEncoder } from '../../evaluation/windowed.js';
import { refuse, SettingError } from '../../options/fields.js';
import { anyOf } from '../../options/option-values.js';
import { SIMILARITIES, TOKEN_SIMILARITIES } from '../../options/similarity.js';
import { placeOf, type HeldOutSet, type NamedSet } from '../held-out-sets.js';
import { requireWithin } from '../matryoshka.js';
import { measureBy, type RunObjects } from '../objects.js';
import type { FilledTrainConfig } from '../read-config.js';
import { loadHeldOut } from './held-out.js';
import { loadHeldOutBatches, meanLoss } from './held-out-loss.js';
import { loadAllHeldOut } from './all-held-out.js';
import { windowsOf } from './held-out-windows.js';
import type { HeldOut } from './objective.js';

/** What held-out data of a text encoder is measured with. */
interface MeasuredWith {
  readonly model: TextEncoder | RoutedEncoder;
  readonly ranks: Ranks | null;
  readonly evaluators: RunObjects['evaluators'];
  /** The loss of a batch, in evaluation. */
  readonly lossOf: (batch: Batch, signal: AbortSignal | undefined) => Promise<number>;
}

/**
 * All that a run measures its text encoder for: sets of held-out data, the loss of their batches, and functions of the program.
 * Null where it measures nothing.
 *
 * @param signal ends the reading
 */
export async function loadHeldOutTexts(
  config: FilledTrainConfig,
  { model, ranks, evaluators, lossOf }: MeasuredWith,
  signal: AbortSignal | undefined,
): Promise<HeldOut | null> {
  if (config.evaluation === undefined) return null;
  const sets = await loadAllHeldOut(config.evaluation, async (named) => {
    const { name, set } = named;
    requireRouted(model, named);
    requireWithin(`${placeOf(name)}.dimensions`, set.dimensions ?? [], model.dimension);
    requireWhole(model, named);
    const similarities = similaritiesFor(model, set);
    if (set.similarity !== undefined && !similarities.includes(set.similarity))
      throw refuse(`config.${placeOf(name)}.similarity`, set.similarity, anyOf(similarities));
    const shared = sharedEncoder(windowedEncoder(model, windowsOf(named, model)), ranks);
    const task = await loadHeldOut(named, config, signal);
    const batches = await loadHeldOutBatches(named, config, signal);
    return {
      names: [...(batches ? ['loss'] : []), ...(task?.names ?? [])],
      measure: async (signal) => {
        const loss = batches && { loss: await meanLoss(batches, ranks, (batch) => lossOf(batch, signal)) };
        const measured = await task?.measure(shared, signal);
        return { ...measured, scores: { ...loss, ...measured?.scores } };
      },
    };
  });
  if (Object.keys(evaluators).length === 0) return sets;
  if (model instanceof RoutedEncoder)
    throw new SettingError(
      'evaluators',
      'are given, and the model has a Router with two encoders, where a function takes one: measure the saved model.',
    );
  return {
    // What a function of the program measures, it tells when it has.
    names: undefined,
    measure: async (signal) => {
      const { scores = {}, hardest } = (await sets?.measure(signal)) ?? {};
      return { scores: await measureBy(evaluators, model, signal, scores), hardest };
    },
  };
}

/** Tasks whose texts are queries and documents. */
const OF_ROUTES: readonly unknown[] = ['retrieval', 'triplets', 'reranking'];

/** @throws SettingError for two encoders where texts are neither queries nor documents */
function requireRouted(model: MeasuredWith['model'], { name, set: { task } }: NamedSet): void {
  if (!(model instanceof RoutedEncoder) || task === undefined || OF_ROUTES.includes(task)) return;
  throw new SettingError(
    `config.${placeOf(name)}.task`,
    `is "${task}", whose texts are neither queries nor documents, and the model has a Router with an encoder of each: take ` +
      '"retrieval", "triplets" or "reranking", or measure one of the encoders of the saved model.',
  );
}

/** @throws SettingError for lengths of representations that are not cut, before anything is trained */
function requireWhole({ perToken, sparse }: MeasuredWith['model'], { name, set }: NamedSet): void {
  if (set.dimensions === undefined || !(perToken || (sparse && set.task === 'retrieval'))) return;
  const which = perToken ? 'those of tokens' : 'sparse ones in retrieval';
  throw refuse(
    `config.${placeOf(name)}.dimensions`,
    set.dimensions,
    `none, as representations such as ${which} are compared whole,`,
  );
}

/** What the texts of a set can be compared by. */
function similaritiesFor(
  { perToken, sparse }: MeasuredWith['model'],
  { task }: HeldOutSet,
): readonly string[] {
  if (perToken) return TOKEN_SIMILARITIES;
  return sparse && task === 'retrieval' ? ['cosine', 'dot'] : SIMILARITIES;
}
