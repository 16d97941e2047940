import { inspect } from 'node:util';
import * as gradcache from '../../../lib/index.js';
import { CallersError, odd, oddArray, spying } from '../odd-values.js';
import { operators } from '../operators.js';
import { garbage, randomTensor, type Random } from '../random-arguments.js';
import type { Target } from '../target.js';

const { Tensor } = gradcache;
type Callable = (...args: unknown[]) => unknown;
type Call = (random: Random, tell: (what: string) => void) => unknown;

/** Options some of which are right, so that the others are looked at. */
function options(data: unknown, random: Random): unknown {
  if (random.next() < 0.1) return odd(random);
  const some: Record<string, unknown> = {};
  if (random.next() < 0.6) some['shape'] = shape(data, random);
  if (random.next() < 0.5)
    some['dtype'] = random.next() < 0.7 ? random.pick(['float32', 'int64', 'bool', 'uint8']) : odd(random);
  if (random.next() < 0.3)
    some['device'] = random.next() < 0.5 ? random.pick(['cpu', 'cuda:99', 'meta', 'x']) : odd(random);
  if (random.next() < 0.02) some['dtpye'] = 'int64';
  return some;
}

function shape(data: unknown, random: Random): unknown {
  const right = random.pick<readonly unknown[]>([[6], [2, 3], [], [0], [6, 1, 1]]);
  // What runs between the check and the use of the data.
  const spy = () => {
    const buffer = (data as { buffer?: unknown } | null)?.buffer;
    if (buffer instanceof ArrayBuffer) structuredClone(buffer, { transfer: [buffer] });
  };
  return random.pick<() => unknown>([
    () => right,
    () => right,
    () => spying(right, spy),
    () => [2 ** 40, 2 ** 40],
    () => [-1],
    () => [0.5],
    () => Array.from({ length: 65 }, () => 1),
    () => odd(random),
  ])();
}

const tensor = (random: Random) =>
  random.next() < 0.5 ? randomTensor(random) : Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
const args = (random: Random): unknown[] =>
  Array.from({ length: random.below(4) }, () =>
    random.next() < 0.4
      ? random.pick<() => unknown>([() => random.below(4) - 1, () => tensor(random)])()
      : odd(random),
  );

const members = Reflect.ownKeys(Tensor.prototype).filter((name) => name !== 'constructor');
const SETTABLE: readonly (string | symbol)[] = ['grad', 'requiresGrad'];
const free = ['call', 'callAsync', 'schema', 'backward', 'noGrad', 'withGrad', 'withSeed', 'tidy'] as const;
const rest = ['memory', 'resetPeakMemory', 'emptyCache', 'synchronize', 'threads', 'devices'] as const;

/** Each of them is as likely as the others. */
const targets: readonly [string, Call][] = [
  ['Tensor.from', (random) => {
    const data = oddArray(random);
    return Tensor.from(data as never, options(data, random) as never);
  }],
  ['Tensor.from odd', (random) => Tensor.from(...(args(random) as [never]))],
  ['Tensor.fromBytes', (random) => {
    const data = oddArray(random);
    return Tensor.fromBytes(data as never, options(data, random) as never);
  }],
  ['new Tensor', (random) => new Tensor(...(args(random) as [never]))],
  ['method', (random, tell) => {
    const name = random.pick(members);
    const target = tensor(random) as unknown as Record<string | symbol, unknown>;
    const given = args(random);
    tell(String(name));
    if (SETTABLE.includes(name) && random.next() < 0.7) return (target[name] = odd(random));
    const member = target[name];
    return typeof member === 'function' ? (member as Callable).apply(target, given) : member;
  }],
  ['inspect', (random) => inspect(tensor(random))],
  ['operator', (random, tell) => {
    const name = random.pick([...operators.slice(0, 20), 'aten::add_.Tensor', 'aten::range.out', 'x', '']);
    tell(name);
    return random.next() < 0.5 ? gradcache.call(name, ...args(random)) : gradcache.callAsync(name, ...args(random));
  }],
  ['backward', (random) => gradcache.backward([tensor(random).mul(2)], random.next() < 0.5 ? [null] : (odd(random) as never))],
  ['withSeed', (random) => gradcache.withSeed(random.below(3), random.pick([odd(random), () => garbage(random)]) as never)],
  ...[...free, ...rest].map((name): [string, Call] => [
    name,
    (random) => (gradcache[name] as Callable)(...args(random)),
  ]),
]; // prettier-ignore

/** The public functions of tensors. What a block of the caller throws comes out of it as it is. */
export const tensors: Target = {
  count: 5000,
  least: { answered: 500, refused: 500 },
  prepare: () => async (random, tell) => {
    const [name, run] = random.pick(targets);
    tell(name);
    try {
      const result = run(random, tell);
      // What is no Promise of ours may do anything when it is awaited.
      if (result instanceof Promise) await result;
    } catch (error) {
      if (!isCallers(error)) throw error;
    }
  },
};

/** A block is the caller's own, and may be a proxy that was revoked. */
function isCallers(error: unknown): boolean {
  return error instanceof CallersError || /'apply' on a proxy/.test((error as Error).message);
}
