import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import type { DType } from '../addon/native.js';
import { show } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import { reasonOf } from '../options/realms.js';

/** Typed arrays that `Tensor.from` takes, each with its element type. */
export type TensorData =
  Float32Array | Float64Array | Int32Array | BigInt64Array | Int16Array | Int8Array | Uint8Array;

/** What `Tensor.values` gives. */
export type TensorValues =
  Float32Array | Float64Array | BigInt64Array | Int32Array | Int16Array | Int8Array | Uint8Array;

/** The array that holds elements of each type, and the type in which they are copied to it. */
const HOLDERS: Readonly<Record<DType, { make: (size: number) => TensorValues; as: DType }>> = {
  float64: { make: (size) => new Float64Array(size), as: 'float64' },
  float32: { make: (size) => new Float32Array(size), as: 'float32' },
  float16: { make: (size) => new Float32Array(size), as: 'float32' },
  bfloat16: { make: (size) => new Float32Array(size), as: 'float32' },
  int64: { make: (size) => new BigInt64Array(size), as: 'int64' },
  int32: { make: (size) => new Int32Array(size), as: 'int32' },
  int16: { make: (size) => new Int16Array(size), as: 'int16' },
  int8: { make: (size) => new Int8Array(size), as: 'int8' },
  uint8: { make: (size) => new Uint8Array(size), as: 'uint8' },
  bool: { make: (size) => new Uint8Array(size), as: 'uint8' },
};

const DTYPES = Object.keys(HOLDERS);

/** Least and greatest numbers of integer types. */
const RANGES: Readonly<Partial<Record<DType, readonly [number, number]>>> = {
  // The greatest double below 2^63.
  int64: [-(2 ** 63), 2 ** 63 - 1024],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  int16: [-(2 ** 15), 2 ** 15 - 1],
  int8: [-128, 127],
  uint8: [0, 255],
};

/** What a list in JavaScript can hold in one piece; anything longer only claims to be. */
const LONGEST_LIST = 2 ** 27;

/** @throws GradCacheError `DTYPE` unless the value is the name of an element type */
export function requireDtype(name: string, value: unknown): asserts value is DType {
  if (typeof value === 'string' && Object.hasOwn(HOLDERS, value)) return;
  throw new GradCacheError('DTYPE', `${name} is ${show(value)}; one of ${DTYPES.join(', ')} is needed`);
}

/** @throws GradCacheError `DEVICE` unless the value is a string; which devices exist is for libtorch to say */
export function requireDevice(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string')
    throw new GradCacheError('DEVICE', `${name} is ${show(value)}; 'cpu', 'cuda' or 'cuda:N' is needed`);
}

/** @throws GradCacheError `DTYPE` for an array whose elements no tensor has */
export function dtypeOfArray(data: NodeJS.ArrayBufferView): DType {
  if (types.isFloat32Array(data)) return 'float32';
  if (types.isFloat64Array(data)) return 'float64';
  if (types.isInt32Array(data)) return 'int32';
  if (types.isBigInt64Array(data)) return 'int64';
  if (types.isInt16Array(data)) return 'int16';
  if (types.isInt8Array(data)) return 'int8';
  if (types.isUint8Array(data)) return 'uint8';
  const name = readGiven('the data', () => Object.prototype.toString.call(data).slice(8, -1));
  throw new GradCacheError(
    'DTYPE',
    `no tensor has the elements of a ${name}: copy it into an Int32Array, BigInt64Array or Float64Array`,
  );
}

/** The number of elements of a typed array, whatever a class made of it says. */
export const elementsOf = (data: NodeJS.ArrayBufferView): number =>
  Reflect.get(Object.getPrototypeOf(Uint8Array.prototype) as object, 'length', data) as number;

/** A flat list of numbers as float64, for a tensor of a type. @throws GradCacheError `INPUT` */
export function fromList(list: readonly unknown[], dtype: DType): Float64Array {
  return readGiven('the list', () => {
    const { length } = list;
    if (length > LONGEST_LIST)
      throw new GradCacheError('INPUT', `the list has ${length} elements; give a typed array`);
    const values = new Float64Array(length);
    for (let place = 0; place < length; place++) {
      const value = list[place];
      if (typeof value !== 'number') throw noNumber(place, value);
      values[place] = value;
    }
    requireInRange(values, dtype);
    return values;
  });
}

function noNumber(place: number, value: unknown): GradCacheError {
  const what = Array.isArray(value)
    ? 'a list: give a flat list, and its shape as an option'
    : `${value === null ? 'null' : typeof value}, no number`;
  return new GradCacheError('INPUT', `element ${place} of the list is ${what}`);
}

/** Throws `INPUT` for numbers that an integer type cannot hold. Fractions are cut off, as everywhere in libtorch. */
export function requireInRange(values: Float64Array, dtype: DType): void {
  const range = RANGES[dtype];
  if (range === undefined) return;
  const [least, greatest] = range;
  const place = values.findIndex((value) => !(Math.trunc(value) >= least && Math.trunc(value) <= greatest));
  if (place < 0) return;
  throw new GradCacheError(
    'INPUT',
    `element ${place} is ${values[place]}; ${dtype} holds whole numbers from ${least} to ${greatest}.`,
  );
}

/**
 * An array for the elements of a tensor, and the type to copy them in.
 *
 * @throws GradCacheError `DTYPE` for elements that no typed array holds; `OUT_OF_MEMORY`
 */
export function holderOf(dtype: DType, size: number): { values: TensorValues; as: DType } {
  // Operators also make tensors of types that have no name here.
  if (!Object.hasOwn(HOLDERS, dtype)) {
    throw new GradCacheError(
      'DTYPE',
      `no typed array holds the elements of a ${dtype} tensor. tensor.to({ dtype: 'float64' }) converts real numbers; ` +
        "call('aten::view_as_real', tensor) gives both parts of complex ones",
    );
  }
  const { make, as } = HOLDERS[dtype];
  return { values: allocated(size, () => make(size)), as };
}

/** An array for that many bytes. @throws GradCacheError `OUT_OF_MEMORY` */
export const bytesOf = (size: number): Uint8Array => allocated(size, () => new Uint8Array(size));

/** V8 ends the process where native code asks it for an array that cannot be had. JavaScript gets an error. */
function allocated<T>(size: number, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw new GradCacheError(
      'OUT_OF_MEMORY',
      `an array of ${size} elements cannot be had: ${reasonOf(error)}. Read the tensor in parts, with narrow()`,
      { cause: error },
    );
  }
}
