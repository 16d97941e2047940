import { onFiles } from '../file-error.js';
import { flush, writeAll } from '../file-handle.js';
import { open, rename, rm } from 'node:fs/promises';

/** Formats that vectors can be written in. */
export const VECTOR_FORMATS = ['jsonl', 'npy', 'safetensors'] as const;

/** One of {@link VECTOR_FORMATS}. */
export type VectorFormat = (typeof VECTOR_FORMATS)[number];

/** A file of vectors that is written piece by piece; it is at its place only after `finish`. */
export interface VectorFile {
  /** @param vectors `[texts, dimension]`, row by row */
  write(texts: readonly string[], vectors: Float32Array): Promise<void>;
  finish(): Promise<void>;
  /** Removes what has been written. */
  abandon(): Promise<void>;
}

/** Headers state the number of rows, which is known at the end: they get this much room, and are written last. */
const HEADER_BYTES = 256;

/** Opens `<path>.<pid>.tmp` for vectors of `dimension` numbers. */
export async function openVectorFile(
  path: string,
  format: VectorFormat,
  dimension: number,
): Promise<VectorFile> {
  const beside = `${path}.${process.pid}.tmp`;
  const writing = <T>(work: () => Promise<T>): Promise<T> => onFiles('INPUT', path, 'written', work);
  const file = await writing(() => open(beside, 'w'));
  const headerOf = format === 'npy' ? npyHeader : format === 'safetensors' ? safetensorsHeader : null;
  let rows = 0;
  if (headerOf !== null) await writing(() => writeAll(file, Buffer.alloc(HEADER_BYTES)));
  return {
    async write(texts, vectors) {
      const bytes =
        headerOf === null
          ? jsonLines(texts, vectors, dimension)
          : Buffer.from(vectors.buffer, vectors.byteOffset, vectors.byteLength);
      await writing(() => writeAll(file, bytes));
      rows += texts.length;
    },
    finish: () =>
      writing(async () => {
        if (headerOf !== null) await file.write(headerOf(rows, dimension), 0, HEADER_BYTES, 0);
        await flush(file);
        await file.close();
        await rename(beside, path);
      }),
    async abandon() {
      await file.close().catch(() => undefined);
      await rm(beside, { force: true }).catch(() => undefined); // why it is abandoned tells more
    },
  };
}

function jsonLines(texts: readonly string[], vectors: Float32Array, dimension: number): Buffer {
  const lines = texts.map((text, row) => {
    const numbers = Array.from(vectors.subarray(row * dimension, (row + 1) * dimension), shortest);
    return `{"text":${JSON.stringify(text)},"vector":[${numbers.join(',')}]}\n`;
  });
  return Buffer.from(lines.join(''));
}

/** The shortest decimal number that is read back as the same float32; numbers that are not finite become null. */
function shortest(value: number): string {
  if (!Number.isFinite(value)) return 'null';
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
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
