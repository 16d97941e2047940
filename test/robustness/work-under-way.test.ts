import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  backward,
  call,
  callAsync,
  GradCache,
  infoNCE,
  ModuleEncoder,
  noGrad,
  Tensor,
  type DType,
} from '../../lib/index.js';
import { fails } from './failures.js';

test('a gradient is neither read nor replaced while a backward adds to it', async () => {
  const leaf = Tensor.from(new Float32Array(1000));
  const other = Tensor.from([1]);
  leaf.requiresGrad = true;
  let root = leaf.sum();
  for (let k = 0; k < 20; k++) root = root.add(leaf.mul(k).sum());
  const middle = leaf.mul(1);
  call('aten::retain_grad', middle);
  const running = Promise.all([backward([root], [null]), backward([middle.sum()], [null])]);
  const early = fails('INPUT', /await/);
  for (const tensor of [leaf, middle]) {
    assert.throws(() => tensor.grad, early);
    assert.throws(() => (tensor.grad = Tensor.from(new Float32Array(1000))), early);
    assert.throws(() => (tensor.grad = null), early);
  }
  assert.throws(() => (leaf.requiresGrad = false), early);
  assert.equal(other.grad, null);
  await running;
  assert.equal(leaf.grad!.valuesSync()[0], 192);
  leaf.grad = null;
  const failing = backward([root], [Tensor.from([1], { shape: [], dtype: 'float64' })]).catch(
    () => undefined,
  );
  assert.throws(() => leaf.grad, early);
  await failing;
  assert.doesNotThrow(() => leaf.grad);
});

test('an operator that fails leaves the shapes of what it writes as they were', async () => {
  const far = 2 ** 46;
  const writes: [string, unknown[]][] = [
    ['aten::resize_', [[far]]],
    ['aten::resize_', [[2 ** 23, 2 ** 23]]],
    ['aten::resize_as_', [call('aten::expand', Tensor.from([1]), [far])]],
  ];
  const outs: [string, unknown[]][] = [
    ['aten::range.out', [0, 1e13]],
    ['aten::arange.start_out', [0, far]],
    ['aten::linspace.out', [0, 1, far]],
    ['aten::zeros.out', [[far]]],
    ['aten::neg.out', [call('aten::expand', Tensor.from([1]), [far])]],
    ['aten::add.out', [call('aten::expand', Tensor.from([1]), [far]), 1]],
  ];
  const failed = fails(['OUT_OF_MEMORY', 'OPERATOR']);
  const check = (tensor: Tensor) => {
    assert.deepEqual(tensor.shape, [2, 2]);
    assert.equal(tensor.sum().item(), 10);
  };
  for (const [name, args] of writes) {
    const tensor = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
    assert.throws(() => call(name, tensor, ...args), failed, name);
    check(tensor);
    await assert.rejects(callAsync(name, tensor, ...args), failed, name);
    check(tensor);
  }
  for (const [name, args] of outs) {
    const out = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
    assert.throws(() => call(name, ...args, { out }), failed, name);
    check(out);
  }
});

test('the memory of a tensor is not exchanged while work under way may be using it', async () => {
  const fresh = () => Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
  const [left, right, viewed, saved] = [fresh(), fresh(), fresh(), fresh()];
  const view = viewed.narrow(0, 0, 1);
  saved.requiresGrad = true;
  const root = saved.mul(saved).sum();
  const alias = saved.detach();
  const busy = call('aten::ones', [1200, 1200]); // what follows waits for this
  const running = [
    callAsync('aten::mm', busy, busy),
    callAsync('aten::mm', left, right),
    callAsync('aten::neg', view),
    backward([root], [null]),
  ];
  const early = fails('INPUT', /await/);
  for (const tensor of [left, right, viewed, alias]) {
    assert.throws(() => call('aten::resize_', tensor, [2 ** 20]), early);
    assert.throws(() => call('aten::set_', tensor), early);
    assert.throws(() => call('aten::t_', tensor), early);
    assert.throws(() => call('aten::zeros.out', [2 ** 20], { out: tensor }), early);
  }
  assert.throws(() => call('aten::detach_', saved), early);
  const own = fresh();
  call('aten::resize_', own, [8]).dispose(); // the result is another handle on the same tensor
  call('aten::zeros.out', [3], { out: own });
  call('aten::add_.Tensor', left, 1);
  await Promise.all(running);
  call('aten::resize_', left, [8]);
  call('aten::zeros.out', [3], { out: alias });
});

test('results go into tensors of their shape beside work, views and what has views alike', async () => {
  const weight = call('aten::full', [4, 4], 0.1);
  weight.requiresGrad = true;
  const buffer = call('aten::zeros', [32, 4]);
  const rows = call('aten::arange', 64, { dtype: 'float32' }).reshape([16, 4]);
  let forwards = 0;
  const writes: ((input: Tensor, out: Tensor) => unknown)[] = [
    (input, out) => call('aten::add.out', input, 1, { out }),
    (input, out) => call('aten::mul.out', input, input, { out }),
    (input, out) => call('aten::mm.out', input, weight, { out }),
    (input, out) => call('aten::cat.out', [input.narrow(1, 0, 2), input.narrow(1, 2, 2)], 1, { out }),
    (input, out) => call('aten::sum.IntList_out', input.reshape([1, ...input.shape]), [0], { out }),
    (_, out) => call('aten::squeeze_', out),
  ];
  const encoder = new ModuleEncoder({
    forward: (input: Tensor) => {
      const out = buffer.narrow(0, 0, input.shape[0]!);
      noGrad(() => writes.forEach((write) => write(input, out)));
      assert.deepEqual(out.valuesSync(), input.valuesSync());
      forwards++;
      return input.matmul(weight);
    },
    parameters: () => [{ name: 'weight', tensor: weight, decay: true }],
  });
  const cache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 4 } });
  const big = call('aten::ones', [1200, 1200]);
  const unrelated = callAsync('aten::mm', big, big);
  const { loss } = await cache.step([rows, rows]);
  assert.ok(Number.isFinite(loss));
  assert.ok(forwards >= 8);
  await unrelated;
  const running = callAsync('aten::mm', big, big);
  noGrad(() => call('aten::detach_', buffer));
  for (const shape of [
    [8, 4],
    [33, 4],
  ])
    assert.throws(
      () => call('aten::zeros.out', shape, { out: buffer.narrow(0, 0, 4) }),
      fails('INPUT', /await/),
    );
  await running;
});

test('results whose shape only the call itself tells go into tensors of their shape beside work', async () => {
  const busy = call('aten::ones', [1200, 1200]);
  const flags = Tensor.from([1, 0, 1], { dtype: 'bool' });
  const numbers = Tensor.from([3, 4, 5]);
  const float = { dtype: 'float32' } as const;
  const long = { dtype: 'int64' } as const;
  // The right shape and what is then there (null: drawn), and a wrong one.
  const results: readonly (readonly [string, unknown[], number[], DType, number[] | null])[] = [
    ['aten::nonzero.out', [flags], [2, 1], 'int64', [0, 2]],
    ['aten::masked_select.out', [numbers, flags], [2], 'float32', [3, 5]],
    ['aten::normal.float_float_out', [0, 1, [3]], [3], 'float32', null],
    ['aten::rand.out', [[3]], [3], 'float32', null],
    ['aten::randperm.out', [4], [4], 'int64', null],
    ['aten::bincount.out', [Tensor.from([1, 1, 2], long)], [3], 'int64', [0, 2, 1]],
    ['aten::repeat_interleave.Tensor_out', [Tensor.from([2, 0, 1], long)], [3], 'int64', [0, 0, 2]],
  ];
  for (const [name, args, shape, dtype, expected] of results) {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const make = (extents: number[]) => {
      const base = call('aten::full', extents, -7, { dtype });
      return { base, out: base.narrow(0, 0, extents[0]!) };
    };
    const running = callAsync('aten::mm', busy, busy);
    const right = make(shape);
    const result = call(name, ...args, { out: right.out });
    assert.deepEqual(result.shape, shape, name);
    const found = Array.from(right.base.valuesSync(), Number);
    assert.deepEqual(Array.from(result.valuesSync(), Number), found, name);
    if (expected === null) assert.ok(found.length === size && !found.includes(-7), name);
    else assert.deepEqual(found, expected, name);
    const wrong = make([size + 1, ...shape.slice(1)]);
    assert.throws(() => call(name, ...args, { out: wrong.out }), fails('INPUT', /await/), name);
    assert.ok(
      Array.from(wrong.base.valuesSync(), Number).every((value) => value === -7),
      name,
    );
    await running;
  }
  // What the operator itself refuses keeps its own error. Without memory, the last one divides by 0.
  const running = callAsync('aten::mm', busy, busy);
  const out = call('aten::zeros', [2], float);
  const view = out.narrow(0, 0, 2);
  assert.throws(() => call('aten::masked_select.out', numbers, numbers, { out: view }), fails('OPERATOR'));
  const outs = { out0: out.narrow(0, 0, 1), out1: out.narrow(0, 1, 1), out2: view };
  assert.throws(
    () => call('aten::native_group_norm.out', numbers.reshape([1, 3]), null, null, 1, 3, 1, 0, 1e-5, outs),
    fails('OPERATOR', /groups/),
  );
  out.requiresGrad = true;
  assert.throws(() => call('aten::normal.float_float_out', 0, 1, [2], { out }), fails('OPERATOR'));
  await running;
});
