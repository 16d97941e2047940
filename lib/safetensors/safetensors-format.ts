import { GradCacheError } from '../errors.js';
import type { DType } from '../tensor/tensor.js';
import { isJsonObject, parseStrictJson } from '../files/strict-json.js';
import { show } from '../options/option-values.js';

/** The longest header that is read, in bytes: the limit of the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;

/** One tensor as a safetensors header states it. */
export interface SafetensorsEntry {
  /** The tensor's name, e.g. `encoder.layer.0.attention.self.query.weight`. */
  name: string;
  dtype: DType;
  /** Dimensions, outermost first; `[]` is a scalar. */
  shape: number[];
  /** Where the tensor's bytes start, counted from the beginning of the file. */
  byteOffset: number;
  byteLength: number;
  /** The file that holds the bytes. */
  file: string;
}

/** Bytes per element and the type's name in the file; in the order in which the reference writer places tensors, last first. */
const DTYPES: readonly { dtype: DType; tag: string; size: number }[] = [
  { dtype: 'bool', tag: 'BOOL', size: 1 },
  { dtype: 'uint8', tag: 'U8', size: 1 },
  { dtype: 'int8', tag: 'I8', size: 1 },
  { dtype: 'int16', tag: 'I16', size: 2 },
  { dtype: 'float16', tag: 'F16', size: 2 },
  { dtype: 'bfloat16', tag: 'BF16', size: 2 },
  { dtype: 'int32', tag: 'I32', size: 4 },
  { dtype: 'float32', tag: 'F32', size: 4 },
  { dtype: 'float64', tag: 'F64', size: 8 },
  { dtype: 'int64', tag: 'I64', size: 8 },
];
const BY_TAG = new Map(DTYPES.map((type) => [type.tag, type]));
const BY_DTYPE = new Map(DTYPES.map((type, rank) => [type.dtype, { ...type, rank }]));

/** How a dtype is stored, or undefined for a dtype that safetensors files made here cannot hold. */
export function storageOf(dtype: DType): { tag: string; size: number; rank: number } | undefined {
  return BY_DTYPE.get(dtype);
}

/**
 * Reads the JSON header of a safetensors file and enforces every rule of the format: known dtypes, shapes of whole
 * numbers, byte ranges that agree with dtype and shape and that cover the data part exactly, without holes or overlap.
 *
 * @param text the header as stored, padding included
 * @param layout where the data part starts and ends in the file, in bytes
 * @throws GradCacheError `CHECKPOINT`, naming the file and the rule that it breaks
 */
export function parseHeader(
  text: string,
  file: string,
  layout: { dataStart: number; fileSize: number },
): { entries: SafetensorsEntry[]; metadata: Record<string, string> } {
  if (!text.startsWith('{'))
    throw damaged(file, `the header must start with '{', it starts with ${show(text[0])}`);
  let header: unknown;
  try {
    header = parseStrictJson(text);
  } catch (error) {
    throw damaged(
      file,
      `the header is not valid JSON without duplicate names: ${(error as Error).message}`,
      error,
    );
  }
  if (!isJsonObject(header)) throw damaged(file, 'the header is not a JSON object');

  let metadata: Record<string, string> = {};
  const entries: SafetensorsEntry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = parseMetadata(value, file);
    else entries.push(parseEntry(name, value, file, layout));
  }
  requireExactCover(entries, file, layout);
  return { entries, metadata };
}

function parseMetadata(value: unknown, file: string): Record<string, string> {
  if (!isJsonObject(value)) throw damaged(file, '__metadata__ must map strings to strings');
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw damaged(
        file,
        `__metadata__ must map strings to strings; the value of ${show(key)} is not a string`,
      );
    }
  }
  return value as Record<string, string>;
}

function parseEntry(
  name: string,
  value: unknown,
  file: string,
  { dataStart, fileSize }: { dataStart: number; fileSize: number },
): SafetensorsEntry {
  const wrong = (what: string) => damaged(file, `tensor ${show(name)} ${what}`);
  if (/\p{Cs}/u.test(name)) throw damaged(file, `the tensor name ${show(name)} is not valid Unicode`);
  if (!isJsonObject(value)) throw wrong('is not described by a JSON object');
  const { dtype: tag, shape, data_offsets: offsets } = value;

  const type = typeof tag === 'string' ? BY_TAG.get(tag) : undefined;
  if (type === undefined) {
    const known = DTYPES.map((each) => each.tag).join(', ');
    throw wrong(`has dtype ${show(tag)}; supported dtypes are ${known}`);
  }
  if (!isListOfCounts(shape))
    throw wrong(`has shape ${show(shape)}; every dimension must be a whole number from 0`);
  if (!isListOfCounts(offsets) || offsets.length !== 2)
    throw wrong(`has data_offsets ${show(offsets)}; two whole numbers are needed`);
  const [begin, end] = offsets as [number, number];
  if (end < begin) throw wrong(`ends at byte ${end}, before it begins at ${begin}`);
  const dataBytes = fileSize - dataStart;
  if (end > dataBytes) throw wrong(`ends at byte ${end} of a data part of ${dataBytes} bytes`);
  const needed = byteLengthOf(shape, type.size);
  if (needed !== end - begin) {
    throw wrong(
      `of shape [${shape.join(', ')}] and dtype ${type.tag} needs ${needed} bytes; ` +
        `its data_offsets [${begin}, ${end}] hold ${end - begin}`,
    );
  }
  return { name, dtype: type.dtype, shape, byteOffset: dataStart + begin, byteLength: needed, file };
}

/** Bytes of a dense tensor; Infinity where the product is beyond what a number can count exactly. */
export function byteLengthOf(shape: readonly number[], elementSize: number): number {
  if (shape.includes(0)) return 0;
  let bytes = elementSize;
  for (const dimension of shape) {
    bytes *= dimension;
    if (!Number.isSafeInteger(bytes)) return Infinity;
  }
  return bytes;
}

function requireExactCover(
  entries: readonly SafetensorsEntry[],
  file: string,
  layout: { dataStart: number; fileSize: number },
): void {
  const inOrder = [...entries].sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = layout.dataStart;
  for (const entry of inOrder) {
    if (entry.byteOffset !== end) {
      const kind = entry.byteOffset < end ? 'overlaps the tensor before it' : 'leaves a hole before it';
      throw damaged(
        file,
        `tensor ${show(entry.name)} ${kind}: it begins at byte ${entry.byteOffset - layout.dataStart} of the data part, ` +
          `where ${end - layout.dataStart} is next`,
      );
    }
    end += entry.byteLength;
  }
  if (end !== layout.fileSize) {
    throw damaged(
      file,
      `the tensors must cover the file exactly; ${layout.fileSize - end} bytes at its end belong to none`,
    );
  }
}

function isListOfCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && (item as number) >= 0);
}

/** A `CHECKPOINT` error about one safetensors file. */
export function damaged(file: string, rule: string, cause?: unknown): GradCacheError {
  return new GradCacheError('CHECKPOINT', `${file} is not a valid safetensors file: ${rule}.`, { cause });
}
