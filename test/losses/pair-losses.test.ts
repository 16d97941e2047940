import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  adrMSE,
  backward,
  binaryCrossEntropy,
  call,
  crossEncoderRanking,
  crossEntropy,
  lambdaLoss,
  listMLE,
  listNet,
  pListMLE,
  rankNet,
  scoreMarginMSE,
  scoreMSE,
  Tensor,
  type LambdaWeighting,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { Random } from '../../lib/data/random.js';

/** A plain loss of one query's scores [n], summed over queries and divided by `divisor`. */
type Twin = (scores: Tensor, labels: readonly number[]) => Tensor;

const vector = (values: readonly number[]): Tensor => Tensor.from(Float64Array.from(values));
const at = (scores: Tensor, place: number): Tensor => scores.narrow(0, place, 1);
const sum = (terms: readonly Tensor[]): Tensor => terms.reduce((all, term) => all.add(term), vector([0]));
const logSigmoid = (x: Tensor): Tensor => call('aten::log_sigmoid', x);

/** The places of documents by score, the best first. */
const byScore = (scores: Tensor): number[] => {
  const values = scores.detach().valuesSync() as Float64Array;
  return Array.from(values, (_, place) => place).sort((a, b) => values[b]! - values[a]!);
};

function lambdaTwin(weighting: LambdaWeighting, k = Infinity, sigma = 1): [Twin, (lists: Lists) => number] {
  const compared = (labels: readonly number[], order: readonly number[]) =>
    order.flatMap((i, rank) =>
      order.flatMap((j, other) =>
        (weighting === 'ndcg1' || labels[i]! > labels[j]!) && Math.min(rank, other) < k
          ? [{ i, j, rank: rank + 1, other: other + 1 }]
          : [],
      ),
    );
  const twin: Twin = (scores, labels) => {
    const gain = (place: number) => 2 ** Math.max(0, labels[place]!) - 1;
    const best = labels.map((_, place) => gain(place)).sort((a, b) => b - a);
    const ideal = Math.max(
      1e-10,
      best.reduce((all, each, place) => all + (place < k ? each / Math.log2(place + 2) : 0), 0),
    );
    const inverse = (rank: number) => 1 / Math.log2(1 + rank);
    const terms = compared(labels, byScore(scores)).map(({ i, j, rank, other }) => {
      const apart = Math.abs(gain(i) - gain(j)) / ideal;
      const distance = Math.abs(rank - other);
      const ndcg2 = distance === 0 ? 0 : apart * Math.abs(inverse(distance) - inverse(distance + 1));
      const lambdaRank = apart * Math.abs(inverse(rank) - inverse(other));
      const weight = {
        none: 1,
        ndcg1: (gain(i) / ideal) * inverse(rank),
        ndcg2,
        lambdaRank,
        'ndcg2++': 10 * ndcg2 + lambdaRank,
      }[weighting];
      return logSigmoid(at(scores, i).sub(at(scores, j)).mul(sigma)).mul(-weight / Math.LN2);
    });
    return sum(terms);
  };
  const count = ({ labels, lists, scores }: Lists) => {
    let begin = 0;
    return lists.reduce((all, length) => {
      const own = labels.slice(begin, begin + length);
      const order = byScore(vector(scores.slice(begin, begin + length)));
      begin += length;
      return all + compared(own, order).length;
    }, 0);
  };
  return [twin, (lists) => Math.max(1, count(lists))];
}

/** The documents in an order; minus the log-likelihood of it. */
const orderTwin =
  (weights: (documents: number) => readonly number[], byLabel = false): Twin =>
  (scores, labels) => {
    const order = labels.map((_, place) => place);
    if (byLabel) order.sort((a, b) => labels[b]! - labels[a]!);
    const rows = order.map((place) => at(scores, place));
    const shares = weights(rows.length);
    return sum(
      rows.map((row, rank) => {
        const rest: Tensor = call('aten::cat', rows.slice(rank), 0);
        return rest.logsumexp(0).sub(row).mul(shares[rank]!);
      }),
    );
  };

const adrTwin: Twin = (scores, labels) =>
  sum(
    labels.map((label, i) => {
      const higher = labels.filter((other) => other > label).length;
      const equal = labels.filter((other) => other === label).length;
      const rank = higher + (equal + 1) / 2;
      const ahead = labels.flatMap((_, j) => (j === i ? [] : [at(scores, j).sub(at(scores, i)).sigmoid()]));
      const error = sum(ahead).add(1 - rank);
      return error.mul(error).div(Math.log2(rank + 1));
    }),
  );

interface Lists {
  readonly scores: number[];
  readonly labels: number[];
  readonly lists: number[];
}

const halving = (documents: number): number[] => {
  const raw = Array.from({ length: documents }, (_, place) => 2 ** (documents - place - 1) - 1);
  const all = raw.reduce((sum, each) => sum + each, 1e-10);
  return raw.map((each) => each / all);
};
const perQuery = ({ lists }: Lists) => lists.length;
const perPair = ({ scores }: Lists) => scores.length;

const cases: [string, LossWithGradients, Twin, (lists: Lists) => number, { unlabelled?: boolean }?][] = [
  [
    'crossEncoderRanking',
    crossEncoderRanking({ scale: 7 }),
    (scores) => {
      const scaled = scores.sigmoid().mul(7);
      return scaled.logsumexp(0).sub(at(scaled, 0));
    },
    perQuery,
    { unlabelled: true },
  ],
  ...(['none', 'ndcg1', 'ndcg2', 'lambdaRank', 'ndcg2++'] as const).map(
    (weighting): (typeof cases)[number] => [
      `lambdaLoss ${weighting}`,
      lambdaLoss({ weighting }),
      ...lambdaTwin(weighting),
    ],
  ),
  ['lambdaLoss at 2', lambdaLoss({ k: 2, sigma: 0.3 }), ...lambdaTwin('ndcg2++', 2, 0.3)],
  ['rankNet at 3', rankNet({ k: 3 }), ...lambdaTwin('none', 3)],
  [
    'listNet',
    listNet(),
    (scores, labels) => vector(labels).softmax(0).mul(scores.logSoftmax(0)).sum().neg().reshape([1]),
    perQuery,
  ],
  ['listMLE', listMLE(), orderTwin((n) => Array<number>(n).fill(1)), perQuery],
  [
    'listMLE by labels',
    listMLE({ order: 'labels' }),
    orderTwin((n) => Array<number>(n).fill(1), true),
    perQuery,
  ],
  ['pListMLE', pListMLE(), orderTwin(halving), perQuery],
  ['adrMSE', adrMSE(), adrTwin, perPair],
];

/** Different scores and labels in each list: ties of either have tests of their own. */
function randomLists(seed: number, lists: number[], spread: number): Lists {
  const random = new Random(seed);
  const scores = lists.flatMap((length) => Array.from({ length }, () => spread * (2 * random.uniform() - 1)));
  const labels = lists.flatMap((length) =>
    random.shuffle(Array.from({ length }, (_, place) => place / 2 - (place === 1 ? 1 : 0))),
  );
  return { scores, labels, lists };
}

const shapes: [string, Lists][] = [
  ['one pair', { scores: [0.7], labels: [2], lists: [1] }],
  ['one list', randomLists(1, [9], 2)],
  ['lists of different lengths', randomLists(2, [3, 1, 11, 2, 5], 2)],
  ['far apart', randomLists(3, [4, 2, 6], 300)],
  ['close together', randomLists(4, [4, 2, 6], 1e-3)],
  ['the same label', { ...randomLists(5, [3, 4], 1), labels: Array<number>(7).fill(1) }],
];

async function ours(loss: LossWithGradients, { scores, labels, lists }: Lists, unlabelled = false) {
  const logits = Tensor.from(Float64Array.from(scores), { shape: [scores.length, 1] });
  const options = unlabelled ? { lists } : { lists, labels };
  const { loss: value, gradients } = await withGradients(loss).compute([logits], 1, options);
  return { value, gradient: (await gradients[0]!.values()) as Float64Array };
}

/** Query by query, without padding. */
async function plain(twin: Twin, given: Lists, divisor: number) {
  const logits = vector(given.scores);
  logits.requiresGrad = true;
  let begin = 0;
  const parts = given.lists.map((length) => {
    const own = logits.narrow(0, begin, length);
    begin += length;
    return twin(own, given.labels.slice(begin - length, begin));
  });
  const loss = sum(parts).div(divisor);
  if (!loss.requiresGrad) return { value: loss.item(), gradient: new Float64Array(given.scores.length) };
  await backward([loss], [null]);
  return { value: loss.item(), gradient: (await logits.grad!.values()) as Float64Array };
}

for (const [name, loss, twin, divisor, { unlabelled } = {}] of cases) {
  test(`${name}: value and gradient are those of a plain loss of each list`, async () => {
    for (const [shape, lists] of shapes) {
      const expected = await plain(twin, lists, divisor(lists));
      const found = await ours(loss, lists, unlabelled);
      const scale = Math.max(1, Math.abs(expected.value));
      assert.ok(
        Math.abs(found.value - expected.value) <= 1e-10 * scale,
        `${shape}: ${found.value}, plain ${expected.value}`,
      );
      for (const [place, slope] of expected.gradient.entries())
        assert.ok(
          Math.abs(found.gradient[place]! - slope) <= 1e-10 * Math.max(1, ...expected.gradient.map(Math.abs)),
          `${shape}, pair ${place}: ${found.gradient[place]}, plain ${slope}`,
        );
    }
  });
}

test('equal scores, and scores of any size in float32, give finite values and gradients', async () => {
  for (const [name, loss, , , { unlabelled } = {}] of cases)
    for (const scores of [
      Array<number>(6).fill(0),
      [1e4, -1e4, 1e4, 0, -1e4, 3e4],
      [1e-20, 0, -1e-20, 0, 0, 1e-30],
    ]) {
      const logits = Tensor.from(Float32Array.from(scores), { shape: [6, 1] });
      const labels = [3, 0, 1, 1, 0, 2];
      const lists = [4, 2];
      const options = unlabelled === true ? { lists } : { lists, labels };
      const { loss: value, gradients } = await withGradients(loss).compute([logits], 1, options);
      assert.ok(Number.isFinite(value), `${name}: ${value}`);
      const slopes = (await gradients[0]!.values()) as Float32Array;
      assert.ok(slopes.every(Number.isFinite), `${name}: ${slopes.join()}`);
    }
});

test('pListMLE takes weights of ranks, and long lists by the default', async () => {
  const given = randomLists(6, [5, 3], 1);
  const weights = (documents: number) => {
    const raw = Array.from({ length: documents }, (_, place) => 1 / (place + 1));
    const all = raw.reduce((sum, each) => sum + each, 1e-10);
    return raw.map((each) => each / all);
  };
  const expected = await plain(orderTwin(weights), given, 2);
  const { value } = await ours(pListMLE({ discount: (rank) => 1 / rank }), given);
  assert.ok(Math.abs(value - expected.value) < 1e-10);
  const long = await ours(pListMLE(), randomLists(7, [1500], 1));
  assert.ok(Number.isFinite(long.value) && long.value > 0);
  assert.throws(() => pListMLE({ discount: 2 as never }), { code: 'INPUT', message: /discount is 2/ });
});

/** A loss of each pair by itself, in plain arithmetic, and its slope by autograd. */
test('binaryCrossEntropy, crossEntropy, scoreMSE and scoreMarginMSE against their formulas', async () => {
  const scores = [0.3, -2, 5, 0, 40, -40];
  const labels = [1, 0, 0.25, 1, 1, 0];
  const value = async (loss: LossWithGradients, options: LossOptions, width = 1) => {
    const logits = Tensor.from(Float64Array.from(scores), { shape: [scores.length / width, width] });
    return (await withGradients(loss).compute([logits], 1, options)).loss;
  };
  const close = (found: number, expected: number) =>
    assert.ok(Math.abs(found - expected) < 1e-10, `${found}, ${expected}`);
  const mean = (terms: number[]) => terms.reduce((all, term) => all + term, 0) / terms.length;
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  close(
    await value(binaryCrossEntropy({ positiveWeight: 2.5 }), { labels }),
    mean(scores.map((x, k) => 2.5 * labels[k]! * softplus(-x) + (1 - labels[k]!) * softplus(x))),
  );
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  close(
    await value(scoreMSE({ activation: 'sigmoid' }), { labels }),
    mean(scores.map((x, k) => (sigmoid(x) - labels[k]!) ** 2)),
  );
  const margins = [scores[0]! - scores[1]! - 0.5, scores[0]! - scores[2]! + 1, scores[3]! - scores[4]! - 2];
  const square = mean([...margins].slice(0, 3).map((each) => each ** 2));
  const rest = Tensor.from(Float64Array.from(scores.slice(0, 5)), { shape: [5, 1] });
  const found = await withGradients(scoreMarginMSE()).compute([rest], 1, {
    lists: [3, 2],
    labels: [0.5, -1, 2],
  });
  close(found.loss, square);
  const byScores = await withGradients(scoreMarginMSE()).compute([rest], 1, {
    lists: [3, 2],
    labels: [1, 0.5, 2, 7, 5],
  });
  close(byScores.loss, square);
  const classes = [2, 0];
  const weights = [1, 0, 3];
  const expected = [0, 1].map((row) => {
    const own = scores.slice(3 * row, 3 * row + 3);
    const largest = Math.max(...own);
    return largest + Math.log(own.reduce((all, x) => all + Math.exp(x - largest), 0)) - own[classes[row]!]!;
  });
  close(await value(crossEntropy(), { labels: classes }, 3), mean(expected));
  close(
    await value(crossEntropy({ weights }), { labels: classes }, 3),
    (3 * expected[0]! + expected[1]!) / 4,
  );
});

test('what does not fit is refused with what would do', async () => {
  const refuse = (
    loss: LossWithGradients,
    options: object,
    code: string,
    message: RegExp,
    shape = [4, 1],
  ) => {
    const logits = Tensor.from(new Float64Array(shape[0]! * shape[1]!), { shape });
    return assert.rejects(withGradients(loss).compute([logits], 1, options as LossOptions), {
      code,
      message,
    });
  };
  const lists = [2, 2];
  const labels = [1, 0, 1, 0];
  await refuse(listNet(), { labels }, 'INPUT', /lists is undefined; a list with the number of pairs/);
  await refuse(listNet(), { labels, lists: [2, 0, 2] }, 'INPUT', /lists\[1\] is 0/);
  await refuse(listNet(), { labels, lists: [2, 1] }, 'SHAPE', /3 pairs in all, and there are 4/);
  await refuse(listNet(), { lists }, 'INPUT', /The loss listNet needs labels, a number for each pair/);
  await refuse(listNet(), { lists, labels: [1] }, 'SHAPE', /1 labels for 4/);
  await refuse(listNet(), { lists, labels: [1, NaN, 0, 0] }, 'INPUT', /labels\[1\] is NaN/);
  await refuse(listNet(), { lists, labels }, 'SHAPE', /\[4,2\]; \[pairs, 1\] is needed/, [4, 2]);
  await refuse(lambdaLoss(), { lists, labels, k: 3 }, 'INPUT', /the loss of lambdaLoss knows no option 'k'/);
  await refuse(listMLE({ order: 'labels' }), { lists }, 'INPUT', /The loss listMLE needs labels/);
  await refuse(listNet(), { lists, labels: [[1, 0], [2]] }, 'SHAPE', /labels\[1\] has 1 numbers for 2 pairs/);
  await refuse(
    scoreMarginMSE(),
    { lists, labels: [[1], [2, 3, 4]] },
    'SHAPE',
    /labels\[1\] has 3 numbers; 1 margins or 2/,
  );
  await refuse(crossEncoderRanking(), { lists, labels }, 'INPUT', /knows no option 'labels'/);
  await refuse(
    binaryCrossEntropy(),
    { labels: [1, 0, 2, 0] },
    'INPUT',
    /labels\[2\] is 2; a number from 0 to 1/,
  );
  await refuse(crossEntropy(), { labels }, 'SHAPE', /two labels or more/);
  await refuse(crossEntropy(), { labels: [0, 1, 2, 0] }, 'INPUT', /labels\[2\] is 2; .* from 0 to 1/, [4, 2]);
  await refuse(
    crossEntropy({ weights: [1] }),
    { labels: [0, 0, 0, 0] },
    'SHAPE',
    /1 weights for 2 labels/,
    [4, 2],
  );
  await refuse(scoreMarginMSE(), { lists: [1, 3], labels }, 'INPUT', /lists\[0\] is 1/);
  await refuse(scoreMarginMSE(), { lists, labels: [1, 2, 3] }, 'SHAPE', /2 margins or 4 scores/);
  assert.throws(() => lambdaLoss({ weighting: 'ndcg3' as never }), {
    code: 'INPUT',
    message: /"none" or "ndcg1"/,
  });
  assert.throws(() => rankNet({ weighting: 'none' } as never), { code: 'INPUT', message: /weighting/ });
  assert.throws(() => crossEncoderRanking({ scale: 0 }), { code: 'INPUT', message: /scale is 0/ });
  assert.throws(() => scoreMSE({ activation: 'relu' as never }), { code: 'INPUT', message: /"sigmoid"/ });
  assert.throws(() => binaryCrossEntropy({ positiveWeight: -1 }), {
    code: 'INPUT',
    message: /positiveWeight/,
  });
  assert.throws(() => adrMSE({ alpha: 0 }), { code: 'INPUT', message: /alpha is 0/ });
});
