import { Tensor, type DType } from '../../lib/tensor/tensor.js';

/** A small seeded generator (Mulberry32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/** Type and name of each argument that a schema lists, such as `Tensor self` or `int[2] stride=1`. */
export function argumentsOf(schema: string): { type: string; name: string; keyword: boolean }[] {
  const list = schema.slice(schema.indexOf('(') + 1, schema.lastIndexOf(') ->'));
  let keyword = false;
  const result: { type: string; name: string; keyword: boolean }[] = [];
  for (const part of list.split(/,\s*(?![^[(]*[\])])/)) {
    if (part === '*') keyword = true;
    const match = /^(\S+)\s+(\w+)/.exec(part);
    if (match !== null) result.push({ type: match[1]!, name: match[2]!, keyword });
  }
  return result;
}

const DTYPES: readonly DType[] = [
  'float32',
  'float32',
  'float64',
  'int64',
  'int32',
  'bool',
  'uint8',
  'float16',
  'bfloat16',
];
const SHAPES: readonly number[][] = [
  [],
  [0],
  [1],
  [3],
  [2, 3],
  [3, 2],
  [3, 3],
  [0, 3],
  [2, 3, 4],
  [1, 2, 3, 4],
  [2, 0, 3],
  [2, 2, 2, 2, 2],
];
// Nothing in between: a size that could be had would take the machine's memory and a minute to fill.
const INTEGERS = [0, 1, 1, 2, 3, -1, -2, 7, -100, -(2 ** 31), 2 ** 52, -(2 ** 52)];
const NUMBERS = [0, 1, -1, 0.5, 1e-30, 1e30, NaN, Infinity, -Infinity];

/** A tensor of a random shape and type, sometimes one that asks for a gradient or was disposed. */
export function randomTensor(random: Random): Tensor {
  const shape = random.pick(SHAPES);
  const size = shape.reduce((product, extent) => product * extent, 1);
  const values = Array.from({ length: size }, () =>
    random.next() < 0.5 ? random.below(5) - 2 : random.next() * 2 - 1,
  );
  const dtype = random.pick(DTYPES);
  const tensor = Tensor.from(dtype === 'uint8' ? values.map(Math.abs) : values, { shape, dtype });
  if (tensor.dtype.startsWith('float') && random.next() < 0.2) tensor.requiresGrad = true;
  if (random.next() < 0.02) tensor.dispose();
  return tensor;
}

/** Anything that a JavaScript program may pass where it should not. */
export function garbage(random: Random): unknown {
  const circular: unknown[] = [];
  circular.push(circular);
  return random.pick<() => unknown>([
    () => undefined,
    () => null,
    () => '',
    () => 'float32',
    () => '\u0000',
    () => 'cuda:99',
    () => Symbol('x'),
    () => 10n ** 30n,
    () => -1n,
    () => ({}),
    () => [],
    () => [[[]]],
    () => [null, undefined],
    () => new Array<unknown>(5),
    () => () => 1,
    () => new Date(0),
    () => new Map(),
    () => new Float32Array(3),
    () => new Uint8Array(0),
    () => ({ handle: {} }),
    () => Object.create(null) as unknown,
    () => new Proxy({}, {}),
    () => NaN,
    () => -0,
    () => 2 ** 70,
    () => randomTensor(random),
  ])();
}

/** A value for an argument of a schema's type; now and then something else altogether. */
export function randomArgument(type: string, random: Random): unknown {
  if (random.next() < 0.04) return garbage(random);
  if (type.endsWith('?')) return random.next() < 0.5 ? null : randomArgument(type.slice(0, -1), random);
  const list = /^(.+)\[(\d*)\]$/.exec(type);
  if (list !== null) {
    const length = list[2] === '' || random.next() < 0.2 ? random.below(5) : Number(list[2]);
    return Array.from({ length }, () => randomArgument(list[1]!, random));
  }
  if (type.startsWith('Tensor')) return randomTensor(random);
  switch (type) {
    case 'int':
    case 'SymInt':
      return random.next() < 0.7 ? random.below(6) - 2 : random.pick(INTEGERS);
    case 'float':
    case 'Scalar':
      return random.next() < 0.5 ? random.below(4) : random.pick(NUMBERS);
    case 'bool':
      return random.next() < 0.5;
    case 'str':
      return random.pick(['', 'mean', 'sum', 'ij,jk->ik', 'linear', 'trunc', 'floor', '\ud800']);
    case 'ScalarType':
      return random.pick(['float32', 'int64', 'bool', 'nothing']);
    case 'Device':
      return random.pick(['cpu', 'cpu:7', 'cuda', 'meta', 'xyz']);
    case 'Layout':
      return random.pick(['strided', 'sparse_coo', 'x']);
    case 'MemoryFormat':
      return random.pick(['contiguous', 'preserve', 'channels_last', 'x']);
    default:
      return garbage(random);
  }
}
