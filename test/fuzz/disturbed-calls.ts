import { inspect } from 'node:util';
import { call, Tensor } from '../../lib/index.js';
import { garbage, randomTensor, type Random } from './random-arguments.js';
import type { Attempt } from './target.js';

/** A function of the package, and arguments that it takes. */
export interface GoodCall {
  readonly name: string;
  /** Fresh ones each time. */
  readonly make: () => unknown[] | Promise<unknown[]>;
  readonly use: (...args: never[]) => unknown;
}

const SHORT = { depth: 3, breakLength: Infinity, maxArrayLength: 6, maxStringLength: 40 };

/** Attempts that call one of the functions with good arguments, of which one or two places hold something else. */
export function disturbedCalls(calls: readonly GoodCall[]): Attempt {
  return async (random, tell) => {
    const { name, make, use } = random.pick(calls);
    let args = await make();
    for (let changes = random.below(3); changes > 0; changes--) {
      const place = random.below(args.length);
      args = args.with(place, disturb(args[place], random));
    }
    tell(`${name} ${inspect(args, SHORT)}`);
    await draw(await (use as (...args: unknown[]) => unknown)(...args));
  };
}

/** Draws from what is given lazily, so that it does its work. */
export async function draw(value: unknown): Promise<void> {
  if (typeof value !== 'object' || value === null || !(Symbol.asyncIterator in value)) return;
  let drawn = 0;
  for await (const _ of value as AsyncIterable<unknown>) if (++drawn === 3) break;
}

const NUMBERS = [0, 1, -1, 0.5, 2, 3, 7, 1e-30, 1e30, 2 ** 31, 2 ** 53, -(2 ** 52), NaN, Infinity, -Infinity];
const WHOLE = [0, 1, -1, 2, 3, 96, 97, 1000, 2 ** 31 - 1, -(2 ** 31)];

/** Something else in the place of a value: mostly of its kind, and mostly deep inside. */
function disturb(value: unknown, random: Random): unknown {
  if (random.next() < 0.15) return garbage(random);
  if (value instanceof Tensor) return otherTensor(value, random);
  if (value instanceof Int32Array) return otherIntegers(value, random);
  if (Array.isArray(value)) return otherList(value as unknown[], random);
  if (value instanceof Map) return otherMap(value, random);
  if (isPlain(value)) return otherObject(value, random);
  if (typeof value === 'number') return random.pick([...NUMBERS, value + 1, value - 1, -value]);
  if (typeof value === 'string')
    return random.pick(['', '\ud800', `${value}x`, value.toUpperCase(), '\u0000', ' ']);
  if (typeof value === 'boolean') return !value;
  return garbage(random);
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;

function otherTensor(tensor: Tensor, random: Random): unknown {
  return random.pick<() => unknown>([
    () => randomTensor(random),
    () => tensor.narrow(0, 0, 1),
    () => call('aten::cat', [tensor, tensor], 0),
    () => call('aten::expand', tensor, [2, ...tensor.shape]),
    () => call('aten::_neg_view', tensor),
    () => tensor.to({ dtype: random.pick(['float64', 'bfloat16', 'float16', 'int64']) }),
    () => tensor.mul(random.pick([0, NaN, Infinity, 1e30])),
    () => tensor.t(),
  ])();
}

function otherIntegers(values: Int32Array, random: Random): Int32Array {
  if (values.length === 0) return Int32Array.of(random.pick(WHOLE));
  const at = random.below(values.length);
  return random.pick([
    () => values.with(at, random.pick(WHOLE)),
    () => values.with(at, random.pick(WHOLE)),
    () => values.slice(0, at),
    () => Int32Array.of(...values, ...values),
    () => values.toReversed(),
  ])();
}

function otherMap(value: ReadonlyMap<unknown, unknown>, random: Random): Map<unknown, unknown> {
  const entries = [...value];
  if (entries.length === 0) return new Map([[garbage(random), garbage(random)]]);
  const at = random.below(entries.length);
  const [key, held] = entries[at]!;
  return new Map(
    random.pick([
      () => entries.with(at, [key, disturb(held, random)]),
      () => entries.with(at, [disturb(key, random), held]),
      () => entries.toSpliced(at, 1),
    ])(),
  );
}

function otherList(values: readonly unknown[], random: Random): unknown[] {
  const at = random.below(values.length);
  if (values.length === 0) return [garbage(random)];
  return random.pick([
    () => values.with(at, disturb(values[at], random)),
    () => values.with(at, disturb(values[at], random)),
    () => values.toSpliced(at, 1),
    () => values.toSpliced(at, 0, values[at]),
    () => values.toSpliced(at, 0, garbage(random)),
  ])();
}

function otherObject(value: Record<string, unknown>, random: Random): Record<string, unknown> {
  const keys = Object.keys(value);
  if (keys.length === 0) return { x: garbage(random) };
  const key = random.pick(keys);
  const { [key]: old, ...others } = value;
  return random.pick([
    () => ({ ...value, [key]: disturb(old, random) }),
    () => ({ ...value, [key]: disturb(old, random) }),
    () => ({ ...value, [key]: disturb(old, random) }),
    () => others,
    () => ({ ...others, [`${key}s`]: old }),
  ])();
}
