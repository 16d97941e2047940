import { inFolder } from '../model-folder/in-folder.js';
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

/**
 * An adapted model as one without adapters: each matrix becomes W + scale * B A, in float32.
 *
 * @param folder with the current adapters
 * @throws GradCacheError `CHECKPOINT` where the base model is no longer there
 */
export async function mergedFolder(folder: ModelFolder): Promise<ModelFolder> {
  const { adapter, modelType } = folder;
  if (!adapter) return folder;
  const architecture = architectureOf(modelType);
  const tensors = await readWeights(adapter.base);
  const names = new Map([...tensors.keys()].map((name) => [parameterName(architecture, name), name]));
  const nameOf = (module: string): string => {
    const name = names.get(parameterName(architecture, module));
    if (name !== undefined) return name;
    throw faultIn(adapter.base, `it has no ${module}, which is adapted`);
  };
  for (const [name, tensor] of adapter.tensors) if (!isAdapterWeight(name)) tensors.set(nameOf(name), tensor);
  for (const [name, a] of adapter.tensors) {
    if (!name.endsWith(A)) continue;
    const module = name.slice(0, -A.length);
    const weight = nameOf(`${module}.weight`);
    const b = adapter.tensors.get(`${module}.lora_B.weight`);
    if (b === undefined) throw faultIn(adapter.base, `the adapter has no ${module}.lora_B.weight`);
    const { scale } = adapterOf(adapter.config, module);
    tensors.set(weight, await inFolder(adapter.base, () => sumOf(tensors.get(weight)!, b, a, scale)));
  }
  return { ...folder, adapter: null, tensors };
}

/** weight + scale * b a */
async function sumOf(
  weight: StoredTensor,
  b: StoredTensor,
  a: StoredTensor,
  scale: number,
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
