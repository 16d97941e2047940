import { inspect } from 'node:util';
import { GradCacheError } from '../errors.js';
import { guarded, guardedAsync, native, type DType, type TensorHandle } from '../addon/native.js';
import { describeTensor } from './describe-tensor.js';
import { callOperator } from './operator-call.js';
import { refused, requireBoolean } from '../options/option-values.js';
import { readGiven, readKnown, readList } from '../options/read-given.js';
import { track } from './scope.js';
import {
  bytesOf,
  dtypeOfArray,
  elementsOf,
  fromList,
  holderOf,
  requireDevice,
  requireDtype,
  requireInRange,
  type TensorData,
  type TensorValues,
} from './tensor-data.js';

export type { DType } from '../addon/native.js';

/**
 * An n-dimensional array on the CPU or a GPU, with libtorch's autograd behind it.
 *
 * Its memory is freed by {@link Tensor.dispose}, by `using`, at the end of a {@link tidy} block, or when the garbage
 * collector finds it. The collector does not know a GPU's memory, so do not rely on it there.
 *
 * @example
 * ```ts
 * const x = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
 * const y = x.matmul(x).mul(0.5);
 * console.log(y.shape, await y.values());
 * y.dispose(); // its memory is given back now, not when it is collected
 * ```
 */
export class Tensor {
  /** The native handle; for the package's own modules. */
  readonly handle: TensorHandle;

  /** For the package's own modules: use {@link Tensor.from}. */
  constructor(handle: TensorHandle) {
    if (!native().isTensor(handle))
      throw new GradCacheError('INPUT', 'Tensor.from() makes a tensor, not new');
    this.handle = handle;
    track(this);
  }

  /**
   * Makes a tensor from a scalar, a flat list (float32 by default), or a typed array (its own type). The data is copied.
   *
   * @param options.shape extents, whose product is the number of elements; default: one dimension (none for a scalar)
   * @param options.dtype element type of the result. Integer types cut off fractions, and refuse numbers of a list that they
   * cannot hold
   * @param options.device `'cpu'` (default), `'cuda'` or `'cuda:N'`
   * @throws GradCacheError `INPUT`, `SHAPE`, `DTYPE`, `DEVICE`, `CUDA_UNAVAILABLE` or `OUT_OF_MEMORY`
   */
  static from(
    data: number | readonly number[] | TensorData,
    options: { shape?: readonly number[]; dtype?: DType; device?: string } = {},
  ): Tensor {
    const { shape, dtype, device } = readKnown('Tensor.from', options, ['shape', 'dtype', 'device']);
    if (dtype !== undefined) requireDtype("Tensor.from's dtype", dtype);
    const values = valuesOf(data, dtype ?? 'float32');
    const stored = dtypeOfArray(values);
    const wanted = dtype ?? (ArrayBuffer.isView(data) ? stored : 'float32');
    const tensor = Tensor.fromBytes(values, {
      shape: shape === undefined ? (typeof data === 'number' ? [] : [elementsOf(values)]) : shape,
      dtype: stored,
      ...(device === undefined ? {} : { device }),
    });
    if (stored === wanted) return tensor;
    try {
      return tensor.to({ dtype: wanted }); // on the device: nothing waits for the copy to it
    } finally {
      tensor.dispose();
    }
  }

  /**
   * Makes a tensor from raw little-endian elements, which are copied.
   *
   * @throws GradCacheError `SHAPE` if the number of bytes does not fit the shape, `INPUT`, `DTYPE`, `DEVICE`,
   * `CUDA_UNAVAILABLE`, `OUT_OF_MEMORY`
   */
  static fromBytes(
    bytes: NodeJS.TypedArray,
    options: { shape: readonly number[]; dtype: DType; device?: string | undefined },
  ): Tensor {
    const known = ['shape', 'dtype', 'device'] as const;
    const { shape, dtype, device = 'cpu' } = readKnown('Tensor.fromBytes', options, known);
    requireDtype('dtype', dtype);
    requireDevice('device', device);
    const extents = readShape(shape);
    return new Tensor(guarded(() => native().tensorFromBytes(bytes, extents, dtype, device)));
  }

  /** Extents, outermost first. */
  get shape(): number[] {
    return guarded(() => this.handle.shape);
  }

  /** Element type. */
  get dtype(): DType {
    return guarded(() => this.handle.dtype);
  }

  /** `'cpu'` or `'cuda:N'`. */
  get device(): string {
    return guarded(() => this.handle.device);
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, extent) => product * extent, 1);
  }

  /** Size of the elements in bytes. */
  get byteLength(): number {
    return this.size * guarded(() => this.handle.elementBytes);
  }

  /** Whether {@link Tensor.dispose} was called; any other use then throws `DISPOSED`. */
  get disposed(): boolean {
    return this.handle.disposed;
  }

  /** Whether autograd follows this tensor. Set it on leaves only. */
  get requiresGrad(): boolean {
    return guarded(() => this.handle.requiresGrad);
  }

  /** Makes autograd follow this leaf, or leave it. */
  set requiresGrad(value: boolean) {
    requireBoolean('requiresGrad', value);
    guarded(() => {
      this.handle.requiresGrad = value;
    });
  }

  /**
   * The gradient that backward added up in this leaf, or null; not a copy. The gradient of an encoder's parameter can be
   * written but not replaced (`INPUT`). While a {@link backward} adds to it, it can be neither read nor replaced (`INPUT`):
   * await the backward.
   */
  get grad(): Tensor | null {
    const grad = guarded(() => this.handle.grad);
    return grad === null ? null : new Tensor(grad);
  }

  /** Replaces the gradient; null removes it. */
  set grad(value: Tensor | null) {
    const handle = value === null ? null : handleOf('grad', value);
    guarded(() => {
      this.handle.grad = handle;
    });
  }

  /**
   * The only element, as a number. Waits for the device.
   *
   * @throws GradCacheError `SHAPE` unless there is exactly one element; `DTYPE` for complex numbers and integers beyond 2^53
   */
  item(): number {
    return guarded(() => this.handle.item());
  }

  /**
   * A copy of the elements, row by row; float16 and bfloat16 come as float32, bool as 0 and 1. Does not block.
   *
   * @throws GradCacheError `DTYPE` for complex numbers and other types that no typed array holds; `OUT_OF_MEMORY`
   */
  async values(): Promise<TensorValues> {
    const { values, as } = holderOf(this.dtype, this.size);
    await guardedAsync(() => this.handle.copyTo(values.buffer, as));
    return values;
  }

  /** Like {@link Tensor.values}, blocking. */
  valuesSync(): TensorValues {
    const { values, as } = holderOf(this.dtype, this.size);
    guarded(() => {
      this.handle.copyToSync(values.buffer, as);
    });
    return values;
  }

  /** A copy of the raw bytes of the elements, row by row. Does not block. @throws GradCacheError `OUT_OF_MEMORY` */
  async bytes(): Promise<Uint8Array> {
    const bytes = bytesOf(this.byteLength);
    await guardedAsync(() => this.handle.copyTo(bytes.buffer));
    return bytes;
  }

  /** This tensor in another type or on another device; itself under a new handle when nothing changes. */
  to(options: { dtype?: DType | undefined; device?: string | undefined }): Tensor {
    const { dtype, device } = readKnown('to', options, ['dtype', 'device']);
    if (dtype !== undefined) requireDtype("to's dtype", dtype);
    if (device !== undefined) requireDevice("to's device", device);
    return call('aten::to.dtype_layout', this, { dtype, device });
  }

  /** The same elements, cut off from the graph. */
  detach(): Tensor {
    return call('aten::detach', this);
  }

  /** A copy of the elements, in the graph. */
  clone(): Tensor {
    return call('aten::clone', this);
  }

  /** Overwrites the elements, outside of any graph. @throws GradCacheError `SHAPE` */
  copyFrom(source: Tensor): void {
    handleOf('the source of copyFrom', source);
    if (source.shape.join() !== this.shape.join()) {
      throw new GradCacheError(
        'SHAPE',
        `cannot copy shape [${source.shape.join()}] into [${this.shape.join()}]`,
      );
    }
    guarded(() => native().withGradMode(false, () => call('aten::copy_', this, source).dispose()));
  }

  /**
   * this + other (a number or a tensor that broadcasts). Types are as in PyTorch: a number without a fraction, or a bigint,
   * counts as an integer and keeps integer types; 1.5 turns them into float32. Results beyond an integer type wrap: 127 + 1
   * in int8 is -128.
   */
  add(other: Tensor | number | bigint): Tensor {
    return call('aten::add.Tensor', this, other);
  }

  /** this - other. Types and integers are as those of {@link Tensor.add}. */
  sub(other: Tensor | number | bigint): Tensor {
    return call('aten::sub.Tensor', this, other);
  }

  /** this * other, element by element. Types and integers are as those of {@link Tensor.add}. */
  mul(other: Tensor | number | bigint): Tensor {
    return call('aten::mul.Tensor', this, other);
  }

  /** this / other, element by element. */
  div(other: Tensor | number | bigint): Tensor {
    return call('aten::div.Tensor', this, other);
  }

  /** Matrix product. */
  matmul(other: Tensor): Tensor {
    return call('aten::matmul', this, other);
  }

  /** this [..., in] times weight [out, in] transposed, plus bias [out]. */
  linear(weight: Tensor, bias?: Tensor): Tensor {
    return call('aten::linear', this, weight, bias ?? null);
  }

  /** A matrix with rows and columns exchanged. */
  t(): Tensor {
    return call('aten::t', this);
  }

  /** A view with two dimensions exchanged. */
  transpose(first: number, second: number): Tensor {
    return call('aten::transpose.int', this, first, second);
  }

  /** The same elements in another shape; one size may be -1. */
  reshape(shape: readonly number[]): Tensor {
    return call('aten::reshape', this, shape);
  }

  /** `length` entries of a dimension from `start` on, as a view. */
  narrow(dimension: number, start: number, length: number): Tensor {
    return call('aten::narrow', this, dimension, start, length);
  }

  /** The entries of a dimension that `indices` (int64 or int32) names. */
  indexSelect(dimension: number, indices: Tensor): Tensor {
    return call('aten::index_select', this, dimension, indices);
  }

  /** Each element with the other sign. */
  neg(): Tensor {
    return call('aten::neg', this);
  }

  /** Of each element, e to its power. */
  exp(): Tensor {
    return call('aten::exp', this);
  }

  /** The natural logarithm of each element. */
  log(): Tensor {
    return call('aten::log', this);
  }

  /** The square root of each element. */
  sqrt(): Tensor {
    return call('aten::sqrt', this);
  }

  /** The hyperbolic tangent of each element. */
  tanh(): Tensor {
    return call('aten::tanh', this);
  }

  /** 1 / (1 + exp(-x)) of each element. */
  sigmoid(): Tensor {
    return call('aten::sigmoid', this);
  }

  /** Each element, and 0 in place of what is below. */
  relu(): Tensor {
    return call('aten::relu', this);
  }

  /** GELU of each element, exactly. */
  gelu(): Tensor {
    return call('aten::gelu', this);
  }

  /** Zeroes a share `probability` of the elements and scales the rest. Inside an encoder's forward the masks are replayed. */
  dropout(probability: number): Tensor {
    return call('aten::dropout', this, probability, true);
  }

  /** The sum of all elements, or over one dimension. */
  sum(dimension?: number): Tensor {
    return dimension === undefined
      ? call('aten::sum', this)
      : call('aten::sum.dim_IntList', this, [dimension]);
  }

  /** The mean of all elements, or over one dimension. */
  mean(dimension?: number): Tensor {
    return dimension === undefined ? call('aten::mean', this) : call('aten::mean.dim', this, [dimension]);
  }

  /** Exponentials that add up to 1 over a dimension. */
  softmax(dimension: number): Tensor {
    return call('aten::softmax.int', this, dimension);
  }

  /** The logarithm of the softmax over a dimension. */
  logSoftmax(dimension: number): Tensor {
    return call('aten::log_softmax.int', this, dimension);
  }

  /** The logarithm of the sum of exponentials over a dimension. */
  logsumexp(dimension: number): Tensor {
    return call('aten::logsumexp', this, [dimension]);
  }

  /** Rows divided by their Euclidean length. */
  normalize(): Tensor {
    const length = call('aten::linalg_vector_norm', this, 2, [-1], true);
    return this.div(call('aten::clamp_min', length, 1e-12));
  }

  /** Frees the memory now. Calling it again does nothing. */
  dispose(): void {
    this.handle.dispose();
  }

  /** Frees it at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** What `console.log` shows. */
  [inspect.custom](): string {
    return describeTensor(this);
  }
}

/** The result of an operator, with a Tensor for each native handle in it; for the package's own modules. */
export function wrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(wrap);
  return typeof value === 'object' && value !== null ? new Tensor(value as TensorHandle) : value;
}

const call = (name: string, ...args: readonly unknown[]): Tensor => wrap(callOperator(name, args)) as Tensor;

/** The handle of what a caller gives for a tensor. @throws GradCacheError `INPUT`; for the package's own modules */
export function handleOf(name: string, value: unknown): TensorHandle {
  if (readGiven(name, () => value instanceof Tensor)) return (value as Tensor).handle;
  throw refused(name, value, 'a Tensor');
}

/** A typed array of what a caller gives, for a tensor of a type. */
function valuesOf(data: unknown, dtype: DType): NodeJS.TypedArray {
  if (ArrayBuffer.isView(data)) return data as NodeJS.TypedArray;
  if (readGiven('the data', () => Array.isArray(data))) return fromList(data as readonly unknown[], dtype);
  if (typeof data !== 'number')
    throw refused('the data of a tensor', data, 'a number, a list of numbers or a typed array');
  const value = Float64Array.of(data);
  requireInRange(value, dtype);
  return value;
}

/** @throws GradCacheError `SHAPE` for no list; what its extents may be is for native code to say */
function readShape(shape: unknown): readonly number[] {
  try {
    return readList('shape', shape, 64) as readonly number[];
  } catch (error) {
    throw new GradCacheError('SHAPE', (error as Error).message, { cause: error });
  }
}

/** A named leaf tensor that training changes. Its gradient `tensor.grad` is added up in float32 (float64 for float64). */
export interface Parameter {
  /** Its name, as weight files have it. */
  readonly name: string;
  /** Its values, with their gradient. */
  readonly tensor: Tensor;
  /** Whether weight decay applies: false for biases and norms. */
  readonly decay: boolean;
}
