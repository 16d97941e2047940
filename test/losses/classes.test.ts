import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  GradCache,
  multiSimilarity,
  ntXent,
  supCon,
  Tensor,
  type Loss,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import { tenTexts, textEncoder } from '../exactness/support.js';
import { assertLikeTwin, rowsOf } from './twins.js';

/** What a plain loss of rows with classes computes from: cosines, and which pairs are of one class or of different ones. */
interface Compared {
  readonly cosines: Tensor;
  readonly same: Tensor;
  readonly different: Tensor;
  /** 1 for pairs of a row with itself. */
  readonly self: Tensor;
}

/** A loss of all rows of all towers, in plain operators on all scores. */
function plain(classes: readonly number[], loss: (compared: Compared) => Tensor): Loss {
  return (...given: (Tensor & LossOptions)[]) => {
    const rows = call<Tensor>('aten::cat', given.slice(0, -1), 0).normalize();
    const count = rows.shape[0]!;
    const matrix = (of: (row: number, column: number) => boolean) =>
      Tensor.from(
        Float64Array.from({ length: count * count }, (_, k) =>
          of(Math.floor(k / count), k % count) ? 1 : 0,
        ),
        { shape: [count, count] },
      );
    return loss({
      cosines: rows.matmul(rows.t()),
      same: matrix((a, b) => a !== b && classes[a] === classes[b]),
      different: matrix((a, b) => classes[a] !== classes[b]),
      self: matrix((a, b) => a === b),
    });
  };
}

/** 1 - among, times a number so low that its exponential is 0. */
const without = (among: Tensor): Tensor => among.neg().add(1).mul(-1e9);

const plainSupCon =
  (temperature: number) =>
  ({ cosines, same, self }: Compared): Tensor => {
    const scores = cosines.div(temperature);
    const counts = same.sum(1);
    const means = scores
      .mul(same)
      .sum(1)
      .div(call<Tensor>('aten::clamp_min', counts, 1));
    const losses = scores.sub(self.mul(1e9)).logsumexp(1).sub(means);
    const has = call<Tensor>('aten::gt.Scalar', counts, 0).to({ dtype: 'float64' });
    const counted = call<Tensor>('aten::gt.Scalar', losses.mul(has), 0).to({ dtype: 'float64' });
    return losses
      .mul(counted)
      .sum()
      .div(call<Tensor>('aten::clamp_min', counted.sum(), 1));
  };

const plainMultiSimilarity =
  ({
    alpha = 2,
    beta = 50,
    base = 0.5,
    epsilon,
  }: {
    alpha?: number;
    beta?: number;
    base?: number;
    epsilon?: number;
  }) =>
  ({ cosines, same, different }: Compared): Tensor => {
    let [positives, negatives] = [same, different];
    if (epsilon !== undefined) {
      const farthest = call<Tensor>('aten::amin', cosines.add(without(same).neg()), [1], true);
      const nearest = call<Tensor>('aten::amax', cosines.add(without(different)), [1], true);
      const number = (truth: Tensor) => truth.to({ dtype: 'float64' });
      positives = positives.mul(number(call('aten::lt.Tensor', cosines, nearest.add(epsilon))));
      negatives = negatives.mul(number(call('aten::gt.Tensor', cosines, farthest.sub(epsilon))));
    }
    const zero = (exponents: Tensor): Tensor =>
      call<Tensor>(
        'aten::cat',
        [call<Tensor>('aten::zeros', [exponents.shape[0]!, 1], { dtype: 'float64' }), exponents],
        1,
      ).logsumexp(1);
    const drawn = zero(cosines.sub(base).mul(-alpha).add(without(positives)));
    const pushed = zero(cosines.sub(base).mul(beta).add(without(negatives)));
    return drawn.div(alpha).add(pushed.div(beta)).mean();
  };

const plainNTXent =
  (temperature: number) =>
  ({ cosines, same, different }: Compared): Tensor => {
    const scores = cosines.div(temperature);
    const negatives = scores.add(without(different)).logsumexp(1).reshape([-1, 1]);
    const losses = call<Tensor>('aten::logaddexp', scores, negatives).sub(scores).mul(same);
    return losses.sum().div(call<Tensor>('aten::clamp_min', same.sum(), 1));
  };

const LOSSES: [string, LossWithGradients, (compared: Compared) => Tensor][] = [
  ['supCon', supCon(), plainSupCon(0.1)],
  ['supCon, sharp', supCon({ temperature: 0.001 }), plainSupCon(0.001)],
  ['supCon, flat', supCon({ temperature: 100 }), plainSupCon(100)],
  ['multiSimilarity', multiSimilarity(), plainMultiSimilarity({})],
  [
    'multiSimilarity, mined',
    multiSimilarity({ alpha: 3, beta: 20, base: 0.2, epsilon: 0.1 }),
    plainMultiSimilarity({ alpha: 3, beta: 20, base: 0.2, epsilon: 0.1 }),
  ],
  ['ntXent of classes', ntXent({ temperature: 0.07 }), plainNTXent(0.07)],
  ['ntXent of classes, sharp', ntXent({ temperature: 0.001 }), plainNTXent(0.001)],
  ['ntXent of classes, flat', ntXent({ temperature: 100 }), plainNTXent(100)],
];

const same = (count: number) => Array.from({ length: count }, () => rowsOf(1, 5, 3)[0]!);
const BATCHES: [string, number[][][], number[]][] = [
  ['one tower', [rowsOf(19, 7, 1)], Array.from({ length: 19 }, (_, k) => k % 4)],
  [
    'towers of different lengths',
    [rowsOf(5, 7, 1), rowsOf(9, 7, 2)],
    Array.from({ length: 14 }, (_, k) => k % 3),
  ],
  ['a class for each row', [rowsOf(6, 5, 1)], [0, 1, 2, 3, 4, 5]],
  ['some rows alone', [rowsOf(6, 5, 1)], [7, 7, 2, -1, 2.5, 7]],
  ['one class', [rowsOf(6, 5, 1)], [1, 1, 1, 1, 1, 1]],
  ['one row', [rowsOf(1, 5, 1)], [0]],
  ['two rows', [rowsOf(1, 5, 1), rowsOf(1, 5, 2)], [3, 3]],
  ['identical rows', [same(6)], [0, 0, 1, 1, 2, 2]],
  ['several tiles', [rowsOf(530, 3, 1), rowsOf(41, 3, 2)], Array.from({ length: 571 }, (_, k) => k % 90)],
];

for (const [name, loss, twin] of LOSSES) {
  test(`${name}: value and gradients are those of plain operators on all scores`, async () => {
    for (const [what, towers, labels] of BATCHES)
      await assertLikeTwin(loss, plain(labels, twin), towers, { labels }, what);
  });
}

test('towers that are views of one batch share its labels', async () => {
  const towers = [rowsOf(6, 5, 1), rowsOf(6, 5, 2), rowsOf(4, 5, 3)];
  const labels = [0, 0, 1, 1, 2, 3];
  for (const [name, loss, twin] of LOSSES) {
    const two = plain([...labels, ...labels], twin);
    await assertLikeTwin(loss, two, towers.slice(0, 2), { labels }, `${name}, two views`);
    const further = [...labels, 1, 5, 5, 0];
    const three = plain([...labels, ...further], twin);
    await assertLikeTwin(loss, three, towers, { labels: further }, `${name}, two views and others`);
  }
});

test('a learned temperature has the slope of finite differences', async () => {
  const towers = [rowsOf(12, 4, 1)].map((rows) =>
    Tensor.from(Float64Array.from(rows.flat()), { shape: [12, 4] }),
  );
  const labels = Array.from({ length: 12 }, (_, k) => k % 3);
  for (const make of [supCon, ntXent]) {
    const loss = make({ temperature: { initial: 0.3, learned: true } });
    await loss.compute(towers, 1, { labels });
    const slope = loss.parameters()[0]!.tensor.grad!.item();
    const at = async (shift: number) =>
      (await make({ temperature: 0.3 * Math.exp(-shift) }).compute(towers, 1, { labels })).loss;
    const difference = ((await at(1e-5)) - (await at(-1e-5))) / 2e-5;
    assert.ok(Math.abs(slope - difference) < 1e-7 * Math.abs(slope) + 1e-9, `${slope} for ${difference}`);
  }
});

test('what does not fit is refused, labels by the step', async () => {
  for (const [make, options] of [
    [supCon, { temperature: 0 }],
    [supCon, { similarity: 'euclidean' }],
    [supCon, { scale: 3 }],
    [multiSimilarity, { alpha: 0 }],
    [multiSimilarity, { beta: -1 }],
    [multiSimilarity, { base: NaN }],
    [multiSimilarity, { epsilon: '0.1' }],
  ] as const)
    assert.throws(() => (make as (options: unknown) => unknown)(options), { code: 'INPUT' });
  const encoder = await textEncoder('float32');
  const refusals: [LossOptions, object][] = [
    [{}, { code: 'INPUT', message: /needs the class of each row/ }],
    [
      { labels: [1, 2] },
      { code: 'SHAPE', message: /2 labels for towers of 10, 10 rows; 10 or 20 are needed/ },
    ],
    [{ labels: 'abc' }, { code: 'INPUT', message: /labels is "abc"; a list/ }],
    [{ labels: Array.from({ length: 10 }, () => 'a') }, { code: 'INPUT', message: /labels\[0\] is "a"/ }],
    [{ labels: Array.from({ length: 10 }, () => NaN) }, { code: 'INPUT', message: /labels\[0\] is NaN/ }],
    [
      { labels: Array.from({ length: 10 }, () => 1), targets: [1] },
      { code: 'INPUT', message: /targets/ },
    ],
  ];
  for (const loss of [supCon(), multiSimilarity()]) {
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss });
    for (const [given, error] of refusals) {
      const phases: string[] = [];
      const step = gradcache.step([tenTexts(1), tenTexts(2)], {
        loss: given,
        onProgress: ({ phase }) => phases.push(phase),
      });
      await assert.rejects(step, error);
      assert.deepEqual(phases, [], 'before anything is encoded');
    }
  }
});
