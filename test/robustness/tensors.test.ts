import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { test } from 'node:test';
import { inspect } from 'node:util';
import {
  backward,
  call,
  callAsync,
  GradCacheError,
  memory,
  noGrad,
  synchronize,
  Tensor,
  tidy,
  withGrad,
  withSeed,
} from '../../lib/index.js';
import { fails } from './failures.js';
import { endless, spying } from '../fuzz/odd-values.js';

const complex = () => call('aten::complex', Tensor.from([1, 2]), Tensor.from([3, 4]));

test('elements that are negated or conjugated lazily are read as what they are', async () => {
  const parts = Tensor.from([1, 2, 3]);
  const lazy: Tensor[] = [
    call('aten::_neg_view', parts),
    call('aten::imag', call('aten::conj', complex())),
    call('aten::_neg_view', Tensor.from(Int32Array.of(5, 6))),
    call('aten::_neg_view', Tensor.from([1, 2], { dtype: 'float16' })),
  ];
  for (const tensor of lazy) {
    const expected = Array.from({ length: tensor.size }, (_, k) => tensor.narrow(0, k, 1).item());
    assert.ok(expected.every((value) => value < 0));
    assert.deepEqual([...(await tensor.values())], expected);
    assert.deepEqual([...tensor.valuesSync()], expected);
    const copy = Tensor.fromBytes(await tensor.bytes(), { shape: tensor.shape, dtype: tensor.dtype });
    assert.deepEqual([...copy.valuesSync()], expected);
  }
  const conjugate = await call('aten::conj', complex()).bytes();
  assert.deepEqual([...new Float32Array(conjugate.buffer)], [1, -3, 2, -4]);
});

test('what no typed array or number holds is refused, not left out', async () => {
  const tensor = complex();
  assert.equal(tensor.byteLength, 16);
  await assert.rejects(tensor.values(), fails('DTYPE', /view_as_real/));
  assert.throws(() => tensor.valuesSync(), fails('DTYPE', /view_as_real/));
  assert.throws(() => call('aten::sum', tensor).item(), fails('DTYPE', /view_as_real/));
  assert.deepEqual([...call('aten::view_as_real', tensor).valuesSync()], [1, 3, 2, 4]);
  assert.equal(tensor.to({ device: 'cpu' }).byteLength, 16);
  for (const value of [2n ** 53n, -(2n ** 53n) - 1n, 2n ** 63n - 1n]) {
    const large = Tensor.from(BigInt64Array.of(value));
    assert.throws(() => large.item(), fails('DTYPE', /BigInt64Array/));
    assert.deepEqual([...large.valuesSync()], [value]);
  }
  assert.equal(Tensor.from(BigInt64Array.of(2n ** 53n - 1n)).item(), Number.MAX_SAFE_INTEGER);
  assert.equal(Tensor.from([Infinity]).item(), Infinity);
});

test('numbers beside integers', () => {
  const large = Tensor.from(Int32Array.of(123_456_789));
  const long = Tensor.from(BigInt64Array.of(2n ** 62n + 1n));
  // Types as in PyTorch, where 1 is an int and 1.5 a float.
  const expected: [Tensor, string, number | bigint | null][] = [
    [large.mul(1), 'int32', 123_456_789],
    [large.add(1), 'int32', 123_456_790],
    [large.sub(0), 'int32', 123_456_789],
    [large.add(1n), 'int32', 123_456_790],
    [large.div(1), 'float32', null],
    [large.mul(1.5), 'float32', null],
    [large.mul(NaN), 'float32', NaN],
    [long.add(-1), 'int64', 2n ** 62n],
    [long.add(2n ** 61n), 'int64', 2n ** 62n + 1n + 2n ** 61n],
    [Tensor.from([1, 0], { dtype: 'bool' }).add(1), 'int64', 2n],
    [call('aten::mul.Tensor', Tensor.from([1, 0], { dtype: 'bool' }), true), 'bool', 1],
    [Tensor.from([1.5]).mul(2), 'float32', 3],
    [Tensor.from([1.5], { dtype: 'float16' }).add(2), 'float16', 3.5],
    [Tensor.from([1.5], { dtype: 'float64' }).sub(2 ** 60), 'float64', 1.5 - 2 ** 60],
  ];
  for (const [place, [tensor, dtype, value]] of expected.entries()) {
    assert.equal(tensor.dtype, dtype, `${place}`);
    if (value !== null) assert.equal(tensor.valuesSync()[0], value, `${place}`);
  }
  const odd = Tensor.from(BigInt64Array.of(16_777_217n));
  assert.equal(call('aten::eq.Tensor', odd, 16_777_216).item(), 0);
  assert.equal(call('aten::eq.Tensor', odd, 16_777_217).item(), 1);
  assert.throws(() => odd.add(2n ** 63n), fails('OPERATOR', /64 bits/));
});

test('a zero keeps its sign, and beside integers it is an integer', () => {
  const one = Tensor.from([1]);
  const zeros: [Tensor, string, number | bigint][] = [
    [one.div(-0), 'float32', -Infinity],
    [one.div(0), 'float32', Infinity],
    [Tensor.from([1], { dtype: 'float64' }).div(-0), 'float64', -Infinity],
    [call('aten::div.Scalar', one, -0), 'float32', -Infinity],
    [call('aten::copysign.Tensor', one, -0), 'float32', -1],
    [call('aten::copysign.Scalar', one, -0), 'float32', -1],
    [call('aten::full', [1], -0, { dtype: 'float32' }), 'float32', -0],
    [call('aten::where.ScalarOther', call('aten::gt.Scalar', one, 1), one, -0), 'float32', -0],
    [Tensor.from(Int32Array.of(7)).add(-0), 'int32', 7],
    [call('aten::add.Scalar', Tensor.from(Int32Array.of(7)), -0), 'int32', 7],
    [
      call('aten::clamp', Tensor.from(BigInt64Array.of(-(2n ** 62n) - 1n)), null, -0),
      'int64',
      -(2n ** 62n) - 1n,
    ],
    [call('aten::narrow', one, -0, -0, 1), 'float32', 1],
  ];
  for (const [place, [tensor, dtype, value]] of zeros.entries()) {
    assert.equal(tensor.dtype, dtype, `${place}`);
    assert.ok(Object.is(tensor.valuesSync()[0], value), `${place}: ${tensor.valuesSync()[0]}`);
  }
});

test('integers of a list must fit their type', () => {
  const refused: [number[], 'int64' | 'int32' | 'uint8' | 'int8'][] = [
    [[1, NaN], 'int64'],
    [[Infinity], 'int32'],
    [[2 ** 31], 'int32'],
    [[2 ** 63], 'int64'],
    [[300], 'uint8'],
    [[-1], 'uint8'],
    [[-129], 'int8'],
  ];
  for (const [list, dtype] of refused)
    assert.throws(() => Tensor.from(list, { dtype }), fails('INPUT', /holds/));
  assert.throws(() => Tensor.from(-1, { dtype: 'uint8' }), fails('INPUT', /-1/));
  assert.deepEqual([...Tensor.from([255.9, -0.9], { dtype: 'uint8' }).valuesSync()], [255, 0]);
  assert.deepEqual([...Tensor.from([-(2 ** 63)], { dtype: 'int64' }).valuesSync()], [-(2n ** 63n)]);
});

test('a buffer that is taken away or shrinks while the shape is read is not read', () => {
  const size = 2 ** 20;
  const lose = (array: Float32Array<ArrayBuffer>) =>
    structuredClone(array.buffer, { transfer: [array.buffer] });
  const first = new Float32Array(size);
  const spied = spying([size], () => lose(first)) as number[];
  assert.throws(() => Tensor.from(first, { shape: spied }), fails('SHAPE', /0 were given/));
  const second = new Float32Array(size);
  const options = {
    get shape() {
      lose(second);
      return [size];
    },
  };
  assert.throws(() => Tensor.from(second, options), fails('SHAPE', /0 were given/));
  const resizable = new (ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer)(
    4 * size,
    {
      maxByteLength: 4 * size,
    },
  );
  const third = new Float32Array(resizable);
  const shrinking = spying([size], () =>
    (resizable as unknown as { resize(length: number): void }).resize(0),
  );
  assert.throws(() => Tensor.from(third, { shape: shrinking as number[] }), fails('SHAPE', /0 were given/));
  const shape = spying([6, 1, 1], () => (shape.length = 1)) as number[];
  assert.throws(() => Tensor.from(new Float32Array(6), { shape }), fails('SHAPE'));
});

test('values for which there is no memory are refused', async () => {
  const far = call('aten::expand', Tensor.from([1]), [2 ** 46]);
  await assert.rejects(far.values(), fails('OUT_OF_MEMORY', /narrow/));
  await assert.rejects(far.bytes(), fails('OUT_OF_MEMORY', /narrow/));
  assert.throws(() => far.valuesSync(), fails('OUT_OF_MEMORY', /narrow/));
});

test('a list that only claims to be long is refused at once', async () => {
  const tensor = Tensor.from([1]);
  assert.throws(
    () => call('aten::sum.dim_IntList', tensor, endless()),
    fails(['INPUT', 'OPERATOR'], /4294967295/),
  );
  await assert.rejects(callAsync('aten::cat', endless()), fails(['INPUT', 'OPERATOR']));
  assert.throws(() => Tensor.from(endless() as number[]), fails('INPUT'));
  assert.throws(() => Tensor.from([1], { shape: endless() as number[] }), fails('SHAPE'));
  assert.throws(() => tensor.reshape(endless() as number[]), GradCacheError);
  await assert.rejects(backward(endless() as Tensor[], []), fails('INPUT'));
  const circle: unknown[] = [];
  circle.push(circle);
  assert.throws(() => call('aten::cat', circle), fails('OPERATOR', /lists/));
});

test('values() and bytes() copy off the event loop', async () => {
  const tensor = call('aten::ones', [2 ** 26]);
  for (const read of [() => tensor.values(), () => tensor.bytes()]) {
    const before = performance.eventLoopUtilization();
    const copy = await read();
    const { utilization } = performance.eventLoopUtilization(before);
    assert.equal(copy.byteLength, 2 ** 28);
    assert.ok(utilization < 0.6, `the loop was busy for ${utilization} of the copy`);
  }
});

test('blocks refuse a promise, and free what was made', async () => {
  const blocks: [string, (fn: () => unknown) => unknown][] = [
    ['tidy', tidy],
    ['noGrad', noGrad],
    ['withGrad', withGrad],
    ['withSeed', (fn) => withSeed(1, fn)],
  ];
  for (const [name, block] of blocks) {
    const made: Tensor[] = [];
    const body = async () => {
      made.push(Tensor.from([1]));
      await Promise.resolve();
      throw new Error('later');
    };
    let refused: unknown;
    assert.throws(
      () => tidy(() => block(body)),
      (error) => {
        refused = error;
        return fails('INPUT', new RegExp(`${name} .*promise`))(error);
      },
    );
    assert.equal(made[0]!.disposed, true);
    // The rejection is heard, or it would end the process here.
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(((refused as Error).cause as Error).message, 'later');
    assert.throws(() => block(() => ({ then: () => undefined })), fails('INPUT', /promise/));
    assert.throws(() => block(3 as never), fails('INPUT', /function/));
  }
});

test('what the system says inside a block keeps its code', () => {
  const missing = Object.assign(new Error('no such file'), { code: 'ENOENT' });
  assert.throws(
    () =>
      noGrad(() => {
        throw missing;
      }),
    (error) => error === missing,
  );
});

test('callAsync gives what call gives', async () => {
  const tensors = () => [Tensor.from([1, 2])];
  assert.equal(call('aten::_foreach_zero_', tensors()), undefined);
  assert.equal(await callAsync('aten::_foreach_zero_', tensors()), undefined);
  const sorted = await callAsync<Tensor[]>('aten::sort', Tensor.from([2, 1]));
  assert.deepEqual(
    sorted.map((tensor) => [...tensor.valuesSync()].map(Number)),
    [
      [1, 2],
      [1, 0],
    ],
  );
});

test('console.log shows what a tensor is', () => {
  const shown: [Tensor, string][] = [
    [Tensor.from([1, 2.5]), 'Tensor { shape: [2], dtype: float32, device: cpu, values: [1, 2.5] }'],
    [Tensor.from(3), 'Tensor { shape: [], dtype: float32, device: cpu, values: [3] }'],
    [Tensor.from([], { shape: [0, 3] }), 'Tensor { shape: [0, 3], dtype: float32, device: cpu, values: [] }'],
    [
      call('aten::arange', 24).reshape([2, 3, 4]),
      'Tensor { shape: [2, 3, 4], dtype: int64, device: cpu, values: [0n, 1n, 2n, 3n, 4n, 5n, …] }',
    ],
    [
      call('aten::expand', Tensor.from([7]), [2 ** 20, 2 ** 20]),
      'Tensor { shape: [1048576, 1048576], dtype: float32, device: cpu, values: [7, 7, 7, 7, 7, 7, …] }',
    ],
    [
      Tensor.from([1, 2, 3, 4, 5, 6, 7, 8], { shape: [4, 2], dtype: 'int32' }).t(),
      'Tensor { shape: [2, 4], dtype: int32, device: cpu, values: [1, 3, 5, 7, 2, 4, …] }',
    ],
    [complex(), 'Tensor { shape: [2], dtype: ComplexFloat, device: cpu }'],
  ];
  for (const [tensor, text] of shown) assert.equal(inspect(tensor), text);
  const leaf = Tensor.from([1]);
  leaf.requiresGrad = true;
  assert.match(inspect([leaf]), /requiresGrad: true, values: \[1\]/);
  leaf.dispose();
  assert.equal(inspect(leaf), 'Tensor { disposed }');
});

test('options of the wrong type are refused by name', async () => {
  const tensor = Tensor.from([1]);
  const refused: [() => unknown, RegExp][] = [
    [() => Tensor.from([1], { shape: null as never }), /shape is null/],
    [() => Tensor.from([1], { dtype: null as never }), /dtype is null/],
    [() => Tensor.from([1], { dtype: 3 as never }), /dtype is 3/],
    [() => Tensor.from([1], { device: 0 as never }), /device is 0/],
    [() => Tensor.from([1], [] as never), /options as an object/],
    [() => Tensor.from([1], null as never), /options as an object/],
    [() => Tensor.fromBytes(new Uint8Array(4), undefined as never), /options as an object/],
    [
      () => Tensor.fromBytes(new Uint8Array(4), { shape: [1], dtype: 'float32', devcie: 1 } as never),
      /devcie/,
    ],
    [() => new Tensor({} as never), /Tensor.from/],
    [() => (tensor.requiresGrad = 'no' as never), /requiresGrad is "no"/],
    [() => (tensor.requiresGrad = 1 as never), /requiresGrad is 1/],
    [() => (tensor.grad = {} as never), /grad is {}/],
    [() => (tensor.grad = undefined as never), /grad is undefined/],
    [() => tensor.to(null as never), /options as an object/],
    [() => tensor.to({ dtype: 'float' as never }), /dtype is "float"/],
    [() => tensor.to({ device: 1 as never }), /device is 1/],
    [() => tensor.to({ type: 'int64' } as never), /'type'/],
    [() => tensor.copyFrom([1] as never), /copyFrom is \[1\]/],
    [() => memory(3 as never), /device is 3/],
    [() => memory(null as never), /device is null/],
  ];
  for (const [make, message] of refused)
    assert.throws(make, fails(['INPUT', 'SHAPE', 'DTYPE', 'DEVICE'], message), make.toString());
  await assert.rejects(backward(tensor as never, [null]), fails('INPUT', /roots/));
  await assert.rejects(backward([tensor], 3 as never), fails('INPUT', /seeds/));
  await assert.rejects(backward([tensor], ['1' as never]), fails('INPUT', /seed 0/));
  await assert.rejects(synchronize(0 as never), fails('DEVICE', /device is 0/));
});
