import { closeSync, openSync, readSync } from 'node:fs';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { faultIn } from '../files/file-fault.js';
import { readSafetensorsHeader, type SafetensorsEntry, type StoredTensor } from './safetensors.js';

/** Bytes that the system reads at a time, at most. */
const MOST = 2 ** 30;

/**
 * The tensors of a safetensors file, whose bytes are read where they are asked for: a state that is as large as the memory of the
 * host is loaded a tensor at a time. What was read is read anew when memory was needed meanwhile. The file stays as it is until then.
 *
 * @returns tensors by name, in the order of the header; `bytes` throws GradCacheError `CHECKPOINT` for a file that cannot be read
 * any more, `OUT_OF_MEMORY`
 * @throws GradCacheError `CHECKPOINT` for a file that cannot be read or breaks a rule of the format
 */
export async function tensorsOnDemand(path: string): Promise<Map<string, StoredTensor>> {
  const { entries } = await readSafetensorsHeader(path);
  return new Map(entries.map((entry) => [entry.name, onDemand(entry)]));
}

function onDemand(entry: SafetensorsEntry): StoredTensor {
  const { dtype, shape } = entry;
  let held: WeakRef<Uint8Array> | undefined;
  return {
    dtype,
    shape,
    get bytes(): Uint8Array {
      const known = held?.deref();
      if (known !== undefined) return known;
      const bytes = readNow(entry);
      held = new WeakRef(bytes);
      return bytes;
    },
  };
}

function readNow({ file, byteOffset, byteLength }: SafetensorsEntry): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(byteLength);
  } catch (error) {
    throw new GradCacheError('OUT_OF_MEMORY', `No memory for ${byteLength} bytes of ${file}.`, {
      cause: error,
    });
  }
  try {
    const opened = openSync(file, 'r');
    try {
      for (let done = 0; done < byteLength;) {
        const read = readSync(opened, bytes, done, Math.min(MOST, byteLength - done), byteOffset + done);
        if (read === 0) throw faultIn(file, `it ended at byte ${byteOffset + done} while it was being read`);
        done += read;
      }
    } finally {
      closeSync(opened);
    }
  } catch (error) {
    throw error instanceof GradCacheError ? error : fileError('CHECKPOINT', file, 'read', error);
  }
  return bytes;
}
