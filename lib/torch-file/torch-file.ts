import type { FileHandle } from 'node:fs/promises';
import type { GradCacheError } from '../errors.js';
import { faultIn } from '../files/file-fault.js';
import { placeholderIn } from '../files/placeholder.js';
import { readRange, withFile } from '../files/read-range.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { PickleFault, readPickle, type Global } from './restricted-pickle.js';
import { readZip } from './stored-zip.js';
import { StateDict, type Storage } from './state-dict.js';

/** The longest pickle that is read: names and shapes of the tensors of any model are far shorter. */
const MOST_PICKLE_BYTES = 1 << 26;
/** The number at the beginning of a file that PyTorch before 1.6 wrote, as a pickle. */
const LEGACY = Uint8Array.of(
  0x80,
  2,
  0x8a,
  10,
  0x6c,
  0xfc,
  0x9c,
  0x46,
  0xf9,
  0x20,
  0x6a,
  0xa8,
  0x50,
  0x19,
  0x2e,
);
const ZIP = Uint8Array.of(0x50, 0x4b, 3, 4);

/**
 * Reads the tensors of a file that `torch.save` wrote for a state dict, such as pytorch_model.bin. Such a file is a program for
 * Python's unpickler; here nothing of it runs, and one that is more than tensors by name is refused.
 *
 * @returns tensors by name, in the order of the file; tensors that share memory in Python may share it here
 * @throws GradCacheError `CHECKPOINT` for a file that cannot be read, is damaged, or holds anything else; `OUT_OF_MEMORY`
 */
export async function readTorchFile(path: string): Promise<Map<string, StoredTensor>> {
  return withFile(path, async (file) => {
    const status = await file.stat();
    if (!status.isFile()) throw faultIn(path, 'it is not a regular file');
    const beginning = await readRange(file, path, 0, Math.min(status.size, 512));
    try {
      if (startsWith(beginning, ZIP)) return await readArchive(file, path);
      if (startsWith(beginning, LEGACY)) return await readLegacy(file, path, status.size);
    } catch (error) {
      if (!(error instanceof PickleFault)) throw error;
      throw refusedFile(path, error.message);
    }
    throw refusedFile(path, placeholderIn(beginning) ?? 'it is no file of torch.save');
  });
}

/** A zip archive with a pickle, and a file for each storage. */
async function readArchive(file: FileHandle, path: string): Promise<Map<string, StoredTensor>> {
  const entries = await readZip(file, path);
  const pickle = [...entries.values()].find(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickle === undefined) throw refusedFile(path, 'it has no data.pkl');
  const root = pickle.name.slice(0, -'data.pkl'.length);
  const contentOf = async (name: string): Promise<Uint8Array | undefined> => {
    const entry = entries.get(root + name);
    return entry && readRange(file, path, entry.offset, entry.length);
  };
  const order = new TextDecoder().decode(await contentOf('byteorder')) || 'little';
  if (order !== 'little') throw refusedFile(path, `its byteorder is ${JSON.stringify(order)}, not "little"`);
  const dict = new StateDict();
  const { value } = readPickle(await pickleIn(file, path, pickle.offset, pickle.length), 0, dict);
  const { size } = await file.stat();
  if (dict.bytes > size) throw new PickleFault(`its storages claim ${dict.bytes} bytes of a file of ${size}`);
  for (const storage of dict.storages) {
    const entry = entries.get(`${root}data/${storage.key}`);
    storage.fill(entry && entry.length, entry && (await readRange(file, path, entry.offset, entry.length)));
  }
  return dict.tensorsOf(value);
}

/**
 * Four pickles (a number, the version, the sizes of types, the tensors) and the list of storages, whose bytes follow.
 */
async function readLegacy(file: FileHandle, path: string, size: number): Promise<Map<string, StoredTensor>> {
  const bytes = await pickleIn(file, path, 0, Math.min(size, MOST_PICKLE_BYTES));
  const plain = {
    call: (what: Global): unknown => {
      throw new PickleFault(`it calls ${what.path} before its tensors`);
    },
    persistent: (): unknown => {
      throw new PickleFault('it refers to a storage before its tensors');
    },
  };
  let end = LEGACY.length;
  for (let header = 0; header < 2; header++) ({ end } = readPickle(bytes, end, plain));
  const dict = new StateDict();
  const { value, end: behind } = readPickle(bytes, end, dict);
  const { value: keys, end: begin } = readPickle(bytes, behind, plain);
  if (!Array.isArray(keys)) throw new PickleFault('it has no list of storages');
  let at = begin;
  const byKey = new Map(dict.storages.map((storage): [unknown, Storage] => [storage.key, storage]));
  for (const key of keys as unknown[]) {
    const storage = byKey.get(key);
    if (storage === undefined) throw new PickleFault('its list of storages names one that no tensor has');
    byKey.delete(key);
    const length = storage.bytes;
    if (at + 8 + length > size) throw new PickleFault('it is cut off');
    const [stated] = new BigInt64Array((await readRange(file, path, at, 8)).buffer);
    if (stated !== BigInt(storage.elements))
      throw new PickleFault(`a storage of ${storage.elements} numbers has ${stated}`);
    storage.fill(length, await readRange(file, path, at + 8, length));
    at += 8 + length;
  }
  return dict.tensorsOf(value);
}

async function pickleIn(file: FileHandle, path: string, offset: number, length: number): Promise<Uint8Array> {
  if (length > MOST_PICKLE_BYTES)
    throw new PickleFault(`its pickle has ${length} bytes, more than the ${MOST_PICKLE_BYTES} allowed`);
  return readRange(file, path, offset, length);
}

const startsWith = (bytes: Uint8Array, beginning: Uint8Array): boolean =>
  beginning.every((byte, place) => bytes[place] === byte);

function refusedFile(path: string, fault: string): GradCacheError {
  return faultIn(
    path,
    `${fault}. Only tensors by name are read from a file of torch.save; load the model in Python and call ` +
      'save_pretrained(folder, safe_serialization=True)',
  );
}
