import { types } from 'node:util';
import { show } from '../options/option-values.js';
import { storageOf } from '../safetensors/safetensors-format.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import type { DType } from '../tensor/tensor.js';
import { Global, PickleFault, Tuple, type PickleRules } from './restricted-pickle.js';

const DTYPES: ReadonlyMap<string, DType> = new Map([
  ['torch.FloatStorage', 'float32'],
  ['torch.DoubleStorage', 'float64'],
  ['torch.HalfStorage', 'float16'],
  ['torch.BFloat16Storage', 'bfloat16'],
  ['torch.LongStorage', 'int64'],
  ['torch.IntStorage', 'int32'],
  ['torch.ShortStorage', 'int16'],
  ['torch.CharStorage', 'int8'],
  ['torch.ByteStorage', 'uint8'],
  ['torch.BoolStorage', 'bool'],
]);

/** The memory that tensors are views of. */
export class Storage {
  /** The bytes of all elements. */
  readonly bytes: number;
  #content: Uint8Array | undefined;

  constructor(
    readonly key: string,
    readonly dtype: DType,
    readonly elements: number,
  ) {
    this.bytes = elements * storageOf(dtype)!.size;
  }

  /** @throws PickleFault where the file has none, or of another length */
  fill(length: number | undefined, content: Uint8Array | undefined): void {
    if (content === undefined || length !== this.bytes)
      throw new PickleFault(
        `its storage ${this.key} has ${length ?? 'no'} bytes, for ${this.elements} numbers of ${this.dtype}`,
      );
    this.#content = content;
  }

  get content(): Uint8Array {
    if (this.#content === undefined) throw new PickleFault(`its storage ${this.key} is missing`);
    return this.#content;
  }
}

/** A tensor as a pickle describes it. */
class View {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** What a state dict is pickled with: ordered dicts, tensors and the storages that these are views of. */
export class StateDict implements PickleRules {
  readonly #storages = new Map<string, Storage>();

  get storages(): readonly Storage[] {
    return [...this.#storages.values()];
  }

  /** Of all storages. */
  get bytes(): number {
    return this.storages.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  call(what: Global, args: readonly unknown[]): unknown {
    switch (what.path) {
      case 'collections.OrderedDict':
        if (args.length === 0) return new Map();
        break;
      case 'torch._utils._rebuild_parameter':
        if (args[0] instanceof View) return args[0];
        break;
      case 'torch._utils._rebuild_tensor_v2':
        return viewOf(args);
      default:
        throw new PickleFault(`it calls ${show(what.path)}`);
    }
    throw new PickleFault(`it calls ${what.path} with arguments that it does not take`);
  }

  persistent(id: unknown): Storage {
    const [kind, type, key, , elements, view = null] = id instanceof Tuple ? id.items : [];
    const dtype = type instanceof Global ? DTYPES.get(type.path) : undefined;
    if (kind !== 'storage' || typeof key !== 'string' || !isCount(elements) || view !== null)
      throw new PickleFault('it refers to what is no storage of tensors');
    if (dtype === undefined)
      throw new PickleFault(`it has a storage of ${type instanceof Global ? type.path : show(type)}`);
    const known = this.#storages.get(key);
    if (known === undefined) {
      const storage = new Storage(key, dtype, elements);
      this.#storages.set(key, storage);
      return storage;
    }
    if (known.dtype !== dtype || known.elements !== elements)
      throw new PickleFault(`it describes its storage ${key} in two ways`);
    return known;
  }

  /** The tensors by name, once the storages are filled. @throws PickleFault for anything else */
  tensorsOf(value: unknown): Map<string, StoredTensor> {
    if (!types.isMap(value)) throw new PickleFault('it holds no dict of tensors');
    const room = new Room(this.bytes);
    const tensors = new Map<string, StoredTensor>();
    for (const [name, view] of value) {
      if (typeof name !== 'string' || !(view instanceof View))
        throw new PickleFault(
          `it holds ${kindOf(view)} under ${show(name)}, where a tensor by name is needed`,
        );
      tensors.set(name, storedFrom(view, room));
    }
    return tensors;
  }
}

/** Copies of tensors that are not dense take no more memory than a few times the storages. */
class Room {
  #left: number;

  constructor(bytes: number) {
    this.#left = 4 * bytes;
  }

  take(bytes: number): void {
    this.#left -= bytes;
    if (this.#left < 0) throw new PickleFault('its tensors would take far more memory than the file has');
  }
}

const kindOf = (value: unknown): string =>
  types.isMap(value)
    ? 'a dict'
    : value instanceof Tuple
      ? 'a tuple'
      : value instanceof Global
        ? value.path
        : show(value);

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
const countsIn = (value: unknown): readonly number[] | undefined =>
  value instanceof Tuple && value.items.every(isCount) ? value.items : undefined;

function viewOf([storage, offset, sizes, steps]: readonly unknown[]): View {
  const [shape, strides] = [countsIn(sizes), countsIn(steps)];
  if (!(storage instanceof Storage) || !isCount(offset) || shape === undefined || strides === undefined)
    throw new PickleFault('it describes a tensor in a way that is not known');
  const empty = shape.includes(0);
  const last = shape.reduce((sum, size, place) => sum + (size - 1) * (strides[place] ?? NaN), offset);
  const elements = shape.reduce((product, size) => product * size, 1);
  const fits = empty || (last < storage.elements && elements <= storage.elements);
  if (shape.length !== strides.length || !fits)
    throw new PickleFault(
      `it has a tensor [${shape.join()}] with strides [${strides.join()}] at ${offset} of a storage of ${storage.elements} numbers`,
    );
  return new View(storage, offset, shape, strides);
}

/** Row-major bytes: a part of the storage where the tensor is dense, else a copy. */
function storedFrom({ storage, offset, shape, strides }: View, room: Room): StoredTensor {
  const { dtype } = storage;
  const { size } = storageOf(dtype)!;
  const elements = shape.reduce((product, extent) => product * extent, 1);
  if (elements === 0) return { dtype, shape, bytes: new Uint8Array(0) };
  if (isDense(shape, strides))
    return { dtype, shape, bytes: storage.content.subarray(offset * size, (offset + elements) * size) };
  room.take(elements * size);
  const bytes = new Uint8Array(elements * size);
  const places = new Array<number>(shape.length).fill(0);
  let from = offset;
  for (let element = 0; element < elements; element++) {
    for (let byte = 0; byte < size; byte++)
      bytes[element * size + byte] = storage.content[from * size + byte]!;
    for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
      from += strides[dimension]!;
      if (++places[dimension]! < shape[dimension]!) break;
      from -= strides[dimension]! * shape[dimension]!;
      places[dimension] = 0;
    }
  }
  return { dtype, shape, bytes };
}

function isDense(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let dimension = shape.length - 1; dimension >= 0; dimension--) {
    if (shape[dimension] !== 1 && strides[dimension] !== step) return false;
    step *= shape[dimension]!;
  }
  return true;
}
