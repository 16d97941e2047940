import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, callAsync, GradCacheError, noGrad, schema, Tensor, tidy } from '../../lib/index.js';
import { fails } from './failures.js';

test('operators that do not exist are named', () => {
  for (const name of [
    'mm',
    '',
    'aten::',
    'aten::no_such_operator',
    'nothing::mm',
    'aten::mm.nonsense',
    'aten::mm;',
    'é::è',
    'a'.repeat(10_000),
  ]) {
    assert.throws(() => call(name), fails('OPERATOR', /operator/));
    assert.throws(() => schema(name), fails('OPERATOR', /operator/));
  }
  for (const name of [undefined, null, 3, {}, Symbol('x'), ['aten::mm']]) {
    assert.throws(() => call(name as string), GradCacheError);
  }
});

test('wrong arguments are refused by name', () => {
  const a = Tensor.from([1, 2, 3, 4, 5, 6], { shape: [2, 3] });
  assert.throws(() => call('aten::mm', a), fails('OPERATOR', /mat2/));
  assert.throws(() => call('aten::mm', a, a), fails('OPERATOR', /2x3|shapes/));
  assert.throws(() => call('aten::mm', a, a, a), fails('OPERATOR', /argument/));
  assert.throws(() => call('aten::mm', a, { mat2: a, mat3: a }), fails('OPERATOR', /mat3/));
  assert.throws(() => call('aten::mm', a, a, { mat2: a }), fails('OPERATOR', /mat2/));
  assert.throws(() => call('aten::mm', a, 'text'), fails('DTYPE', /mat2/));
  assert.throws(() => call('aten::sum.dim_IntList', a, [0.5]), fails('OPERATOR', /integer/));
  assert.throws(() => call('aten::sum.dim_IntList', a, ['x']), fails('OPERATOR', /./));
  assert.throws(() => call('aten::sum.dim_IntList', a, [7]), fails('OPERATOR', /range/));
  assert.throws(() => call('aten::softmax.int', a, 1, 'float31'), fails('DTYPE', /float31/));
  assert.throws(() => call('aten::zeros', [2], { device: 'gpu' }), fails('DEVICE', /gpu/));
  assert.throws(() => call('aten::zeros', [-1]), fails('OPERATOR', /./));
  assert.throws(() => call('aten::rand.generator', [2], 3), fails('OPERATOR', /withSeed/));
});

test('operators that end the process inside libtorch are refused', async () => {
  const integers = Tensor.from([1], { dtype: 'int64' });
  const tensors = [integers, integers];
  const refused: [string, ...unknown[]][] = [
    ['aten::range.step', 0, 3, 0.5, { dtype: 'int64' }],
    ['aten::range.step', 0, 3, -1e-30, { dtype: 'uint8' }],
    ['aten::range.step', 0, 3, { step: 0.5, dtype: 'int32' }],
    ['aten::range.out', 0, 3, 0.5, { out: integers }],
    ['aten::quantized_lstm_cell', integers, tensors, ...Array.from({ length: 12 }, () => integers)],
    ['aten::choose_qparams_optimized', integers, 2 ** 52, 200, 0.16, 8],
    ['aten::mkldnn_rnn_layer', integers],
  ];
  for (const [name, ...args] of refused) {
    assert.throws(() => call(name, ...args), fails('OPERATOR', /step|end the process/), name);
    await assert.rejects(callAsync(name, ...args), fails('OPERATOR', /step|end the process/), name);
  }
  assert.deepEqual([...call('aten::range.step', 0, 1, 0.5).valuesSync()], [0, 0.5, 1]);
  assert.equal(call('aten::range.step', 0, 4, 2, { dtype: 'int64' }).size, 3);
});

test('an allocation beyond all memory is an error', () => {
  assert.throws(
    () => call('aten::empty.memory_format', [2 ** 50], { dtype: 'float32' }),
    fails('OUT_OF_MEMORY', /./),
  );
  assert.throws(() => call('aten::empty.memory_format', [2 ** 40, 2 ** 40]), GradCacheError);
});

test('a disposed tensor is refused wherever it goes', async () => {
  const gone = Tensor.from([1, 2]);
  const alive = Tensor.from([1, 2]);
  gone.dispose();
  gone.dispose();
  assert.equal(gone.disposed, true);
  const disposed = fails('DISPOSED', /dispose/);
  assert.throws(() => gone.shape, disposed);
  assert.throws(() => gone.add(alive), disposed);
  assert.throws(() => alive.add(gone), disposed);
  assert.throws(() => call('aten::cat', [alive, gone]), disposed);
  assert.throws(() => gone.item(), disposed);
  assert.throws(() => alive.copyFrom(gone), disposed);
  assert.throws(() => (gone.requiresGrad = true), disposed);
  await assert.rejects(gone.values(), disposed);
  await assert.rejects(gone.bytes(), disposed);
});

test('what a block throws comes out of tidy and noGrad, with the state put back', () => {
  const inside: Tensor[] = [];
  const thrown = new Error('own');
  assert.throws(
    () =>
      tidy(() => {
        inside.push(Tensor.from([1]));
        noGrad(() => {
          throw thrown;
        });
      }),
    (error) => error === thrown,
  );
  assert.equal(inside[0]!.disposed, true);
  const a = Tensor.from([1]);
  a.requiresGrad = true;
  assert.equal(a.mul(2).requiresGrad, true, 'gradients are recorded again');
});
