/** Arguments that answer otherwise each time they are looked at, claim what they do not have, or throw. */
import { garbage, type Random } from './random-arguments.js';

/** A list whose elements run `spy` when they are read. */
export function spying(values: readonly unknown[], spy: () => void): unknown[] {
  const list: unknown[] = [];
  for (const [place, value] of values.entries()) {
    Object.defineProperty(list, place, {
      enumerable: true,
      get: () => {
        spy();
        return value;
      },
    });
  }
  return list;
}

/** What a block of the caller throws, which is to come out of it as it is. */
export class CallersError extends Error {}

const throwing = (): never => {
  throw new TypeError('a getter of the caller');
};

function revoked(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** The claim of a list of 2^32 - 1 elements that has none. */
export function endless(): unknown[] {
  const list: unknown[] = [];
  list.length = 2 ** 32 - 1;
  return list;
}

class Liar extends Float32Array {
  override get length(): never {
    return 1e9 as never;
  }
  override get byteLength(): never {
    return 4e9 as never;
  }
  override get byteOffset(): never {
    return 64 as never;
  }
}

const detached = (): Float32Array => {
  const array = new Float32Array(1024);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
};

const shrunk = (): Float32Array => {
  const buffer = new (ArrayBuffer as unknown as new (size: number, options: object) => ArrayBuffer)(4096, {
    maxByteLength: 2 ** 20,
  });
  const array = new Float32Array(buffer, 1024, 512);
  (buffer as unknown as { resize(size: number): void }).resize(1024);
  return array;
};

/** Typed arrays and what passes for one. */
export function oddArray(random: Random): unknown {
  return random.pick<() => unknown>([
    () => new Float32Array(6),
    () => Float64Array.of(1, NaN, 3, Infinity, 5, 6),
    () => new BigInt64Array(6),
    () => new Uint16Array(6),
    () => new BigUint64Array(2),
    () => new Uint8ClampedArray(6),
    () => new DataView(new ArrayBuffer(24)),
    () => new ArrayBuffer(24),
    () => Buffer.from('abcdef'),
    () => new Float32Array(new SharedArrayBuffer(24)),
    () => new Uint8Array(new ArrayBuffer(32), 3, 6),
    () => new Liar(6),
    detached,
    shrunk,
    () => Object.setPrototypeOf(new Float32Array(6), null) as unknown,
    () => new Proxy(new Float32Array(6), {}),
    () => [1, 2, 3, 4, 5, 6],
    () => [1, , 3], // eslint-disable-line no-sparse-arrays
    () => [1, 2n],
    () => [[1, 2], [3]],
    endless,
    () => spying([1, 2, 3, 4, 5, 6], throwing),
    () => 3,
    () => -0,
    () => true,
    () => 7n,
  ])();
}

/** Anything at all; now and then something that runs a program when it is looked at. */
export function odd(random: Random): unknown {
  return random.pick<() => unknown>([
    () => garbage(random),
    () => garbage(random),
    () => oddArray(random),
    () => revoked([]),
    () => revoked({}),
    () => revoked(() => 1),
    () => ({ get then() { return throwing(); } }), // prettier-ignore
    () => ({ then: (done: (value: unknown) => void) => done(1) }),
    () => async () => throwing(),
    () => () => {
      throw new CallersError();
    },
    () => ({ get dtype() { return throwing(); } }), // prettier-ignore
    () => ({ toString: throwing, valueOf: throwing, [Symbol.toPrimitive]: throwing }),
    () => new Proxy({}, { ownKeys: throwing, get: throwing, getPrototypeOf: throwing }),
    () => new Proxy([1, 2], { get: throwing }),
    () => new Proxy([], { get: (_, key) => (key === 'length' ? 2 ** 31 : 1) }),
    () => spying([2, 3], throwing),
    () => 'x'.repeat(2 ** 16),
    () => 2 ** 31,
    () => -(2 ** 53),
    () => 2n ** 63n,
  ])();
}
