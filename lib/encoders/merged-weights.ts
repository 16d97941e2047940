import { inFolder } from '../model-folder/in-folder.js';
import type { Adapter } from '../model-folder/adapter-folder.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import { readWeights } from '../model-folder/model-weights.js';
import { adapterOf, isAdapterWeight } from '../model-folder/target-modules.js';
import { architectureOf } from '../architectures/architectures.js';
import { parameterName } from '../architectures/architecture.js';
import { partOf, placesOfModules, type RowsPart } from '../architectures/module-names.js';
import { GradCacheError } from '../errors.js';
import { faultIn } from '../files/file-fault.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored, toStored } from '../safetensors/stored-tensor.js';
import { noGrad } from '../tensor/autograd.js';
import { callAsync } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

const A = '.lora_A.weight';

/** What a merge does to the weights of a base model, by their names there. */
export type Merge = ReadonlyMap<string, readonly Change[]>;

/** What happens to a weight, or to a part of its rows. */
export type Change = { readonly part: RowsPart | null } & (Replacement | Addition);

interface Replacement {
  readonly kind: 'replaced';
  readonly by: StoredTensor;
}

interface Addition {
  readonly kind: 'added';
  readonly product: AdapterProduct;
}

/** scale * b a */
interface AdapterProduct {
  readonly a: StoredTensor;
  readonly b: StoredTensor;
  readonly scale: number;
}

/** @param names those of the base model's weights. @throws GradCacheError `CHECKPOINT` where one that is adapted is not among them */
export function mergeOf(adapter: Adapter, modelType: string, names: Iterable<string>): Merge {
  const architecture = architectureOf(modelType);
  const places = placesOfModules(architecture, names);
  const changes = new Map<string, Change[]>();
  const change = (parameter: string, changeOf: (part: RowsPart | null) => Change): void => {
    const place = places.get(parameterName(architecture, parameter));
    if (place === undefined) throw faultIn(adapter.base, `it has no ${parameter}, which is adapted`);
    const { name, part } = place;
    changes.set(name, [...(changes.get(name) ?? []), changeOf(part)]);
  };
  for (const [name, by] of adapter.tensors)
    if (!isAdapterWeight(name)) change(name, (part) => ({ kind: 'replaced', by, part }));
  for (const [name, a] of adapter.tensors) {
    if (!name.endsWith(A)) continue;
    const module = name.slice(0, -A.length);
    const b = adapter.tensors.get(`${module}.lora_B.weight`);
    if (b === undefined) throw faultIn(adapter.base, `the adapter has no ${module}.lora_B.weight`);
    const { scale } = adapterOf(adapter.config, module);
    change(`${module}.weight`, (part) => ({ kind: 'added', product: { a, b, scale }, part }));
  }
  return changes;
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
  for (const [name, changes] of mergeOf(adapter, modelType, tensors.keys()))
    tensors.set(name, await inFolder(adapter.base, () => changed(name, tensors.get(name)!, changes)));
  return { ...folder, adapter: null, tensors };
}

/**
 * A weight with what a merge does to it, in float32 unless it is replaced as a whole.
 *
 * @param name in the base model, for errors
 * @throws GradCacheError `CHECKPOINT` for a change of another shape
 */
export async function changed(
  name: string,
  weight: StoredTensor,
  changes: readonly Change[],
): Promise<StoredTensor> {
  let now = weight;
  for (const { part, ...change } of changes) {
    if (part === null) {
      now = await withChange(name, now, change);
      continue;
    }
    now = await inFloat32(now);
    const rows = partOf(now, part); // a view of the bytes
    const { bytes } = await inFloat32(await withChange(name, rows, change));
    rows.bytes.set(bytes);
  }
  return now;
}

async function withChange(
  name: string,
  weight: StoredTensor,
  change: Replacement | Addition,
): Promise<StoredTensor> {
  const now = change.kind === 'replaced' ? change.by : await withProduct(weight, change.product);
  if (now.shape.join() === weight.shape.join()) return now;
  throw new GradCacheError(
    'CHECKPOINT',
    `The adapter has for ${name} the shape [${now.shape.join(', ')}], where its base model has [${weight.shape.join(', ')}].`,
  );
}

/** A copy in float32. */
async function inFloat32(weight: StoredTensor): Promise<StoredTensor> {
  const tensor = fromStored(weight);
  const wide = noGrad(() => tensor.to({ dtype: 'float32' }));
  try {
    return await toStored(wide);
  } finally {
    wide.dispose();
    tensor.dispose();
  }
}

/** weight + scale * b a, in float32 */
async function withProduct(weight: StoredTensor, { a, b, scale }: AdapterProduct): Promise<StoredTensor> {
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
