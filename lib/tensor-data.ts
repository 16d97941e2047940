import { types } from 'node:util';
import { GradCacheError } from './errors.js';
import type { DType } from './native.js';

/** Typed arrays that `Tensor.from` takes, each with its element type. */
export type TensorData =
  Float32Array | Float64Array | Int32Array | BigInt64Array | Int16Array | Int8Array | Uint8Array;

/** What `Tensor.values` gives. */
export type TensorValues =
  Float32Array | Float64Array | BigInt64Array | Int32Array | Int16Array | Int8Array | Uint8Array;

/** @throws GradCacheError `DTYPE` for an array whose elements no tensor has */
export function dtypeOfArray(data: TensorData): DType {
  if (types.isFloat32Array(data)) return 'float32';
  if (types.isFloat64Array(data)) return 'float64';
  if (types.isInt32Array(data)) return 'int32';
  if (types.isBigInt64Array(data)) return 'int64';
  if (types.isInt16Array(data)) return 'int16';
  if (types.isInt8Array(data)) return 'int8';
  if (types.isUint8Array(data)) return 'uint8';
  const name = Object.prototype.toString.call(data).slice(8, -1);
  throw new GradCacheError(
    'DTYPE',
    `no tensor has the elements of a ${name}: copy it into an Int32Array, BigInt64Array or Float64Array`,
  );
}

/** A flat list of numbers as float64. */
export function fromList(list: readonly unknown[]): Float64Array {
  const place = list.findIndex((value) => typeof value !== 'number');
  if (place < 0) return Float64Array.from(list as readonly number[]);
  const value = list[place];
  const what = Array.isArray(value)
    ? 'a list: give a flat list, and its shape as an option'
    : `${value === null ? 'null' : typeof value}, no number`;
  throw new GradCacheError('INPUT', `element ${place} of the list is ${what}`);
}

/** Bytes of an element. */
export const BYTES: Readonly<Record<DType, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  int64: 8,
  int32: 4,
  int16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
};

/** The elements that lie in these bytes. */
export function asArray(bytes: Uint8Array, dtype: DType): TensorValues {
  const { buffer, byteOffset, byteLength } = bytes;
  // A small Buffer may lie anywhere in its pool; wide elements need their own alignment.
  const aligned =
    byteOffset % BYTES[dtype] === 0
      ? { buffer, byteOffset }
      : { buffer: Uint8Array.from(bytes).buffer, byteOffset: 0 };
  const length = byteLength / BYTES[dtype];
  switch (dtype) {
    case 'float64':
      return new Float64Array(aligned.buffer, aligned.byteOffset, length);
    case 'int64':
      return new BigInt64Array(aligned.buffer, aligned.byteOffset, length);
    case 'int32':
      return new Int32Array(aligned.buffer, aligned.byteOffset, length);
    case 'int16':
      return new Int16Array(aligned.buffer, aligned.byteOffset, length);
    case 'int8':
      return new Int8Array(aligned.buffer, aligned.byteOffset, length);
    case 'uint8':
    case 'bool':
      return new Uint8Array(aligned.buffer, aligned.byteOffset, length);
    default:
      return new Float32Array(aligned.buffer, aligned.byteOffset, length);
  }
}
