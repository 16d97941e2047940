import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, ntXent, Tensor, type LossOptions } from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { assertClose } from '../oracle/compare.js';

function rows(count: number, dimension: number, seed: number): Tensor {
  const values = Float64Array.from({ length: count * dimension }, (_, i) => Math.sin(i * 1.7 + seed * i * i));
  return Tensor.from(values, { shape: [count, dimension] });
}

/** The loss in plain operators, with all scores at once. */
function plain(count: number, temperature: number, cosine: boolean) {
  return (...given: (Tensor & LossOptions)[]): Tensor => {
    const towers = given.slice(0, -1).map((tower) => (cosine ? tower.normalize() : tower));
    const views: Tensor = call('aten::cat', towers.slice(0, 2), 0);
    const all: Tensor = call('aten::cat', towers, 0);
    const self: Tensor = call('aten::eye.m', 2 * count, all.shape[0], { dtype: 'float64' });
    const scores = views.matmul(all.t()).div(temperature);
    const partner = Array.from({ length: 2 * count }, (_, row) => (row + count) % (2 * count));
    return call(
      'aten::cross_entropy_loss',
      scores.sub(self.mul(1e9)),
      Tensor.from(partner, { dtype: 'int64' }),
    );
  };
}

test('value and gradients are those of plain operators on all scores', async () => {
  for (const [title, count, temperature, similarity, further] of [
    ['several tiles', 420, 0.5, 'cosine', 0],
    ['dot product', 30, 2, 'dot', 0],
    ['further candidates', 11, 0.1, 'cosine', 5],
    ['two views', 1, 0.5, 'cosine', 0],
  ] as const) {
    const towers = [rows(count, 9, 1), rows(count, 9, 2), ...(further > 0 ? [rows(further, 9, 3)] : [])];
    const expected = await withGradients(plain(count, temperature, similarity === 'cosine')).compute(
      towers,
      0.5,
      {},
    );
    const ours = await ntXent({ temperature, similarity }).compute(towers, 0.5, {});
    if (count === 1) assert.ok(Math.abs(ours.loss) < 1e-12, 'a view has no other to be told from');
    else assertClose([ours.loss], [expected.loss], 1e-12, title);
    for (const [tower, gradient] of expected.gradients.entries()) {
      const values = (await ours.gradients[tower]!.values()) as Float64Array;
      if (count === 1) assert.ok(values.every((value) => Math.abs(value) < 1e-12));
      else assertClose(values, (await gradient!.values()) as Float64Array, 1e-10, `${title}, ${tower}`);
    }
  }
});

test('a learned temperature has the slope of finite differences: left-out scores add nothing to it', async () => {
  const towers = [rows(12, 4, 1), rows(12, 4, 2)];
  const loss = ntXent({ temperature: { initial: 0.3, learned: true } });
  await loss.compute(towers, 1, {});
  const slope = loss.parameters()[0]!.tensor.grad!.item();
  const at = async (shift: number) =>
    (await ntXent({ temperature: 0.3 * Math.exp(-shift) }).compute(towers, 1, {})).loss;
  const difference = ((await at(1e-5)) - (await at(-1e-5))) / 2e-5;
  assert.ok(Math.abs(slope - difference) < 1e-8 * Math.abs(slope) + 1e-9, `${slope} for ${difference}`);
});

test('what does not fit is refused', async () => {
  for (const options of [{ temperature: 0 }, { similarity: 'euclidean' }, { symmetric: true }])
    assert.throws(() => ntXent(options as never), { code: 'INPUT' });
  const refusals: [Tensor[], LossOptions, object][] = [
    [[rows(3, 2, 1)], {}, { code: 'SHAPE', message: /no second views/ }],
    [[rows(3, 2, 1), rows(2, 2, 1)], {}, { code: 'SHAPE', message: /3 first views and 2 second views/ }],
    [[rows(3, 2, 1), rows(3, 2, 1).to({ dtype: 'float32' })], {}, { code: 'DTYPE' }],
    [[rows(3, 2, 1), rows(3, 2, 1)], { targets: [0, 1, 2] }, { code: 'INPUT' }],
  ];
  for (const [towers, options, error] of refusals)
    await assert.rejects(ntXent().compute(towers, 1, options), error);
});
