import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, crossBatchMemory, pairWeighting, Tensor, type LossOptions } from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { assertClose } from '../oracle/compare.js';

function vectors(count: number, seed: number): number[][] {
  return Array.from({ length: count }, (_, row) =>
    Array.from({ length: 3 }, (_, column) => Math.sin(1.3 * row * seed + 2.1 * column + seed)),
  );
}

const tensor = (of: readonly number[][]): Tensor =>
  Tensor.from(Float64Array.from(of.flat()), { shape: [of.length, of[0]!.length] });

const list = async (of: Tensor): Promise<number[]> => [...((await of.values()) as Float64Array)];

const cosine = (a: readonly number[], b: readonly number[]): number => {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, k) => sum + value * y[k]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

/** The contrastive loss pair by pair: anchors against candidates, without those that `self` names. */
function contrastive(
  anchors: readonly number[][],
  labels: readonly number[],
  candidates: readonly number[][],
  classes: readonly number[],
  self: (anchor: number, candidate: number) => boolean,
): number {
  let sum = 0;
  for (const [i, anchor] of anchors.entries())
    for (const [j, candidate] of candidates.entries()) {
      if (self(i, j)) continue;
      const s = cosine(anchor, candidate);
      sum += labels[i] === classes[j] ? 1 - s : s > 0.5 ? s : 0;
    }
  return sum / anchors.length;
}

test('with a memory, the loss is that of the batch plus that of the batch against the memory', async () => {
  const memory = crossBatchMemory(pairWeighting(), { capacity: 7 });
  let [kept, classes]: [number[][], number[]] = [[], []];
  for (const [step, count] of [5, 4, 6].entries()) {
    const batch = vectors(count, step + 1);
    const labels = batch.map((_, row) => (row + step) % 3);
    const { loss } = await memory.compute([tensor(batch)], 1, { labels });
    const own = contrastive(batch, labels, batch, labels, (i, j) => i === j);
    const against = contrastive(batch, labels, kept, classes, () => false);
    assertClose([loss], [own + against], 1e-12, `step ${step}`);
    [kept, classes] = [[...kept, ...batch].slice(-7), [...classes, ...labels].slice(-7)];
  }
});

test('a memory of the batch itself, self-pairs removed, has the loss of the batch', async () => {
  const batch = vectors(6, 2);
  const labels = [0, 0, 1, 1, 2, 0];
  const ids = batch.map((_, row) => row);
  const memory = crossBatchMemory(pairWeighting(), { capacity: 6 });
  const expected = contrastive(batch, labels, batch, labels, (i, j) => i === j);
  for (let step = 0; step < 2; step++) {
    const { loss, gradients } = await memory.compute([tensor(batch)], 1, { labels, ids });
    assertClose([loss], [expected], 1e-12, `step ${step}`);
    const alone = await withGradients(pairWeighting()).compute([tensor(batch)], 1, { labels });
    assert.deepEqual(await list(gradients[0]!), await list(alone.gradients[0]!));
  }
  const again = crossBatchMemory(pairWeighting(), { capacity: 6 });
  again.loadState(await memory.state());
  // A row of label 0 alone in its class, and label 0 last: neither is taken for an empty place.
  const against = contrastive(vectors(1, 5), [0], batch, labels, () => false);
  for (const each of [memory, again]) {
    const { loss } = await each.compute([tensor(vectors(1, 5))], 1, { labels: [0] });
    assertClose([loss], [against], 1e-12, 'label 0');
  }
});

test('weights are the slopes: those of multi-similarity give its gradient', async () => {
  // Wang et al. 2019, without mining: log(1 + sum exp(-2 (s - 0.5))) / 2 + log(1 + sum exp(40 (s - 0.5))) / 40.
  const soft = (cosines: Tensor, among: Tensor, rate: number): Tensor => {
    const terms = cosines.sub(0.5).mul(rate).exp().mul(among);
    return terms.div(call<Tensor>('aten::sum.dim_IntList', terms, [1], true).add(1));
  };
  const weighted = pairWeighting({
    positive: (cosines, among) => soft(cosines, among, -2),
    negative: (cosines, among) => soft(cosines, among, 40),
  });
  const labels = [0, 1, 0, 2, 1, 0, 2];
  const masks = (same: boolean) =>
    tensor(labels.map((a, i) => labels.map((b, j) => Number(i !== j && (a === b) === same))));
  const multiSimilarity = (...[x]: (Tensor & LossOptions)[]) => {
    const unit = x!.normalize();
    const cosines = unit.matmul(unit.t()).sub(0.5);
    const part = (rate: number, mask: Tensor) =>
      cosines.mul(rate).exp().mul(mask).sum(1).add(1).log().div(Math.abs(rate)).sum();
    return part(-2, masks(true))
      .add(part(40, masks(false)))
      .div(labels.length);
  };
  const batch = tensor(vectors(7, 3));
  const expected = await withGradients(multiSimilarity).compute([batch], 1, {});
  const ours = await withGradients(weighted).compute([batch], 1, { labels });
  assertClose(await list(ours.gradients[0]!), await list(expected.gradients[0]!), 1e-10, 'gradient');
});

test('labels that do not fit are refused', async () => {
  const loss = withGradients(pairWeighting());
  const batch = [tensor(vectors(3, 1))];
  for (const [options, code] of [
    [{}, 'INPUT'],
    [{ labels: [1, 2] }, 'SHAPE'],
    [{ labels: [1, 2, NaN] }, 'INPUT'],
    [{ labels: 'abc' }, 'INPUT'],
    [{ labels: [1, 2, 3], margin: 1 }, 'INPUT'],
  ] as const)
    await assert.rejects(loss.compute(batch, 1, options), { code }, JSON.stringify(options));
  assert.throws(() => pairWeighting({ positive: 1 } as never), { code: 'INPUT' });
});
