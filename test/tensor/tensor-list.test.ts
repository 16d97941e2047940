import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdamW, callAsync, RAdam, Tensor } from '../../lib/index.js';
import { forAlike, TensorList, withPlaces } from '../../lib/tensor/tensor-list.js';
import { device, textEncoder } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

const tensor = (values: readonly number[], dtype: 'float32' | 'float64' = 'float32') =>
  Tensor.from(values, { dtype, device });

test('an operator takes a list in place of an array', async () => {
  const [one, two] = [tensor([1, 2]), tensor([3])];
  const list = TensorList.of([one, two]);
  await callAsync('aten::_foreach_mul_.Scalar', list, 2);
  const [sum] = await callAsync<Tensor[]>('aten::_foreach_add.List', list.select(Int32Array.of(1)), [two]);
  assert.deepEqual(
    [one, sum!].map((each) => [...each.valuesSync()].map(Number)),
    [[2, 4], [12]],
  );
  await assert.rejects(callAsync('aten::add.Tensor', list, 1), fails('DTYPE', /must be a Tensor/));
  list.dispose();
  await assert.rejects(callAsync('aten::_foreach_zero_', list), fails('DISPOSED', /list of tensors/));
});

test('a list tells which tensors have a gradient, are alike, and are not zero', async () => {
  const tensors = [tensor([0, 0]), tensor([3], 'float64'), tensor([0, 4]), tensor([NaN])];
  const list = TensorList.of(tensors);
  assert.deepEqual(await list.anyNonZero(), [false, true, true, true]);
  assert.deepEqual(
    list.alike().map((places) => [...places]),
    [[0, 2, 3], [1]],
  );
  assert.deepEqual(
    list.alike(Int32Array.of(5, 6, 6, 5)).map((places) => [...places]),
    [[0, 3], [1], [2]],
  );
  for (const place of [2, 1]) {
    tensors[place]!.requiresGrad = true;
    tensors[place]!.grad = tensors[place]!.detach();
  }
  const { places, gradients } = list.gradients();
  assert.deepEqual([...places], [1, 2]);
  const norms: number[] = [];
  await forAlike(gradients, async (part) => norms.push(await part.norm()));
  assert.deepEqual(norms, [3, 4]);
  await assert.rejects(TensorList.of([]).norm(), fails('INPUT', /no norm/));
  assert.throws(() => list.select(Int32Array.of(4)), fails('INPUT', /place 4 /));
  assert.throws(() => list.alike(Int32Array.of(1)), fails('INPUT', /1 keys for 4 tensors/));
});

test('parts of lists are freed when their use ends, also where it fails', async () => {
  const list = TensorList.of([tensor([1]), tensor([2])]);
  const parts: TensorList[] = [];
  const use = async (...given: TensorList[]) => {
    parts.push(...given);
    return Promise.reject(new Error('as if'));
  };
  await assert.rejects(withPlaces([list, list], Int32Array.of(1), use), /as if/);
  assert.deepEqual(
    parts.map(({ length }) => length),
    [0, 0],
  );
  assert.equal(list.length, 2);
});

for (const Optimizer of [AdamW, RAdam]) {
  test(`an update by ${Optimizer.name} asks none of its parameters for anything`, async (t) => {
    const encoder = await textEncoder('float32');
    const optimizer = new Optimizer(encoder.parameters(), { lr: 0.1, maxGradNorm: 1 });
    await optimizer.step();
    const asked = (['grad', 'device', 'dtype', 'shape'] as const).map((name) =>
      t.mock.getter(Tensor.prototype, name),
    );
    await optimizer.step();
    // RAdam reads its counts of updates, in one tensor.
    const most = Optimizer === AdamW ? 0 : 3;
    assert.ok(asked.reduce((sum, { mock }) => sum + mock.callCount(), 0) <= most);
  });
}
