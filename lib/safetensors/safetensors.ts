import type { FileHandle } from 'node:fs/promises';
import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { writeAll } from '../files/file-handle.js';
import { readRange, withFile } from '../files/read-range.js';
import { refused as refusedOption, requireString, show } from '../options/option-values.js';
import { isPlainObject } from '../options/realms.js';
import type { DType } from '../tensor/tensor.js';
import { placeholderIn } from '../files/placeholder.js';
import { replaceFile } from '../files/replace-file.js';
import { byteLengthOf, damaged, MAX_HEADER_BYTES, parseHeader, storageOf } from './safetensors-format.js';
import type { SafetensorsEntry } from './safetensors-format.js';

export type { SafetensorsEntry } from './safetensors-format.js';

/** A tensor in host memory as files hold it: dense, row-major, little-endian. */
export interface StoredTensor {
  /** The type of its elements. */
  readonly dtype: DType;
  /** Dimensions, outermost first; `[]` is a scalar. */
  readonly shape: readonly number[];
  /** As many bytes as shape and dtype need. */
  readonly bytes: Uint8Array;
}

/**
 * Reads what a safetensors file says about its tensors, without reading them.
 *
 * @returns the tensors in the order of the header, and the header's `__metadata__` (empty where there is none)
 * @throws GradCacheError `CHECKPOINT` for a file that cannot be read or breaks a rule of the format; the message names both.
 */
export async function readSafetensorsHeader(
  path: string,
): Promise<{ entries: SafetensorsEntry[]; metadata: Record<string, string> }> {
  return withFile(path, readHeader);
}

/**
 * Reads all tensors of a safetensors file, each into a buffer of its own.
 *
 * @returns tensors by name, in the order of the header
 * @throws GradCacheError `CHECKPOINT` for a file that cannot be read or breaks a rule of the format,
 * `OUT_OF_MEMORY` where a tensor does not fit in host memory.
 * @example
 * ```ts
 * for (const [name, { shape, dtype }] of await readSafetensors('model.safetensors')) console.log(name, dtype, shape);
 * ```
 */
export async function readSafetensors(path: string): Promise<Map<string, StoredTensor>> {
  return withFile(path, async (file) => {
    const { entries } = await readHeader(file, path);
    const tensors = new Map<string, StoredTensor>();
    for (const { name, dtype, shape, byteOffset, byteLength } of entries) {
      tensors.set(name, { dtype, shape, bytes: await readRange(file, path, byteOffset, byteLength) });
    }
    return tensors;
  });
}

/**
 * Reads one tensor of a file whose header has been read.
 *
 * @throws GradCacheError as {@link readSafetensors}
 */
export async function readSafetensorsEntry(entry: SafetensorsEntry): Promise<StoredTensor> {
  const { dtype, shape, byteOffset, byteLength } = entry;
  return withFile(entry.file, async (file, path) => ({
    dtype,
    shape,
    bytes: await readRange(file, path, byteOffset, byteLength),
  }));
}

async function readHeader(file: FileHandle, path: string) {
  const status = await file.stat();
  if (!status.isFile()) throw damaged(path, 'it is not a regular file');
  const fileSize = status.size;
  if (fileSize < 8)
    throw damaged(path, `it has ${fileSize} bytes, fewer than the 8 that state the length of the header`);
  const prefix = await readRange(file, path, 0, 8);
  const stated = Buffer.from(prefix.buffer).readBigUInt64LE();
  if (stated > BigInt(MAX_HEADER_BYTES)) {
    const beginning = await readRange(file, path, 0, Math.min(fileSize, 512));
    const placeholder = placeholderIn(beginning);
    if (placeholder !== undefined) throw damaged(path, placeholder);
    throw damaged(path, `its header claims ${stated} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
  }
  const headerBytes = Number(stated);
  if (8 + headerBytes > fileSize) {
    throw damaged(
      path,
      `its header claims ${headerBytes} bytes, beyond the end of the file of ${fileSize} bytes`,
    );
  }
  const header = await readRange(file, path, 8, headerBytes);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch (error) {
    throw damaged(path, 'the header is not UTF-8 text', error);
  }
  return parseHeader(text, path, { dataStart: 8 + headerBytes, fileSize });
}

/**
 * Writes a safetensors file: beside the target, flushed, then renamed over it. Tensors are placed as the reference
 * writer does (widest element type first, then by name; the header padded to 8 bytes), so each starts at a multiple
 * of its element size and equal input gives equal files.
 *
 * @param metadata goes into `__metadata__`; `{ format: 'pt' }` is what transformers expects
 * @throws GradCacheError `INPUT` for what is no tensor, a name that occurs twice, or a tensor whose bytes do not fit its shape and dtype.
 * @example
 * ```ts
 * const tensors = await readSafetensors('model.safetensors');
 * tensors.delete('pooler.dense.weight');
 * await writeSafetensors('smaller.safetensors', tensors, { format: 'pt' });
 * ```
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<readonly [string, StoredTensor]>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  requireString('path', path);
  if (typeof (tensors as Partial<typeof tensors> | null)?.[Symbol.iterator] !== 'function')
    throw refusedOption('tensors', tensors, 'a Map or a list of [name, tensor]');
  if (!isPlainObject(metadata) || !Object.values(metadata).every((value) => typeof value === 'string'))
    throw new GradCacheError('INPUT', `metadata is ${show(metadata)}; an object of strings is needed.`);
  const { header, ordered } = layOut(path, tensors, metadata);
  await replaceFile(path, async (file) => {
    await writeAll(file, header);
    for (const { bytes } of ordered) await writeAll(file, bytes);
  });
}

function layOut(
  path: string,
  tensors: Iterable<readonly [string, StoredTensor]>,
  metadata: Readonly<Record<string, string>>,
) {
  const names = new Set<string>();
  const ordered = Array.from(tensors, (entry) => {
    const [name, { dtype, shape, bytes }] = checked(path, entry);
    const storage = storageOf(dtype);
    if (storage === undefined)
      throw unwritable(path, name, `has dtype ${dtype}, which the format cannot hold`);
    if (names.has(name)) throw unwritable(path, name, 'is given twice');
    if (name === '__metadata__' || /\p{Cs}/u.test(name))
      throw unwritable(path, name, 'has a name that the format reserves');
    if (byteLengthOf(shape, storage.size) !== bytes.byteLength) {
      throw unwritable(
        path,
        name,
        `has shape [${shape.join(', ')}], dtype ${dtype} and ${bytes.byteLength} bytes, which disagree`,
      );
    }
    names.add(name);
    return { name, shape, bytes, storage };
  });
  ordered.sort((a, b) => b.storage.rank - a.storage.rank || compareByCodePoint(a.name, b.name));

  let end = 0;
  const parts = ordered.map(({ name, shape, bytes, storage }) => {
    const begin = end;
    end += bytes.byteLength;
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype: storage.tag, shape, data_offsets: [begin, end] })}`;
  });
  if (Object.keys(metadata).length > 0) parts.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const json = Buffer.from(`{${parts.join(',')}}`);
  const headerBytes = Math.ceil(json.length / 8) * 8;
  if (headerBytes > MAX_HEADER_BYTES) {
    throw new GradCacheError(
      'INPUT',
      `${path}: a header of ${headerBytes} bytes is beyond the ${MAX_HEADER_BYTES} allowed.`,
    );
  }
  const header = Buffer.alloc(8 + headerBytes, ' ');
  header.writeBigUInt64LE(BigInt(headerBytes));
  json.copy(header, 8);
  return { header, ordered };
}

function checked(path: string, entry: unknown): readonly [string, StoredTensor] {
  const [name, tensor] = Array.isArray(entry) ? (entry as unknown[]) : [];
  const { shape, bytes } = (tensor ?? {}) as Partial<Record<keyof StoredTensor, unknown>>;
  const isShape =
    Array.isArray(shape) && shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
  if (typeof name === 'string' && isShape && types.isUint8Array(bytes))
    return entry as [string, StoredTensor];
  throw new GradCacheError(
    'INPUT',
    `Cannot write ${path}: ${show(entry)} is no [name, { dtype, shape, bytes }], with bytes in a Uint8Array.`,
  );
}

/** The order of UTF-8 bytes, which is that of code points; `<` on strings compares UTF-16 units. */
function compareByCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function unwritable(path: string, name: string, reason: string): GradCacheError {
  return new GradCacheError('INPUT', `Cannot write ${path}: tensor ${JSON.stringify(name)} ${reason}.`);
}
