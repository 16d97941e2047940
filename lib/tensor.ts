import { GradCacheError } from './errors.js';
import { guarded, guardedAsync, native, type DType, type TensorHandle } from './native.js';
import { refuseToFreeze, refuseToReplaceGradient } from './encoder-gradients.js';
import { checkKnown } from './known-options.js';
import { call } from './operators.js';
import { track } from './scope.js';
import { asArray, BYTES, dtypeOfArray, fromList, type TensorData, type TensorValues } from './tensor-data.js';

export type { DType } from './native.js';

/**
 * An n-dimensional array on the CPU or a GPU, with libtorch's autograd behind it.
 *
 * Its memory is freed by {@link Tensor.dispose}, by `using`, at the end of a {@link tidy} block, or at last when the
 * garbage collector finds it; the collector knows nothing of a GPU's memory, so prefer the others there.
 */
export class Tensor {
  /** The native handle; for the package's own modules. */
  readonly handle: TensorHandle;

  /** For the package's own modules: use {@link Tensor.from}. */
  constructor(handle: TensorHandle) {
    this.handle = handle;
    track(this);
  }

  /**
   * A tensor of numbers: a scalar, a flat list (float32 unless told otherwise), or a typed array (its own type).
   *
   * @param options.shape extents, whose product is the number of elements; default: one dimension (none for a scalar)
   * @param options.dtype element type of the result
   * @param options.device `'cpu'` (default), `'cuda'` or `'cuda:N'`
   * @throws GradCacheError `INPUT`, `SHAPE`, `DTYPE`, `DEVICE` or `CUDA_UNAVAILABLE`
   */
  static from(
    data: number | readonly number[] | TensorData,
    options: { shape?: readonly number[]; dtype?: DType; device?: string } = {},
  ): Tensor {
    checkKnown('Tensor.from', options, ['shape', 'dtype', 'device']);
    const array =
      typeof data === 'number' ? Float64Array.of(data) : Array.isArray(data) ? fromList(data) : data;
    if (!ArrayBuffer.isView(array)) {
      throw new GradCacheError(
        'INPUT',
        `Tensor.from takes a number, a list of numbers or a typed array, got ${typeof data}`,
      );
    }
    const values = array;
    const shape = options.shape ?? (typeof data === 'number' ? [] : [values.length]);
    const stored = dtypeOfArray(values);
    const wanted = options.dtype ?? (ArrayBuffer.isView(data) ? stored : 'float32');
    const tensor = Tensor.fromBytes(values, { shape, dtype: stored, device: options.device });
    if (stored === wanted) return tensor;
    const converted = tensor.to({ dtype: wanted }); // on the device: nothing waits for the copy to it
    tensor.dispose();
    return converted;
  }

  /**
   * A tensor of raw little-endian elements, which are copied.
   *
   * @throws GradCacheError `SHAPE` when the bytes do not make up the shape, `DTYPE`, `DEVICE`, `CUDA_UNAVAILABLE`
   */
  static fromBytes(
    bytes: NodeJS.TypedArray,
    options: { shape: readonly number[]; dtype: DType; device?: string | undefined },
  ): Tensor {
    return new Tensor(
      guarded(() => native().tensorFromBytes(bytes, options.shape, options.dtype, options.device ?? 'cpu')),
    );
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

  /** Bytes that the elements take. */
  get byteLength(): number {
    return this.size * BYTES[this.dtype];
  }

  /** Whether {@link Tensor.dispose} was called; any other use then throws `DISPOSED`. */
  get disposed(): boolean {
    return this.handle.disposed;
  }

  /** Whether autograd follows this tensor. Set it on leaves only. */
  get requiresGrad(): boolean {
    return guarded(() => this.handle.requiresGrad);
  }

  set requiresGrad(value: boolean) {
    if (!value) refuseToFreeze(this);
    guarded(() => {
      this.handle.requiresGrad = value;
    });
  }

  /**
   * The gradient that backward added up in this leaf, or null; the tensor itself, not a copy. That of an encoder's parameter
   * can be written but not replaced (`INPUT`).
   */
  get grad(): Tensor | null {
    const grad = guarded(() => this.handle.grad);
    return grad === null ? null : new Tensor(grad);
  }

  set grad(value: Tensor | null) {
    refuseToReplaceGradient(this);
    guarded(() => {
      this.handle.grad = value === null ? null : value.handle;
    });
  }

  /** The only element, as a number. Waits for the device. @throws GradCacheError `SHAPE` when there is not one element */
  item(): number {
    return guarded(() => this.handle.item());
  }

  /** A copy of the elements, row by row; float16 and bfloat16 come as float32, bool as 0 and 1. Does not block. */
  async values(): Promise<TensorValues> {
    const dtype = this.dtype;
    if (dtype === 'float16' || dtype === 'bfloat16') {
      const wide = this.to({ dtype: 'float32' });
      try {
        return await wide.values();
      } finally {
        wide.dispose();
      }
    }
    return asArray(await this.bytes(), dtype);
  }

  /** Like {@link Tensor.values}, blocking. */
  valuesSync(): TensorValues {
    const dtype = this.dtype;
    if (dtype === 'float16' || dtype === 'bfloat16') return tidyValue(this.to({ dtype: 'float32' }));
    return asArray(
      guarded(() => this.handle.bytesSync()),
      dtype,
    );
  }

  /** A copy of the raw bytes of the elements, row by row. Does not block. */
  bytes(): Promise<Uint8Array> {
    return guardedAsync(() => this.handle.bytes());
  }

  /** This tensor in another type or on another device; itself under a new handle when nothing changes. */
  to(options: { dtype?: DType | undefined; device?: string | undefined }): Tensor {
    return call('aten::to.dtype_layout', this, {
      dtype: options.dtype ?? this.dtype,
      device: options.device ?? this.device,
    });
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
    if (source.shape.join() !== this.shape.join()) {
      throw new GradCacheError(
        'SHAPE',
        `cannot copy shape [${source.shape.join()}] into [${this.shape.join()}]`,
      );
    }
    guarded(() => native().withGradMode(false, () => call('aten::copy_', this, source).dispose()));
  }

  /** this + other (a number or a tensor that broadcasts). */
  add(other: Tensor | number): Tensor {
    return call('aten::add.Tensor', this, other);
  }

  /** this - other. */
  sub(other: Tensor | number): Tensor {
    return call('aten::sub.Tensor', this, other);
  }

  /** this * other, element by element. */
  mul(other: Tensor | number): Tensor {
    return call('aten::mul.Tensor', this, other);
  }

  /** this / other, element by element. */
  div(other: Tensor | number): Tensor {
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

  transpose(first: number, second: number): Tensor {
    return call('aten::transpose.int', this, first, second);
  }

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

  neg(): Tensor {
    return call('aten::neg', this);
  }

  exp(): Tensor {
    return call('aten::exp', this);
  }

  log(): Tensor {
    return call('aten::log', this);
  }

  sqrt(): Tensor {
    return call('aten::sqrt', this);
  }

  tanh(): Tensor {
    return call('aten::tanh', this);
  }

  sigmoid(): Tensor {
    return call('aten::sigmoid', this);
  }

  relu(): Tensor {
    return call('aten::relu', this);
  }

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

  softmax(dimension: number): Tensor {
    return call('aten::softmax.int', this, dimension);
  }

  logSoftmax(dimension: number): Tensor {
    return call('aten::log_softmax.int', this, dimension);
  }

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

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function tidyValue(tensor: Tensor): TensorValues {
  try {
    return tensor.valuesSync();
  } finally {
    tensor.dispose();
  }
}

/** A named leaf tensor that training changes; `tensor.grad` is its gradient, added up in float32 (float64). */
export interface Parameter {
  readonly name: string;
  readonly tensor: Tensor;
  /** Whether weight decay applies: false for biases and norms. */
  readonly decay: boolean;
}
