import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { refused, requireString } from '../options/option-values.js';
import { copyWeights, weightFaults } from '../safetensors/match-weights.js';
import { readSafetensors, writeSafetensors, type StoredTensor } from '../safetensors/safetensors.js';
import { toStored } from '../safetensors/stored-tensor.js';
import type { Parameter } from '../tensor/tensor.js';
import { requireLoss, type LossWithGradients } from './loss.js';

/** The file of a model folder with what the loss has trained beside the model. */
export const LOSS_FILE = 'loss.safetensors';

/**
 * Saves what a loss trains beside the model: the classifier of {@link softmaxClassification}, the projection of
 * {@link embedDistill}, a learned temperature, the weights of a {@link distanceHead}. It becomes `loss.safetensors` in
 * `folder`, where other libraries overlook it. A model that replaces the one in the folder removes it, so that the model is
 * saved first. `train` does this with every model and checkpoint.
 *
 * @param folder a model folder, or another that is there
 * @throws GradCacheError `INPUT` for a loss that trains nothing, and where the system refuses the file
 * @example
 * ```ts
 * const loss = infoNCE({ temperature: { initial: 0.05, learned: true } });
 * await model.save('trained');
 * await saveLoss(loss, 'trained'); // the learned temperature, beside the model
 * ```
 */
export async function saveLoss(loss: LossWithGradients, folder: string): Promise<void> {
  trainedBy(loss); // refuses one that trains nothing
  requireString('folder', folder);
  await writeSafetensors(join(folder, LOSS_FILE), await storedWeightsOf(loss));
}

/** What a loss trains as it is now, by name. */
export async function storedWeightsOf(loss: LossWithGradients): Promise<Map<string, StoredTensor>> {
  const tensors = loss.parameters().map(async ({ name, tensor }) => [name, await toStored(tensor)] as const);
  return new Map(await Promise.all(tensors));
}

/** What can be saved while it is trained further. */
interface Snapshot {
  save(folder: string): Promise<void>;
}

/** The snapshot of a model, and of what a loss trains beside it, if that is anything. */
export async function snapshotBeside(model: Snapshot, loss: LossWithGradients): Promise<Snapshot> {
  const tensors = await storedWeightsOf(loss);
  if (tensors.size === 0) return model;
  return {
    save: async (folder) => {
      await model.save(folder);
      await writeSafetensors(join(folder, LOSS_FILE), tensors);
    },
  };
}

/**
 * Gives a loss what {@link saveLoss} has saved of one with the same settings.
 *
 * @throws GradCacheError `INPUT` for a loss that trains nothing, `CHECKPOINT` for a file that is missing, damaged or of another
 * loss, with the loss as it was
 * @example
 * ```ts
 * const loss = infoNCE({ temperature: { initial: 0.05, learned: true } });
 * await loadLoss(loss, 'runs/a/model'); // the temperature that the run ended with
 * ```
 */
export async function loadLoss(loss: LossWithGradients, folder: string): Promise<void> {
  const parameters = trainedBy(loss);
  requireString('folder', folder);
  const path = join(folder, LOSS_FILE);
  const stored = await readSafetensors(path);
  const faults = weightFaults(new Map(parameters.map(({ name, tensor }) => [name, tensor.shape])), stored);
  const [notReal] = [...stored].find(([, { dtype }]) => dtype !== 'float32' && dtype !== 'float64') ?? [];
  if (faults !== undefined || notReal !== undefined)
    throw new GradCacheError(
      'CHECKPOINT',
      `${path} is of another loss, or of other settings: ${faults ?? `${notReal} is ${stored.get(notReal!)!.dtype}`}.`,
    );
  copyWeights(parameters, stored);
}

/** @throws GradCacheError `INPUT` for a loss that trains nothing */
function trainedBy(loss: LossWithGradients): Parameter[] {
  requireLoss(loss);
  const parameters = typeof loss === 'function' ? [] : loss.parameters();
  if (parameters.length === 0)
    throw refused('loss', loss, 'one with parameters() that are trained, such as softmaxClassification(),');
  return parameters;
}
