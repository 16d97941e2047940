/**
 * Calls the public functions of tensors with odd arguments: a program of its own, because a process that does not survive is
 * among what is looked for. Whatever is given, the answer is a result or a GradCacheError.
 *
 *   node tensor-fuzz.js SEED COUNT
 */
import { argv } from 'node:process';
import { inspect } from 'node:util';
import * as gradcache from '../../lib/index.js';
import { CallersError, odd, oddArray, spying } from './odd-values.js';
import { operators } from './operators.js';
import { print } from './print.js';
import { garbage, Random, randomTensor } from './random-arguments.js';

const { Tensor, GradCacheError } = gradcache;
type Callable = (...args: unknown[]) => unknown;

const [seed, count] = argv.slice(2).map(Number) as [number, number];
const random = new Random(seed);

/** Options some of which are right, so that the others are looked at. */
function options(data: unknown): unknown {
  if (random.next() < 0.1) return odd(random);
  const some: Record<string, unknown> = {};
  if (random.next() < 0.6) some['shape'] = shape(data);
  if (random.next() < 0.5)
    some['dtype'] = random.next() < 0.7 ? random.pick(['float32', 'int64', 'bool', 'uint8']) : odd(random);
  if (random.next() < 0.3)
    some['device'] = random.next() < 0.5 ? random.pick(['cpu', 'cuda:99', 'meta', 'x']) : odd(random);
  if (random.next() < 0.02) some['dtpye'] = 'int64';
  return some;
}

function shape(data: unknown): unknown {
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

const tensor = () =>
  random.next() < 0.5 ? randomTensor(random) : Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
const args = (): unknown[] =>
  Array.from({ length: random.below(4) }, () =>
    random.next() < 0.4 ? random.pick<() => unknown>([() => random.below(4) - 1, tensor])() : odd(random),
  );

const members = Reflect.ownKeys(Tensor.prototype).filter((name) => name !== 'constructor');
const SETTABLE: readonly (string | symbol)[] = ['grad', 'requiresGrad'];
const free = ['call', 'callAsync', 'schema', 'backward', 'noGrad', 'withGrad', 'withSeed', 'tidy'] as const;
const rest = ['memory', 'resetPeakMemory', 'emptyCache', 'synchronize', 'threads', 'devices'] as const;

/** Each of them is as likely as the others. */
const targets: readonly [string, () => unknown][] = [
  ['Tensor.from', () => {
    const data = oddArray(random);
    return Tensor.from(data as never, options(data) as never);
  }],
  ['Tensor.from odd', () => Tensor.from(...(args() as [never]))],
  ['Tensor.fromBytes', () => {
    const data = oddArray(random);
    return Tensor.fromBytes(data as never, options(data) as never);
  }],
  ['new Tensor', () => new Tensor(...(args() as [never]))],
  ['method', () => {
    const name = random.pick(members);
    const target = tensor() as unknown as Record<string | symbol, unknown>;
    const given = args();
    print(`  ${String(name)}\n`);
    if (SETTABLE.includes(name) && random.next() < 0.7) return (target[name] = odd(random));
    const member = target[name];
    return typeof member === 'function' ? (member as Callable).apply(target, given) : member;
  }],
  ['inspect', () => inspect(tensor())],
  ['operator', () => {
    const name = random.pick([...operators.slice(0, 20), 'aten::add_.Tensor', 'aten::range.out', 'x', '']);
    print(`  ${name}\n`);
    return random.next() < 0.5 ? gradcache.call(name, ...args()) : gradcache.callAsync(name, ...args());
  }],
  ['backward', () => gradcache.backward([tensor().mul(2)], random.next() < 0.5 ? [null] : (odd(random) as never))],
  ['withSeed', () => gradcache.withSeed(random.below(3), random.pick([odd(random), () => garbage(random)]) as never)],
  ...[...free, ...rest].map((name): [string, () => unknown] => [
    name,
    () => (gradcache[name] as Callable)(...args()),
  ]),
]; // prettier-ignore

let returned = 0;
let refused = 0;
for (let k = 0; k < count; k++) {
  const [name, run] = random.pick(targets);
  print(`${k} ${name}\n`);
  try {
    const result = run();
    // What is no Promise of ours may do anything when it is awaited.
    if (result instanceof Promise) await result;
    returned++;
  } catch (error) {
    if (!(error instanceof GradCacheError) && !isCallers(error)) {
      print(`UNTYPED ${inspect(error)}\n`);
      throw error;
    }
    refused++;
  }
}
print(`${JSON.stringify({ returned, refused })}\n`);

/** A block is the caller's own, and may be a proxy that was revoked. */
function isCallers(error: unknown): boolean {
  return error instanceof CallersError || /'apply' on a proxy/.test((error as Error).message);
}
