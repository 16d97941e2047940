import { readFile } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { onFiles } from '../files/file-error.js';
import { npyHeader } from './vector-format.js';
import type { Ranges } from './quantize.js';

/** The content of a file of ranges, [2, dimension] in NumPy's format: what `quantize_embeddings` takes as `ranges`. */
export function rangesFile(ranges: Ranges): Buffer {
  const bytes = Buffer.from(ranges.buffer, ranges.byteOffset, ranges.byteLength);
  return Buffer.concat([npyHeader('<f4', [2, ranges.length / 2]), bytes]);
}

/**
 * Reads a file of ranges.
 *
 * @throws GradCacheError `INPUT` where it cannot be read, holds something else, or is for other dimensions
 */
export async function readRanges(path: string, dimension: number): Promise<Ranges> {
  const file = await onFiles('INPUT', path, 'read', () => readFile(path));
  const found = file.toString('latin1', 0, 6) === '\x93NUMPY' ? numbersIn(file) : undefined;
  const isGood = found !== undefined && found.length === 2 * dimension && found.every(Number.isFinite);
  if (!isGood)
    throw new GradCacheError(
      'INPUT',
      `${path} holds no ranges of ${dimension} dimensions; a .npy file of float32 or float64 of the shape (2, ${dimension}) is ` +
        'needed, as an earlier run has written it.',
    );
  const wrong = found.findIndex((least, column) => column < dimension && least > found[dimension + column]!);
  if (wrong < 0) return found;
  throw new GradCacheError(
    'INPUT',
    `${path}: of dimension ${wrong} the least number is ${found[wrong]} and the greatest ${found[dimension + wrong]}.`,
  );
}

function numbersIn(file: Buffer): Float32Array | undefined {
  if (file.length < 12) return undefined;
  const isOld = file[6] === 1;
  const begin = isOld ? 10 : 12;
  const end = begin + (isOld ? file.readUInt16LE(8) : file.readUInt32LE(8));
  const header = file.toString('latin1', begin, end);
  const [, type] = /'descr': *'(<f[48])'/.exec(header) ?? [];
  if (type === undefined || !/'fortran_order': *False/.test(header) || !/'shape': *\(2,/.test(header))
    return undefined;
  const bytes = file.subarray(end);
  const size = type === '<f4' ? 4 : 8;
  const read = (place: number) =>
    size === 4 ? bytes.readFloatLE(place * size) : bytes.readDoubleLE(place * size);
  return Float32Array.from({ length: Math.floor(bytes.length / size) }, (_, place) => read(place));
}
