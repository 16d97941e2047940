import { GradCacheError } from '../errors.js';
import { shortestFloat32 } from '../tensor/shortest-float32.js';
import { openOutputFile } from './output-file.js';

/** Formats that vectors can be written in. */
export const VECTOR_FORMATS = ['jsonl', 'npy', 'safetensors'] as const;

/** One of {@link VECTOR_FORMATS}. */
export type VectorFormat = (typeof VECTOR_FORMATS)[number];

/** A file of vectors that is written piece by piece; it is at its place only after `finish`. */
export interface VectorFile {
  /** @param vectors `[texts, dimension]`, row by row */
  write(texts: readonly string[], vectors: Float32Array, dimension: number): Promise<void>;
  /** @param dimension what a file without a text states as well */
  finish(dimension: number): Promise<void>;
  /** Removes what has been written. */
  abandon(): Promise<void>;
}

/** Headers state the number of rows, which is known at the end: they get this much room, and are written last. */
const HEADER_BYTES = 256;

/**
 * Opens a file for vectors.
 *
 * @throws GradCacheError `INPUT` where it cannot be written, or is a pipe or device that the format cannot go to
 */
export async function openVectorFile(path: string, format: VectorFormat): Promise<VectorFile> {
  const file = await openOutputFile(path);
  const headerOf = format === 'npy' ? npyHeader : format === 'safetensors' ? safetensorsHeader : null;
  if (headerOf !== null && file.writeBeginning === undefined) {
    await file.abandon();
    throw new GradCacheError(
      'INPUT',
      `${path} is a pipe or a device, and ${format} begins with the number of vectors, which is known at the end. ` +
        'Use --format jsonl, or name a file.',
    );
  }
  let rows = 0;
  if (headerOf !== null) await file.write(Buffer.alloc(HEADER_BYTES));
  return {
    async write(texts, vectors, dimension) {
      const bytes =
        headerOf === null
          ? jsonLines(texts, vectors, dimension)
          : Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength);
      await file.write(bytes);
      rows += texts.length;
    },
    async finish(dimension) {
      if (headerOf !== null) await file.writeBeginning?.(headerOf(rows, dimension));
      await file.finish();
    },
    abandon: () => file.abandon(),
  };
}

function jsonLines(texts: readonly string[], vectors: Float32Array, dimension: number): Buffer {
  const lines = texts.map((text, row) => {
    const numbers = Array.from(vectors.subarray(row * dimension, (row + 1) * dimension), shortestFloat32);
    return `{"text":${JSON.stringify(text)},"vector":[${numbers.join(',')}]}\n`;
  });
  return Buffer.from(lines.join(''));
}

/** Version 1.0 of NumPy's format: magic, version, length of the header, a Python literal padded with spaces. */
function npyHeader(rows: number, dimension: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES, ' ');
  header.write('\x93NUMPY\x01\x00', 0, 'latin1');
  header.writeUInt16LE(HEADER_BYTES - 10, 8);
  header.write(`{'descr': '<f4', 'fortran_order': False, 'shape': (${rows}, ${dimension}), }`, 10, 'latin1');
  header.write('\n', HEADER_BYTES - 1, 'latin1');
  return header;
}

/** One tensor, `embeddings`; the header's JSON may be padded with spaces. */
function safetensorsHeader(rows: number, dimension: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES, ' ');
  header.writeBigUInt64LE(BigInt(HEADER_BYTES - 8), 0);
  const tensor = { dtype: 'F32', shape: [rows, dimension], data_offsets: [0, rows * dimension * 4] };
  header.write(JSON.stringify({ embeddings: tensor }), 8, 'latin1');
  return header;
}
