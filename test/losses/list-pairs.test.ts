import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  adrMSE,
  lambdaLoss,
  memory,
  rankNet,
  resetPeakMemory,
  Tensor,
  type LossWithGradients,
} from '../../lib/index.js';
import { collectGarbage } from '../collect-garbage.js';
import { Random } from '../../lib/data/random.js';

interface Batch {
  readonly scores: Float64Array;
  readonly labels: readonly number[];
  readonly lists: readonly number[];
}

/** Lists of so many documents. */
function batchOf(lists: readonly number[], seed: number): Batch {
  const random = new Random(seed);
  const count = lists.reduce((sum, length) => sum + length, 0);
  return {
    scores: Float64Array.from({ length: count }, () => 4 * random.uniform() - 2),
    labels: Array.from({ length: count }, () => random.below(4)),
    lists,
  };
}

interface Plain {
  readonly loss: number;
  readonly gradient: Float64Array;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** Every list's scores and labels, with the number of its first document. */
function* listsOf({ scores, labels, lists }: Batch) {
  let begin = 0;
  for (const length of lists) {
    yield {
      begin,
      scores: scores.subarray(begin, begin + length),
      labels: labels.slice(begin, begin + length),
    };
    begin += length;
  }
}

/** LambdaLoss with the weights of nDCG2++, or without weights, pair by pair. */
function plainLambda(batch: Batch, weighted: boolean): Plain {
  const gradient = new Float64Array(batch.scores.length);
  let [total, pairs] = [0, 0];
  for (const { begin, scores, labels } of listsOf(batch)) {
    const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]!);
    const inverse = Array.from({ length: order.length + 2 }, (_, rank) => 1 / Math.log2(1 + rank));
    const gains = labels.map((label) => 2 ** label - 1);
    const best = [...gains].sort((a, b) => b - a);
    const ideal = best.reduce((sum, gain, place) => sum + gain * inverse[place + 1]!, 0);
    for (const [rank, i] of order.entries())
      for (const [other, j] of order.entries()) {
        if (labels[i]! <= labels[j]!) continue;
        const distance = Math.abs(rank - other);
        const apart = Math.abs(gains[i]! - gains[j]!) / ideal;
        const ofDistance = Math.abs(inverse[distance]! - inverse[distance + 1]!);
        const weight = weighted
          ? apart * (10 * ofDistance + Math.abs(inverse[rank + 1]! - inverse[other + 1]!))
          : 1;
        const likelihood = sigmoid(scores[i]! - scores[j]!);
        total -= weight * Math.log(likelihood);
        gradient[begin + i]! -= weight * (1 - likelihood);
        gradient[begin + j]! += weight * (1 - likelihood);
        pairs++;
      }
  }
  const divisor = pairs * Math.LN2;
  return { loss: total / divisor, gradient: gradient.map((each) => each / divisor) };
}

function plainRanks(batch: Batch): Plain {
  const gradient = new Float64Array(batch.scores.length);
  let total = 0;
  for (const { begin, scores, labels } of listsOf(batch))
    for (const i of scores.keys()) {
      const higher = labels.filter((label) => label > labels[i]!).length;
      const equal = labels.filter((label) => label === labels[i]!).length;
      const rank = higher + (equal + 1) / 2;
      let estimated = 0.5;
      for (const j of scores.keys()) estimated += sigmoid(scores[j]! - scores[i]!);
      const share = 1 / Math.log2(rank + 1);
      total += (rank - estimated) ** 2 * share;
      for (const j of scores.keys()) {
        const ahead = sigmoid(scores[j]! - scores[i]!);
        const slope = -2 * (rank - estimated) * share * ahead * (1 - ahead);
        gradient[begin + j]! += slope;
        gradient[begin + i]! -= slope;
      }
    }
  const count = batch.scores.length;
  return { loss: total / count, gradient: gradient.map((each) => each / count) };
}

const LOSSES: Record<string, [() => LossWithGradients, (batch: Batch) => Plain]> = {
  lambdaLoss: [() => lambdaLoss(), (batch) => plainLambda(batch, true)],
  rankNet: [() => rankNet(), (batch) => plainLambda(batch, false)],
  adrMSE: [() => adrMSE(), plainRanks],
};

const near = (found: ArrayLike<number>, wanted: ArrayLike<number>, what: string): void => {
  const most = Array.from(wanted).reduce((size, each) => Math.max(size, Math.abs(each)), 0);
  for (let k = 0; k < wanted.length; k++)
    assert.ok(Math.abs(found[k]! - wanted[k]!) <= 1e-10 * most, `${what}, ${k}: ${found[k]}, ${wanted[k]}`);
};

test('tiles of long lists, and of many short ones, have the value and the gradient of all pairs', async () => {
  const short = Array.from({ length: 320 }, (_, query) => 1 + ((query * 7) % 60));
  for (const [what, lists] of Object.entries({ long: [1050, 3], short }))
    for (const [name, [make, plain]] of Object.entries(LOSSES)) {
      const batch = batchOf(lists, 5);
      const logits = Tensor.from(batch.scores, { shape: [batch.scores.length, 1] });
      const options = { lists, labels: [...batch.labels] };
      const wanted = plain(batch);
      const { loss, gradients } = await make().compute([logits], 0.5, options);
      near([loss], [wanted.loss], `${name}, ${what}`);
      const found = (await gradients[0]!.values()) as Float64Array;
      near(
        found,
        wanted.gradient.map((each) => each / 2),
        `${name}, ${what}`,
      );
      assert.equal(await make().value!([logits], options), loss);
    }
});

test('pairs of documents are never held all at once', async () => {
  const MIB = 2 ** 20;
  const batch = batchOf([3000], 3); // 34 MiB for one number of each pair
  const logits = Tensor.from(Float32Array.from(batch.scores), { shape: [3000, 1] });
  for (const [name, [make]] of Object.entries(LOSSES)) {
    const options = { lists: [3000], labels: [...batch.labels] };
    await make().compute([logits], 1, options); // the first time takes memory for good, of code and threads
    collectGarbage();
    resetPeakMemory('cpu');
    const before = memory('cpu').allocated;
    await make().compute([logits], 1, options);
    const peak = (memory('cpu').peak - before) / MIB;
    assert.ok(peak < 90, `${name}: ${peak.toFixed(0)} MiB`);
  }
});
