import { GradCacheError } from '../errors.js';
import { noGrad } from '../tensor/autograd.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { isUnused, parameterName, statedSizes, vocabularyHeadOf } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import { moduleTensors, withTensors } from '../model-folder/head-modules.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { copyWeights, weightFaults } from '../safetensors/match-weights.js';
import { toStored } from '../safetensors/stored-tensor.js';

/**
 * Compares the sizes in config.json with the stored weights, before any memory is allocated.
 *
 * @throws GradCacheError `CHECKPOINT` naming the sizes that differ, or the tensors that are missing
 */
export function requireSizes(folder: ModelFolder): void {
  const architecture = architectureOf(folder.modelType);
  const shapes = new Map<string, readonly number[]>();
  for (const [name, { shape }] of folder.tensors) shapes.set(parameterName(architecture, name), shape);
  const layers = (pattern: RegExp) =>
    new Set([...shapes.keys()].flatMap((name) => pattern.exec(name)?.[1] ?? [])).size;
  const faults = statedSizes(architecture, folder.config).flatMap(({ key, stated, weights }) => {
    if ('tensor' in weights && !shapes.has(weights.tensor)) return [`missing: ${weights.tensor}`];
    const found =
      'tensor' in weights ? shapes.get(weights.tensor)?.[weights.dimension] : layers(weights.layers);
    return found === stated ? [] : [`${key} is ${stated}, the weights have ${found ?? 'no such dimension'}`];
  });
  if (faults.length > 0) throw otherWeights(folder, faults.join('; '));
}

/**
 * Copies a folder's weights into an encoder's parameters.
 *
 * @throws GradCacheError `CHECKPOINT` naming every parameter that is missing, unexpected or of another shape
 */
export function matchWeights(folder: ModelFolder, parameters: readonly Parameter[]): void {
  const architecture = architectureOf(folder.modelType);
  const stored = new Map<string, StoredTensor>();
  for (const [name, tensor] of folder.tensors) stored.set(parameterName(architecture, name), tensor);
  for (const [copy, name] of copiesIn(folder))
    if (!stored.has(name) && stored.has(copy)) stored.set(name, stored.get(copy)!);
  for (const [name, tensor] of moduleTensors(folder.modules)) stored.set(name, tensor);
  const shapes = new Map(parameters.map(({ name, tensor }) => [name, tensor.shape]));
  const faults = weightFaults(shapes, stored, (name) => isUnused(architecture, name));
  if (faults !== undefined) throw otherWeights(folder, faults);
  copyWeights(parameters, stored);
}

function otherWeights(folder: ModelFolder, faults: string): GradCacheError {
  return new GradCacheError(
    'CHECKPOINT',
    `The weights are not those of the ${folder.modelType} in config.json; ${faults}`,
  );
}

/** The folder with an encoder's current weights, in float32, under the names they were read with. */
export async function storedWeights(
  folder: ModelFolder,
  parameters: readonly Parameter[],
): Promise<ModelFolder> {
  const present = new Map<string, StoredTensor>();
  for (const { name, tensor } of parameters) present.set(name, await stored(tensor));
  const modules = withTensors(folder.modules, (name) => take(present, name));
  const architecture = architectureOf(folder.modelType);
  const copies = copiesIn(folder);
  const tensors = new Map<string, StoredTensor>();
  for (const [name, original] of folder.tensors) {
    const parameter = parameterName(architecture, name);
    if (copies.has(parameter)) continue; // written under the one name
    tensors.set(name, present.has(parameter) ? take(present, parameter) : original);
  }
  // An encoder made from scratch has only these.
  for (const [name, tensor] of present) tensors.set(nameInFolder(folder, name), tensor);
  return { ...folder, tensors, modules };
}

/** Names that hold a copy of a parameter, with the parameter's. */
function copiesIn({ splade, modelType, config }: ModelFolder): ReadonlyMap<string, string> {
  return new Map(splade ? Object.entries(vocabularyHeadOf(architectureOf(modelType), config).copies) : []);
}

/** A masked language model has its encoder's parameters behind a prefix. */
function nameInFolder({ splade, modelType }: ModelFolder, name: string): string {
  const architecture = architectureOf(modelType);
  return splade && !isUnused(architecture, name) ? architecture.prefix + name : name;
}

function take(from: Map<string, StoredTensor>, name: string): StoredTensor {
  const tensor = from.get(name)!;
  from.delete(name);
  return tensor;
}

/** The values of a weight in float32. */
export async function stored(tensor: Tensor): Promise<StoredTensor> {
  const wide = noGrad(() => tensor.detach().to({ dtype: 'float32', device: 'cpu' }));
  try {
    return await toStored(wide);
  } finally {
    wide.dispose();
  }
}
