import { types } from 'node:util';
import { joinedFloat32 } from '../tensor/shortest-float32.js';
import type { StoredVectors, VectorType } from './quantize.js';

/** Formats that vectors can be written in. */
export const VECTOR_FORMATS = ['jsonl', 'npy', 'safetensors'] as const;

/** One of {@link VECTOR_FORMATS}. */
export type VectorFormat = (typeof VECTOR_FORMATS)[number];

/** A text, and the columns that are kept beside its vector. */
export interface TextRow {
  readonly text: string;
  /** Where it stands in the source, for messages: `corpus.csv, line 3`. */
  readonly place: string;
  /** By name; null where the row has none. */
  readonly kept: Readonly<Record<string, string | null>>;
}

/** Headers state the number of rows, which is known at the end: they get this much room, and are written last. */
const HEADER_BYTES = 256;

const NPY_TYPES: Readonly<Record<VectorType, string>> = {
  float32: '<f4',
  float16: '<f2',
  int8: '|i1',
  uint8: '|u1',
  binary: '|i1',
  ubinary: '|u1',
};

/** Types of safetensors, and bytes of a number. */
const SAFETENSORS_TYPES: Readonly<Record<VectorType, readonly [string, number]>> = {
  float32: ['F32', 4],
  float16: ['F16', 2],
  int8: ['I8', 1],
  uint8: ['U8', 1],
  binary: ['I8', 1],
  ubinary: ['U8', 1],
};

/** The bytes before the first vector. */
export const headerBytes = (format: VectorFormat): number => (format === 'jsonl' ? 0 : HEADER_BYTES);

/** What a file begins with, for so many rows of so many numbers; empty for JSON lines. */
export function headerOf(format: VectorFormat, type: VectorType, rows: number, width: number): Buffer {
  switch (format) {
    case 'npy':
      return npyHeader(NPY_TYPES[type], [rows, width]);
    case 'safetensors':
      return safetensorsHeader(type, rows, width);
    case 'jsonl':
      return Buffer.alloc(0);
  }
}

/** What is written of some rows: to the file of vectors, and to that of kept columns where it is another. */
export function bytesOf(
  format: VectorFormat,
  rows: readonly TextRow[],
  vectors: StoredVectors,
): { readonly vectors: Buffer; readonly kept: Buffer } {
  if (format === 'jsonl') return { vectors: jsonLines(rows, vectors), kept: Buffer.alloc(0) };
  return {
    vectors: vectors.bytes,
    kept: Buffer.from(rows.map(({ kept }) => `${JSON.stringify(kept)}\n`).join('')),
  };
}

function jsonLines(rows: readonly TextRow[], { numbers, width }: StoredVectors): Buffer {
  const lines = rows.map(({ text, kept }, row) => {
    const others = Object.entries(kept).map(
      ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)},`,
    );
    const vector = numbers.subarray(row * width, (row + 1) * width);
    const list = types.isFloat32Array(vector) ? joinedFloat32(vector) : vector.join(',');
    return `{${others.join('')}"text":${JSON.stringify(text)},"vector":[${list}]}\n`;
  });
  return Buffer.from(lines.join(''));
}

/** Version 1.0 of NumPy's format: magic, version, length of the header, a Python literal padded with spaces. */
export function npyHeader(type: string, shape: readonly number[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES, ' ');
  header.write('\x93NUMPY\x01\x00', 0, 'latin1');
  header.writeUInt16LE(HEADER_BYTES - 10, 8);
  header.write(
    `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`,
    10,
    'latin1',
  );
  header.write('\n', HEADER_BYTES - 1, 'latin1');
  return header;
}

/** One tensor, `embeddings`; the header's JSON may be padded with spaces. */
function safetensorsHeader(type: VectorType, rows: number, width: number): Buffer {
  const [dtype, size] = SAFETENSORS_TYPES[type];
  const header = Buffer.alloc(HEADER_BYTES, ' ');
  header.writeBigUInt64LE(BigInt(HEADER_BYTES - 8), 0);
  const tensor = { dtype, shape: [rows, width], data_offsets: [0, rows * width * size] };
  header.write(JSON.stringify({ embeddings: tensor }), 8, 'latin1');
  return header;
}
