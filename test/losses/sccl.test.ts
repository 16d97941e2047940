import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  GradCache,
  kMeans,
  sccl,
  targetDistribution,
  Tensor,
  type AnyEncoder,
  type LossOptions,
} from '../../lib/index.js';
import { assertClose, assertSameGradients } from '../oracle/compare.js';
import { clear, fullBatch, gradients, tenTexts, textEncoder, whole } from '../exactness/support.js';

const list = async (tensor: Tensor): Promise<number[]> => [...((await tensor.values()) as Float64Array)];

test('target rows sum to 1, as published; surer ones become surer', async () => {
  const q = [
    [0.7, 0.2, 0.1],
    [0.4, 0.35, 0.25],
    [0.1, 0.1, 0.8],
    [0.6, 0.3, 0.1],
  ];
  const sums = [0, 1, 2].map((k) => q.reduce((sum, row) => sum + row[k]!, 0));
  const expected = q.flatMap((row) => {
    const weights = row.map((value, k) => value ** 2 / sums[k]!);
    const total = weights.reduce((sum, value) => sum + value);
    return weights.map((value) => value / total);
  });
  const target = targetDistribution(Tensor.from(Float64Array.from(q.flat()), { shape: [4, 3] }));
  const found = await list(target);
  assertClose(found, expected, 1e-14, 'target');
  for (let row = 0; row < 4; row++)
    assert.ok(Math.abs(found.slice(3 * row, 3 * row + 3).reduce((sum, value) => sum + value) - 1) < 1e-12);
  assert.ok(found[8]! > 0.8);
});

/** The loss in plain operators on one graph, with the parameters of `loss`. */
function plain(
  parameters: readonly Tensor[],
  towers: number,
  { eta, share, degrees }: Record<string, number>,
) {
  const [w0, b0, w1, b1, centres] = parameters as [Tensor, Tensor, Tensor, Tensor, Tensor];
  return (...given: (Tensor & LossOptions)[]): Tensor => {
    const count = given[0]!.shape[0]!;
    const heads = given.slice(0, 2).map((view) => view.linear(w0, b0).relu().linear(w1, b1).normalize());
    const views: Tensor = call('aten::cat', heads, 0);
    const self: Tensor = call('aten::eye', 2 * count, { dtype: 'float64' });
    const scores = views.matmul(views.t()).div(0.5).sub(self.mul(1e9));
    const partner = Array.from({ length: 2 * count }, (_, row) => (row + count) % (2 * count));
    const contrast: Tensor = call(
      'aten::cross_entropy_loss',
      scores,
      Tensor.from(partner, { dtype: 'int64' }),
    );
    const rows = given[towers === 3 ? 2 : 0]!;
    const difference = rows.reshape([count, 1, -1]).sub(centres.reshape([1, centres.shape[0]!, -1]));
    const distances = difference.mul(difference).sum(2);
    const powers: Tensor = call(
      'aten::pow.Tensor_Scalar',
      distances.div(degrees!).add(1),
      -(degrees! + 1) / 2,
    );
    const q = powers.div(powers.sum(1).reshape([-1, 1]));
    const target = targetDistribution(q.detach());
    const divergence = target.mul(target.log().sub(q.log())).sum().div(count);
    return contrast.mul(eta!).add(divergence.mul(share!));
  };
}

for (const towers of [2, 3]) {
  test(`gradients of the joint loss are those of one graph: ${towers} towers`, async () => {
    const encoder = await textEncoder('float64');
    const encoders: AnyEncoder[] = Array.from({ length: towers }, () => encoder);
    const batches = Array.from({ length: towers }, (_, seed) => tenTexts(seed + 1));
    const centres = Tensor.from(
      Float64Array.from({ length: 3 * 24 }, (_, k) => Math.sin(2.3 * k)),
      { shape: [3, 24] },
    );
    const loss = sccl({ centres, width: 8, degrees: 2, eta: 3 });
    const own = loss.parameters();
    const share = towers === 2 ? 0.5 : 1;
    const expected = await fullBatch(
      encoders,
      batches.map((batch) => whole(encoder, batch)),
      (...given) =>
        plain(
          own.map(({ tensor }) => tensor),
          towers,
          { eta: 3, share, degrees: 2 },
        )(...(given as never[])),
    );
    const ofHeads = await Promise.all(own.map(async ({ tensor }) => list(tensor.grad!)));
    for (const { tensor } of own) tensor.grad = null;
    const gradcache = new GradCache({ encoders, loss, chunk: { sequences: 3 }, accumulate: 2 });
    const { loss: value } = await gradcache.step(batches);
    assertClose([value], [expected.loss], 1e-12, 'loss');
    const half = new Map(
      [...expected.gradients].map(([name, all]) => [name, Float64Array.from(all, (x) => x / 2)]),
    );
    assertSameGradients(await gradients([encoder]), half, 1e-10, 'encoder');
    for (const [place, { name, tensor }] of own.entries())
      assertClose(
        await list(tensor.grad!),
        ofHeads[place]!.map((x) => x / 2),
        1e-10,
        name,
      );
    assert.equal(gradcache.parameters().length, encoder.parameters().length + 5);
    clear([encoder]);
  });
}

test('clusters are probabilities; what does not fit is refused', async () => {
  const rows = Tensor.from(Float64Array.from([0, 0, 0.1, 0, 5, 5, 5, 5.1]), { shape: [4, 2] });
  const { centres } = await kMeans(rows, 2);
  const loss = sccl({ centres, width: 4 });
  const q = await list(loss.clusters(rows));
  for (let row = 0; row < 4; row++) assert.ok(Math.abs(q[2 * row]! + q[2 * row + 1]! - 1) < 1e-12);
  const side = Number(q[1]! > q[0]!);
  assert.ok(q[side]! > 0.9 && q[4 + side]! < 0.1);
  for (const options of [
    {},
    { centres: 3 },
    { centres, eta: -1 },
    { centres, degrees: 0 },
    { centres, temperature: 0 },
  ])
    assert.throws(() => sccl(options as never), { code: 'INPUT' });
  assert.throws(() => sccl({ centres: rows.reshape([-1]) }), { code: 'SHAPE' });
  await assert.rejects(loss.compute([rows], 1, {}), {
    code: 'SHAPE',
    message: /two or three towers \[rows, 2\]/,
  });
  await assert.rejects(loss.compute([rows, rows.narrow(0, 0, 3)], 1, {}), { code: 'SHAPE' });
  await assert.rejects(loss.compute([rows, rows], 1, { labels: [] }), { code: 'INPUT' });
});
