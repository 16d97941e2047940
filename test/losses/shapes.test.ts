import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  call,
  gistEmbed,
  infoNCE,
  multipleNegativesRanking,
  ntXent,
  sigLIP,
  Tensor,
  type Loss,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import { LOSSES } from '../../lib/losses/loss-kinds.js';
import { root } from '../training/support.js';
import { assertLikeTwin, tensorOf, towersOf } from './twins.js';

// Losses of scores between all rows against plain operators on all scores at once, at the shapes and temperatures where such a
// loss goes wrong: one pair, rows that are no multiple of a tile, equal rows, scores beyond the exponential.

/** A plain loss of towers, as they are compared. */
const plain =
  (compare: (tower: Tensor) => Tensor, loss: (towers: Tensor[]) => Tensor): Loss =>
  (...given: (Tensor & LossOptions)[]) =>
    loss(given.slice(0, -1).map(compare));

const unit = (tower: Tensor): Tensor => tower.normalize();
const asIs = (tower: Tensor): Tensor => call('aten::alias', tower);
const joined = (towers: readonly Tensor[]): Tensor => call('aten::cat', [...towers], 0);
const places = (count: number, from = 0): Tensor =>
  Tensor.from(
    Array.from({ length: count }, (_, k) => k + from),
    { dtype: 'int64' },
  );

/** Each row's share of its candidate among all: the mean of -log. */
const ranking = (scores: Tensor): Tensor =>
  call('aten::cross_entropy_loss', scores, places(scores.shape[0]!));

const ranked =
  (temperature: number, symmetric = false) =>
  ([anchors, ...candidates]: Tensor[]): Tensor => {
    const forth = ranking(anchors!.matmul(joined(candidates).t()).div(temperature));
    if (!symmetric) return forth;
    return forth.add(ranking(candidates[0]!.matmul(anchors!.t()).div(temperature))).div(2);
  };

const sigmoids =
  (scale: number, bias: number) =>
  ([anchors, ...candidates]: Tensor[]): Tensor => {
    const scores = anchors!.matmul(joined(candidates).t()).mul(scale).add(bias);
    const [rows, columns] = scores.shape as [number, number];
    const signs = Float64Array.from({ length: rows * columns }, (_, k) =>
      Math.floor(k / columns) === k % columns ? 1 : -1,
    );
    const right = scores.mul(Tensor.from(signs, { shape: [rows, columns] }));
    return call<Tensor>('aten::log_sigmoid', right).sum().neg().div(rows);
  };

const views =
  (temperature: number) =>
  (towers: Tensor[]): Tensor => {
    const count = towers[0]!.shape[0]!;
    const all = joined(towers);
    const self: Tensor = call('aten::eye.m', 2 * count, all.shape[0], { dtype: 'float64' });
    const scores = joined(towers.slice(0, 2)).matmul(all.t()).div(temperature);
    const left: Tensor = call(
      'aten::masked_fill.Scalar',
      scores,
      call('aten::gt.Scalar', self, 0),
      -Infinity,
    );
    const partners: Tensor = call('aten::cat', [places(count, count), places(count)], 0);
    return call('aten::cross_entropy_loss', left, partners);
  };

/** InfoNCE of anchors with positives, anchors and positives, without what is nearer than the own pair by its own cosines. */
const judged =
  (temperature: number) =>
  ([anchors, positives]: Tensor[]): Tensor => {
    const pairs: readonly (readonly [Tensor, Tensor])[] = [
      [anchors!, positives!],
      [anchors!, anchors!],
      [positives!, positives!],
    ];
    const blocks = pairs.map(([a, b]) => a.matmul(b.t()));
    const own: Tensor = call<Tensor>('aten::diagonal', blocks[0]!.detach()).reshape([-1, 1]);
    const kept = blocks.map((scores, block) => {
      const near: Tensor = call('aten::gt.Tensor', scores.detach(), own);
      const self: Tensor = call('aten::eye', scores.shape[0]!, { dtype: 'bool' });
      const left =
        block === 0 ? call<Tensor>('aten::logical_and', near, call('aten::logical_not', self)) : near;
      return call<Tensor>('aten::masked_fill.Scalar', scores.div(temperature), left, -1e30);
    });
    return ranking(call('aten::cat', kept, 1));
  };

const TEMPERATURES = [0.001, 0.05, 100];
const cases: [string, number, LossWithGradients, Loss][] = TEMPERATURES.flatMap(
  (temperature): (typeof cases)[number][] => [
    [`infoNCE at ${temperature}`, 2, infoNCE({ temperature }), plain(unit, ranked(temperature))],
    [
      `infoNCE with negatives at ${temperature}`,
      3,
      infoNCE({ temperature }),
      plain(unit, ranked(temperature)),
    ],
    [
      `infoNCE in both directions at ${temperature}`,
      2,
      infoNCE({ temperature, symmetric: true }),
      plain(unit, ranked(temperature, true)),
    ],
    [
      `infoNCE of inner products at ${temperature}`,
      2,
      infoNCE({ temperature, similarity: 'dot' }),
      plain(asIs, ranked(temperature)),
    ],
    [
      `multipleNegativesRanking at ${temperature}`,
      3,
      multipleNegativesRanking({ scale: 1 / temperature }),
      plain(unit, ranked(temperature)),
    ],
    [
      `sigLIP at ${temperature}`,
      2,
      sigLIP({ scale: 1 / temperature, bias: -3 }),
      plain(unit, sigmoids(1 / temperature, -3)),
    ],
    [`ntXent at ${temperature}`, 2, ntXent({ temperature }), plain(unit, views(temperature))],
    [`ntXent of three towers at ${temperature}`, 3, ntXent({ temperature }), plain(unit, views(temperature))],
  ],
);

for (const [name, towers, loss, twin] of cases)
  test(`${name} is its plain form at every shape`, async () => {
    for (const { what, towers: rows } of towersOf(towers)) {
      // Rounding of scores of 10,000 and more is more than 1e-10 of gradients that are near 0.
      const sharp = name.endsWith('0.001') || name.includes('inner products');
      if (sharp && (what === 'lengths far apart' || (what.startsWith('identical') && name.includes('inner'))))
        continue;
      // A view that has no other to be told from.
      if (name.startsWith('ntXent') && towers === 2 && rows[0]!.length === 1) continue;
      await assertLikeTwin(loss, twin, rows, {}, what);
    }
  });

test('gistEmbed that judges itself is its plain form at every shape', async () => {
  for (const temperature of TEMPERATURES)
    for (const { what, towers } of towersOf(2)) {
      // Rounding decides which of equal cosines is nearer.
      if (what.startsWith('identical') || what === '[2, 1]') continue;
      const loss = gistEmbed({ guide: 'self', temperature });
      await assertLikeTwin(loss, plain(unit, judged(temperature)), towers, {}, `${what}, ${temperature}`);
    }
});

test('equal rows at any temperature: finite values and gradients, in float32 too', async () => {
  for (const [name, towers, loss] of cases)
    for (const dtype of ['float32', 'float64'] as const) {
      const rows = Array.from({ length: 7 }, () => [1, 2, -3]);
      const equal = Array.from({ length: towers }, () => tensorOf(rows).to({ dtype }));
      const { loss: value, gradients } = await loss.compute(equal, 1, {});
      assert.ok(Number.isFinite(value), name);
      for (const gradient of gradients)
        assert.ok(((await gradient!.values()) as Float64Array).every(Number.isFinite), name);
    }
});

/** Where each loss of the list is compared with its plain form. */
const TWINS: Readonly<Record<keyof typeof LOSSES, readonly [file: string, test: string]>> = {
  'adr-mse': ['pair-losses', 'adrMSE'],
  angle: ['cosent', 'anglE'],
  'batch-all-triplet': ['batch-triplets', 'batchAllTriplet'],
  'batch-hard-soft-margin-triplet': ['batch-triplets', 'batchHardSoftMarginTriplet'],
  'batch-hard-triplet': ['batch-triplets', 'batchHardTriplet'],
  'batch-semi-hard-triplet': ['batch-triplets', 'batchSemiHardTriplet'],
  'binary-cross-entropy': ['pair-losses', 'binaryCrossEntropy'],
  contrastive: ['contrastive', 'contrastive'],
  cosent: ['cosent', 'coSENT'],
  'cosine-similarity': ['cosine-similarity', 'cosineSimilarity'],
  'cross-encoder-ranking': ['pair-losses', 'crossEncoderRanking'],
  'cross-entropy': ['pair-losses', 'crossEntropy'],
  'distill-kl-div': ['distillation', 'distillKLDiv'],
  'embed-distill': ['distillation', 'embedDistill'],
  'gist-embed': ['gist-embed', 'gistEmbed'],
  'global-orthogonal-regularization': ['global-orthogonal-regularization', 'globalOrthogonalRegularization'],
  infonce: ['info-nce', 'infoNCE'],
  'lambda-loss': ['pair-losses', 'lambdaLoss'],
  'list-mle': ['pair-losses', 'listMLE'],
  'list-net': ['pair-losses', 'listNet'],
  'margin-mse': ['distillation', 'marginMSE'],
  'mega-batch-margin': ['mega-batch-margin', 'megaBatchMargin'],
  mse: ['distillation', 'mse'],
  'multi-similarity': ['classes', 'multiSimilarity'],
  'multiple-negatives-ranking': ['shapes', 'multipleNegativesRanking'],
  'multi-vector-distill-kl-div': ['multi-vector', 'multiVectorDistillKLDiv'],
  'multi-vector-margin-mse': ['multi-vector', 'multiVectorMarginMSE'],
  'multi-vector-multiple-negatives-ranking': ['multi-vector', 'multiVectorMultipleNegativesRanking'],
  ntxent: ['shapes', 'ntXent'],
  'online-contrastive': ['contrastive', 'onlineContrastive'],
  'p-list-mle': ['pair-losses', 'pListMLE'],
  'rank-net': ['pair-losses', 'rankNet'],
  'score-margin-mse': ['pair-losses', 'scoreMarginMSE'],
  'score-mse': ['pair-losses', 'scoreMSE'],
  siglip: ['shapes', 'sigLIP'],
  softmax: ['softmax-classification', 'softmaxClassification'],
  splade: ['splade', 'splade'],
  'splade-distill-kl-div': ['splade', 'distillKLDiv'],
  'splade-margin-mse': ['splade', 'marginMSE'],
  'sup-con': ['classes', 'supCon'],
  triplet: ['contrastive', 'triplet'],
};

test('every loss of the list is compared with its plain form', () => {
  assert.deepEqual(Object.keys(TWINS).sort(), Object.keys(LOSSES).sort());
  for (const [loss, [file, name]] of Object.entries(TWINS)) {
    const path = join(root, 'test', 'losses', `${file}.test.ts`);
    assert.ok(
      existsSync(path) && readFileSync(path, 'utf8').includes(`${name}(`),
      `${loss}: ${file} tests ${name}`,
    );
  }
});
