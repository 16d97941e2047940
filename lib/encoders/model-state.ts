import { GradCacheError } from '../errors.js';
import { noGrad } from '../tensor/autograd.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { isUnused, parameterName, statedSizes, vocabularyHeadOf } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import { areStored, asModules } from '../architectures/module-names.js';
import { isOfModule, moduleTensors, withTensors } from '../model-folder/head-modules.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import { isAdapterWeight } from '../model-folder/target-modules.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { copyWeights, weightFaults } from '../safetensors/match-weights.js';
import { toStored } from '../safetensors/stored-tensor.js';

/** A model and what is known of its tensors. */
type Described<T> = Pick<ModelFolder, 'modelType' | 'config' | 'splade'> & {
  readonly tensors: ReadonlyMap<string, T>;
};

/**
 * Compares the sizes in config.json with the stored weights, before any memory is allocated.
 *
 * @throws GradCacheError `CHECKPOINT` naming the sizes that differ, or the tensors that are missing
 */
export function requireSizes(folder: Described<Pick<StoredTensor, 'shape'>>): void {
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
  const own = byParameter(folder);
  const stored = isNamedAsModules(folder) ? asModules(architecture, own) : new Map(own);
  for (const [name, tensor] of folder.adapter?.tensors ?? [])
    stored.set(parameterName(architecture, name), tensor);
  for (const [name, tensor] of moduleTensors(folder.modules)) stored.set(name, tensor);
  const shapes = new Map(parameters.map(({ name, tensor }) => [name, tensor.shape]));
  const faults = weightFaults(shapes, stored, (name) => isUnused(architecture, name));
  if (faults !== undefined) throw otherWeights(folder, faults);
  copyWeights(parameters, stored);
}

/**
 * Whether an encoder is named by the modules of transformers, where checkpoints have other names: one with adapters, as PEFT has them,
 * unless those were trained with the code that came with the checkpoint.
 */
export function isNamedAsModules({
  adapter,
  modelType,
}: Pick<ModelFolder, 'adapter' | 'modelType'>): boolean {
  const architecture = architectureOf(modelType);
  if (!adapter || architecture.modules === undefined || architecture.modules.length === 0) return false;
  return !areStored(architecture, adapter.tensors.keys());
}

/** A folder's tensors by the names of an encoder's parameters. */
export function byParameter<T>(folder: Described<T>): ReadonlyMap<string, T> {
  const architecture = architectureOf(folder.modelType);
  const stored = new Map<string, T>();
  for (const [name, tensor] of folder.tensors) stored.set(parameterName(architecture, name), tensor);
  for (const [copy, name] of copiesIn(folder))
    if (!stored.has(name) && stored.has(copy)) stored.set(name, stored.get(copy)!);
  return stored;
}

/** An error about weights that do not fit config.json. @param faults what is wrong with them */
export function otherWeights(folder: Pick<ModelFolder, 'modelType'>, faults: string): GradCacheError {
  return new GradCacheError(
    'CHECKPOINT',
    `The weights are not those of the ${folder.modelType} in config.json; ${faults}`,
  );
}

/**
 * The folder with an encoder's current weights under the names they were read with: in float32, those that are frozen as they
 * were read. Of an adapted model only what is trained is new.
 */
export async function storedWeights(
  folder: ModelFolder,
  { parameters, isFrozen }: { parameters: readonly Parameter[]; isFrozen: (name: string) => boolean },
): Promise<ModelFolder> {
  const present = new Map<string, StoredTensor>();
  const read = byParameter(folder);
  for (const { name, tensor } of parameters) {
    if (folder.adapter && isFrozen(name) && !isAdapterWeight(name) && !isOfModule(name)) continue;
    present.set(name, (isFrozen(name) ? read.get(name) : undefined) ?? (await stored(tensor)));
  }
  const modules = withTensors(folder.modules, (name) => take(present, name));
  if (folder.adapter) {
    const own = Array.from(present, ([name, tensor]) => [nameInFolder(folder, name), tensor] as const);
    const { adapter } = folder;
    return { ...folder, modules, adapter: { ...adapter, tensors: new Map([...adapter.tensors, ...own]) } };
  }
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
function copiesIn({ splade, modelType, config }: Described<unknown>): ReadonlyMap<string, string> {
  return new Map(splade ? Object.entries(vocabularyHeadOf(architectureOf(modelType), config).copies) : []);
}

/** The name of a parameter in the model of transformers: a masked language model has its encoder's behind a prefix. */
export function nameInFolder(
  { splade, modelType }: Pick<ModelFolder, 'splade' | 'modelType'>,
  name: string,
): string {
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
