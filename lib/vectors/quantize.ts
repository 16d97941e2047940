import { fromHalf, toHalves } from '../tensor/half.js';

/** Types of numbers that vectors can be stored in. */
export const VECTOR_TYPES = ['float32', 'float16', 'int8', 'uint8', 'binary', 'ubinary'] as const;

/** One of {@link VECTOR_TYPES}. The last two have a bit for each number: whether it is above 0. */
export type VectorType = (typeof VECTOR_TYPES)[number];

/** Vectors as they are stored. */
export interface StoredVectors {
  /** [texts, width], row by row, as the numbers that they mean in JSON. */
  readonly numbers: Float32Array | Int8Array | Uint8Array;
  readonly bytes: Buffer;
  /** Numbers of a row. */
  readonly width: number;
}

/** The least and the greatest number of each dimension: [2, dimension]. */
export type Ranges = Float32Array;

/** Whether a type needs {@link Ranges}. */
export const needsRanges = (type: VectorType): boolean => type === 'int8' || type === 'uint8';

/** How many numbers a vector has when it is stored. */
export const widthOf = (type: VectorType, dimension: number): number =>
  type === 'binary' || type === 'ubinary' ? Math.ceil(dimension / 8) : dimension;

/** The ranges of some vectors, [texts, dimension]. */
export function rangesOf(vectors: Float32Array, dimension: number): Ranges {
  const ranges = new Float32Array(2 * dimension);
  ranges.fill(Infinity, 0, dimension).fill(-Infinity, dimension);
  for (let row = 0; row < vectors.length; row += dimension) {
    for (let column = 0; column < dimension; column++) {
      const value = vectors[row + column]!;
      if (value < ranges[column]!) ranges[column] = value;
      if (value > ranges[dimension + column]!) ranges[dimension + column] = value;
    }
  }
  return ranges;
}

/**
 * Vectors in another type, as `quantize_embeddings` of sentence-transformers has them, which knows no float16.
 *
 * @param vectors [texts, dimension]
 * @param ranges for int8 and uint8: a number outside them becomes the least or the greatest
 */
export function quantized(
  vectors: Float32Array,
  dimension: number,
  type: VectorType,
  ranges: Ranges | null,
): StoredVectors {
  const width = widthOf(type, dimension);
  const stored = (
    numbers: StoredVectors['numbers'],
    bits: NodeJS.ArrayBufferView = numbers,
  ): StoredVectors => ({
    numbers,
    bytes: Buffer.from(bits.buffer, bits.byteOffset, bits.byteLength),
    width,
  });
  switch (type) {
    case 'float32':
      return stored(vectors);
    case 'float16': {
      const bits = toHalves(vectors);
      const { bytes } = stored(vectors, bits);
      return {
        // Only JSON asks for them.
        get numbers() {
          return Float32Array.from(bits, fromHalf);
        },
        bytes,
        width,
      };
    }
    case 'int8':
      return stored(below128(steps(vectors, dimension, ranges!)));
    case 'uint8':
      return stored(steps(vectors, dimension, ranges!));
    case 'binary':
      return stored(below128(packed(vectors, dimension, width)));
    case 'ubinary':
      return stored(packed(vectors, dimension, width));
  }
}

/** The same numbers, less 128. */
function below128(numbers: Uint8Array): Int8Array {
  const signed = new Int8Array(numbers.length);
  for (let place = 0; place < numbers.length; place++) signed[place] = numbers[place]! - 128;
  return signed;
}

/** Which of 256 equal steps of its range each number lies in; computed in float32, as there. */
function steps(vectors: Float32Array, dimension: number, ranges: Ranges): Uint8Array {
  const { fround } = Math;
  const sizes = Float32Array.from({ length: dimension }, (_, column) => {
    const size = fround(fround(ranges[dimension + column]! - ranges[column]!) / 255);
    return size === 0 ? 1 : size;
  });
  const result = new Uint8Array(vectors.length);
  for (let row = 0; row < vectors.length; row += dimension) {
    for (let column = 0; column < dimension; column++) {
      const value = vectors[row + column]!;
      const step = Math.floor(fround(fround(value - ranges[column]!) / sizes[column]!));
      result[row + column] = Math.min(255, Math.max(0, step));
    }
  }
  return result;
}

/** The first number of a row is the highest bit of its first byte. */
function packed(vectors: Float32Array, dimension: number, width: number): Uint8Array {
  const bytes = new Uint8Array((vectors.length / dimension) * width);
  for (let row = 0, first = 0; row < vectors.length; row += dimension, first += width) {
    for (let column = 0; column < dimension; column++) {
      if (vectors[row + column]! > 0) bytes[first + (column >> 3)]! |= 0x80 >> (column & 7);
    }
  }
  return bytes;
}
