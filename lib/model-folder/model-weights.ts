import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { fileError } from '../files/file-error.js';
import { show } from '../options/option-values.js';
import { readJsonObject } from '../files/json-file.js';
import {
  readSafetensors,
  readSafetensorsEntry,
  readSafetensorsHeader,
  type StoredTensor,
} from '../safetensors/safetensors.js';
import { readTorchFile } from '../torch-file/torch-file.js';
import { isWeights } from './is-model-folder.js';
import { isJsonObject } from '../files/strict-json.js';

/**
 * Reads the weights in a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists; where there are
 * none, `pytorch_model.bin` or its shards, of which nothing is run.
 *
 * @throws GradCacheError `CHECKPOINT` where there are none, or only some of another kind (the message gives the conversion).
 */
export async function readWeights(folder: string): Promise<Map<string, StoredTensor>> {
  return weightsIn(folder, readSafetensors, readTorchFile);
}

/** A weight whose elements are still in its file. */
export interface LyingWeight extends Pick<StoredTensor, 'dtype' | 'shape'> {
  readonly read: () => Promise<StoredTensor>;
}

/** The weights in a folder as {@link readWeights} finds them, to be read one at a time; those of PyTorch's own files are in memory. */
export async function openWeights(folder: string): Promise<Map<string, LyingWeight>> {
  const lying = async (path: string) => {
    const { entries } = await readSafetensorsHeader(path);
    return new Map(
      entries.map((entry) => [entry.name, { ...entry, read: () => readSafetensorsEntry(entry) }]),
    );
  };
  return weightsIn<LyingWeight>(folder, lying, async (path) => {
    const tensors = await readTorchFile(path);
    return new Map(
      Array.from(tensors, ([name, tensor]) => [name, { ...tensor, read: () => Promise.resolve(tensor) }]),
    );
  });
}

/** Reads a file of weights. */
type ReadFile<T> = (path: string) => Promise<Map<string, T>>;

async function weightsIn<T>(
  folder: string,
  readSafe: ReadFile<T>,
  readTorch: ReadFile<T>,
): Promise<Map<string, T>> {
  const names = await readdir(folder).catch((error: Error) => {
    throw fileError('CHECKPOINT', folder, 'read', error);
  });
  if (names.includes('model.safetensors')) return readSafe(join(folder, 'model.safetensors'));
  if (names.includes('model.safetensors.index.json'))
    return readShards(join(folder, 'model.safetensors.index.json'), readSafe);
  if (names.includes('pytorch_model.bin')) return readTorch(join(folder, 'pytorch_model.bin'));
  if (names.includes('pytorch_model.bin.index.json'))
    return readShards(join(folder, 'pytorch_model.bin.index.json'), readTorch);
  const others = names.filter(isWeights);
  const found = others.length > 0 ? `only ${others.join(', ')}` : 'no weights';
  throw new GradCacheError(
    'CHECKPOINT',
    `${folder} has no model.safetensors; found ${found}. Weights of another kind can be converted in Python: ` +
      'load the model and call save_pretrained(folder, safe_serialization=True).',
  );
}

async function readShards<T>(indexPath: string, read: ReadFile<T>): Promise<Map<string, T>> {
  const index = await readJsonObject(indexPath);
  const map = index?.weight_map;
  if (!isJsonObject(map)) throw refusedIn(indexPath, 'weight_map', map, 'an object');
  const tensors = new Map<string, T>();
  const homes = new Map<string, string>();
  for (const shard of new Set(Object.values(map))) {
    // A shard is a file of this folder: a path could point anywhere on the machine.
    if (typeof shard !== 'string' || shard === '' || shard !== basename(shard) || shard.includes('\\')) {
      throw refusedIn(indexPath, 'a shard', shard, 'the name of a file beside it');
    }
    for (const [name, tensor] of await read(join(dirname(indexPath), shard))) {
      const home = homes.get(name);
      if (home !== undefined) {
        throw faultIn(indexPath, `tensor ${JSON.stringify(name)} is in ${home} and in ${shard}`);
      }
      homes.set(name, shard);
      tensors.set(name, tensor);
    }
  }
  for (const [name, shard] of Object.entries(map)) {
    if (homes.get(name) !== shard) {
      throw faultIn(indexPath, `tensor ${JSON.stringify(name)} is placed in ${show(shard)}, which lacks it`);
    }
  }
  return tensors;
}
