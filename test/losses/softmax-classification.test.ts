import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import { call, softmaxClassification } from '../../lib/index.js';
import { assertLikeTwin, assertNear, rowsOf, tensorOf, towersOf } from './twins.js';

test('it is the cross-entropy of a linear layer over u, v, |u - v| and u * v', async () => {
  for (const { what, towers } of towersOf(2))
    for (const [representations, difference, product] of [
      [true, true, false],
      [false, true, true],
      [true, false, false],
    ] as const) {
      const dimension = towers[0]![0]!.length;
      const labels = towers[0]!.map((_, row) => row % 3);
      const parts = { representations, difference, product };
      const loss = softmaxClassification({ dimension, classes: 3, dtype: 'float64', ...parts });
      const [weight, bias] = loss.parameters().map(({ tensor }) => tensor.detach());
      const twin = (u: Tensor, v: Tensor): Tensor => {
        const seen = [
          ...(representations ? [u, v] : []),
          ...(difference ? [call<Tensor>('aten::abs', u.sub(v))] : []),
          ...(product ? [u.mul(v)] : []),
        ];
        const scores = call<Tensor>('aten::cat', seen, 1).matmul(weight!.t()).add(bias!);
        const chosen = tensorOf(labels.map((label) => [0, 1, 2].map((k) => Number(k === label))));
        return scores.logsumexp(1).sub(scores.mul(chosen).sum(1)).mean();
      };
      await assertLikeTwin(loss, twin, towers, { labels }, `${what}, ${JSON.stringify(parts)}`);
    }
});

test("the layer is the loss's own, begins as its seed says, and its gradients add up", async () => {
  const make = (seed: number) => softmaxClassification({ dimension: 4, classes: 2, seed, dtype: 'float64' });
  const values = async (seed: number) => (await make(seed).parameters()[0]!.tensor.values()) as Float64Array;
  assert.deepEqual(await values(1), await values(1));
  assert.notDeepEqual(await values(1), await values(2));
  const loss = make(1);
  const [weight] = loss.parameters();
  assert.deepEqual(
    loss.parameters().map(({ name, decay }) => [name, decay]),
    [
      ['loss.classifier.weight', true],
      ['loss.classifier.bias', false],
    ],
  );
  const step = () => loss.compute([rowsOf(3, 4, 1), rowsOf(3, 4, 2)].map(tensorOf), 1, { labels: [0, 1, 1] });
  await step();
  const once = Float64Array.from((await weight!.tensor.grad!.values()) as Float64Array);
  const { undo } = await step();
  assertNear(
    (await weight!.tensor.grad!.values()) as Float64Array,
    once.map((value) => 2 * value),
    1e-12,
    'twice',
  );
  undo!.restore();
  assertNear((await weight!.tensor.grad!.values()) as Float64Array, once, 1e-12, 'undone');
});

test('classes and options that do not fit are refused with what would', () => {
  const loss = softmaxClassification({ dimension: 4, classes: 3 });
  for (const wrong of [3, -1, 0.5])
    assert.throws(() => loss.checkOptions!({ labels: [0, wrong] }, [2, 2]), {
      code: 'INPUT',
      message: `labels[1] is ${wrong}; a whole number from 0 to 2 is needed.`,
    });
  assert.throws(
    () => softmaxClassification({ dimension: 4, classes: 3, representations: false, difference: false }),
    {
      code: 'INPUT',
      message: /gives its classifier nothing: representations, difference or product must be true/,
    },
  );
  assert.throws(() => softmaxClassification({ dimension: 4 } as never), {
    code: 'INPUT',
    message: /^classes is undefined/,
  });
});
