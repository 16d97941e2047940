import { inFolder } from '../model-folder/in-folder.js';
import type { Adapter } from '../model-folder/adapter-folder.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import { readWeights } from '../model-folder/model-weights.js';
import { adapterOf, isAdapterWeight } from '../model-folder/target-modules.js';
import { architectureOf } from '../architectures/architectures.js';
import { parameterName } from '../architectures/architecture.js';
import { faultIn } from '../files/file-fault.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored, toStored } from '../safetensors/stored-tensor.js';
import { noGrad } from '../tensor/autograd.js';
import { callAsync } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

const A = '.lora_A.weight';

/** What a merge does to the weights of a base model, by their names there. */
export interface Merge {
  /** Weights that take the place of others. */
  readonly replaced: ReadonlyMap<string, StoredTensor>;
  /** Products that are added to matrices. */
  readonly added: ReadonlyMap<string, AdapterProduct>;
}

/** scale * b a */
export interface AdapterProduct {
  readonly a: StoredTensor;
  readonly b: StoredTensor;
  readonly scale: number;
}

/** @param names those of the base model's weights. @throws GradCacheError `CHECKPOINT` where one that is adapted is not among them */
export function mergeOf(adapter: Adapter, modelType: string, names: Iterable<string>): Merge {
  const architecture = architectureOf(modelType);
  const known = new Map(Array.from(names, (name) => [parameterName(architecture, name), name]));
  const nameOf = (module: string): string => {
    const name = known.get(parameterName(architecture, module));
    if (name !== undefined) return name;
    throw faultIn(adapter.base, `it has no ${module}, which is adapted`);
  };
  const replaced = new Map<string, StoredTensor>();
  const added = new Map<string, AdapterProduct>();
  for (const [name, tensor] of adapter.tensors)
    if (!isAdapterWeight(name)) replaced.set(nameOf(name), tensor);
  for (const [name, a] of adapter.tensors) {
    if (!name.endsWith(A)) continue;
    const module = name.slice(0, -A.length);
    const b = adapter.tensors.get(`${module}.lora_B.weight`);
    if (b === undefined) throw faultIn(adapter.base, `the adapter has no ${module}.lora_B.weight`);
    const { scale } = adapterOf(adapter.config, module);
    added.set(nameOf(`${module}.weight`), { a, b, scale });
  }
  return { replaced, added };
}

/**
 * An adapted model as one without adapters: each matrix becomes W + scale * B A, in float32.
 *
 * @param folder with the current adapters
 * @throws GradCacheError `CHECKPOINT` where the base model is no longer there
 */
export async function mergedFolder(folder: ModelFolder): Promise<ModelFolder> {
  const { adapter, modelType } = folder;
  if (!adapter) return folder;
  const tensors = await readWeights(adapter.base);
  const { replaced, added } = mergeOf(adapter, modelType, tensors.keys());
  for (const [name, tensor] of replaced) tensors.set(name, tensor);
  for (const [name, product] of added)
    tensors.set(name, await inFolder(adapter.base, () => withProduct(tensors.get(name)!, product)));
  return { ...folder, adapter: null, tensors };
}

/** weight + scale * b a, in float32 */
export async function withProduct(
  weight: StoredTensor,
  { a, b, scale }: AdapterProduct,
): Promise<StoredTensor> {
  const made: Tensor[] = [];
  const wide = (stored: StoredTensor): Tensor => {
    const tensor = fromStored(stored);
    made.push(tensor);
    if (tensor.dtype === 'float32') return tensor;
    const converted = noGrad(() => tensor.to({ dtype: 'float32' }));
    made.push(converted);
    return converted;
  };
  try {
    const sum = await callAsync('aten::addmm', wide(weight), wide(b), wide(a), { beta: 1, alpha: scale });
    made.push(sum);
    return await toStored(sum);
  } finally {
    for (const tensor of made) tensor.dispose();
  }
}
