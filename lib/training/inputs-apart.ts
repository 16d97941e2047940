import { refuseOverwriting, refuseReplacing, type NamedPath } from '../files/overwrite.js';
import { guideOf } from '../losses/loss-kinds.js';
import { checkpointFolder, listCheckpoints, modelFolder } from './checkpoint.js';
import type { FilledTrainConfig } from './read-config.js';
import { metricsFile } from './metrics.js';
import { FILES_OF_SET, placeOf, setsOf } from './held-out-sets.js';
import { OBJECT } from './objects.js';

/**
 * Throws if a run would write over what it reads: if its data, its held-out data or the model it starts from is, or lies
 * in, the model, the checkpoints or the metrics of its output.
 *
 * @throws GradCacheError `INPUT`
 */
export function requireInputsApart(config: FilledTrainConfig): Promise<void> {
  return requireApart(config.output, inputsOf(config));
}

/** {@link requireInputsApart} for any files that are read. */
export async function requireApart(output: string, inputs: readonly NamedPath[]): Promise<void> {
  const metrics = { name: 'output: the file', path: metricsFile(output) };
  await refuseOverwriting(metrics, inputs);
  const checkpoints = (await listCheckpoints(output)).map((step) => checkpointFolder(output, step));
  for (const path of [modelFolder(output), ...checkpoints])
    await refuseReplacing({ name: 'output: the folder', path }, inputs);
}

function inputsOf({ data, model, imageModel, loss, lossFrom, evaluation }: FilledTrainConfig): NamedPath[] {
  const inputs = data.map((path) => ({ name: 'data', path }));
  for (const { name, set } of setsOf(evaluation))
    for (const file of FILES_OF_SET) {
      const path = set[file];
      if (path !== undefined) inputs.push({ name: `${placeOf(name)}.${file}`, path });
    }
  const guide = guideOf(loss);
  if (guide !== null) inputs.push({ name: 'loss.guide', path: guide });
  if (lossFrom !== undefined) inputs.push({ name: 'lossFrom', path: lossFrom });
  if (imageModel !== undefined) inputs.push({ name: 'imageModel', path: imageModel });
  if (typeof model === 'string') inputs.push({ name: 'model', path: model });
  else {
    inputs.push({ name: 'model.tokenizer', path: model.tokenizer });
    if (typeof model.config === 'string') inputs.push({ name: 'model.config', path: model.config });
  }
  return inputs.filter(({ path }) => path !== OBJECT);
}
