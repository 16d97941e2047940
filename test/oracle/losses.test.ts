import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  anglE,
  batchAllTriplet,
  batchHardSoftMarginTriplet,
  batchHardTriplet,
  batchSemiHardTriplet,
  contrastive,
  coSENT,
  cosineSimilarity,
  distillKLDiv,
  embedDistill,
  globalOrthogonalRegularization,
  GradCache,
  infoNCE,
  marginMSE,
  mse,
  multipleNegativesRanking,
  onlineContrastive,
  softmaxClassification,
  TextEncoder,
  triplet,
  type Loss,
  type MultipleNegativesRankingOptions,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { assertSameGradients, type Numbers } from './compare.js';
import { Oracle, readGradients } from './oracle.js';

const ROWS = 7;
/** Of the model's representations. */
const DIMENSION = 36;
let oracle: Oracle;
let folder: string;
let texts: string[][];

before(async () => {
  oracle = new Oracle();
  folder = await oracle.saveTransformer('distilbert', 'losses');
  const all = await oracle.sentences(5, 4 * ROWS, 1, 20);
  texts = Array.from({ length: 4 }, (_, column) => all.slice(column * ROWS, (column + 1) * ROWS));
});

after(() => oracle.close());

/** A loss here, and the class of sentence-transformers that it is to be equal to. Labels are exact in float32. */
interface Case {
  readonly lossClass: string;
  readonly params?: object;
  readonly loss: (encoder: TextEncoder) => Loss;
  readonly columns: number;
  readonly labels?: unknown;
}

const scores = [0.125, 0.875, 0.5, 0.5, 0.25, 1, 0];
const matches = [1, 0, 1, 0, 0, 1, 1];
const classes = [0, 2, 1, 1, 0, 2, 2];
const lists = (count: number): number[][] =>
  Array.from({ length: ROWS }, (_, row) =>
    Array.from({ length: count }, (_, k) => Math.round(64 * Math.sin(1 + 3 * row + 5 * k)) / 32),
  );
const place = ({ trainedDimension, precision }: TextEncoder) =>
  ({ dimension: trainedDimension, dtype: precision === 'float64' ? 'float64' : 'float32' }) as const;

const ranking = (params: object, options: MultipleNegativesRankingOptions, columns = 3): Case => ({
  lossClass: 'CachedMultipleNegativesRankingLoss',
  params: { mini_batch_size: 4, ...params },
  loss: () => multipleNegativesRanking(options),
  columns,
});

const CASES: readonly Case[] = [
  ranking({}, {}, 2),
  ranking({ scale: 1, similarity_fct: 'dot' }, { scale: 1, similarity: 'dot' }),
  ranking(
    { directions: ['query_to_doc', 'doc_to_query'], partition_mode: 'per_direction' },
    { directions: ['query_to_doc', 'doc_to_query'], partitionMode: 'per_direction' },
  ),
  ranking(
    {
      directions: ['query_to_doc', 'query_to_query', 'doc_to_query', 'doc_to_doc'],
      hardness_mode: 'in_batch_negatives',
      hardness_strength: 9,
    },
    {
      directions: ['query_to_doc', 'query_to_query', 'doc_to_query', 'doc_to_doc'],
      hardnessMode: 'in_batch_negatives',
      hardnessStrength: 9,
    },
    4,
  ),
  ranking(
    { hardness_mode: 'hard_negatives', hardness_strength: 5 },
    { hardnessMode: 'hard_negatives', hardnessStrength: 5 },
    4,
  ),
  {
    lossClass: 'CachedMultipleNegativesSymmetricRankingLoss',
    params: { scale: 10, mini_batch_size: 4 },
    loss: () => infoNCE({ temperature: 0.1, symmetric: true }),
    columns: 3,
  },
  { lossClass: 'CosineSimilarityLoss', loss: () => cosineSimilarity(), columns: 2, labels: scores },
  {
    lossClass: 'CoSENTLoss',
    params: { scale: 10 },
    loss: () => coSENT({ scale: 10 }),
    columns: 2,
    labels: scores,
  },
  { lossClass: 'AnglELoss', loss: () => anglE(), columns: 2, labels: scores },
  { lossClass: 'AnglELoss', loss: () => anglE(), columns: 4 },
  { lossClass: 'ContrastiveLoss', loss: () => contrastive(), columns: 2, labels: matches },
  {
    lossClass: 'ContrastiveLoss',
    params: { distance_metric: 'MANHATTAN', margin: 2, size_average: false },
    loss: () => contrastive({ distance: 'manhattan', margin: 2, average: false }),
    columns: 2,
    labels: matches,
  },
  {
    lossClass: 'OnlineContrastiveLoss',
    params: { distance_metric: 'EUCLIDEAN', margin: 4 },
    loss: () => onlineContrastive({ distance: 'euclidean', margin: 4 }),
    columns: 2,
    labels: matches,
  },
  ...(['EUCLIDEAN', 'COSINE', 'MANHATTAN'] as const).map((distance) => ({
    lossClass: 'TripletLoss',
    params: { distance_metric: distance },
    loss: () => triplet({ distance: distance.toLowerCase() as Lowercase<typeof distance> }),
    columns: 3,
  })),
  { lossClass: 'MarginMSELoss', loss: () => marginMSE(), columns: 3, labels: scores },
  { lossClass: 'MarginMSELoss', loss: () => marginMSE(), columns: 4, labels: lists(3) },
  {
    lossClass: 'DistillKLDivLoss',
    params: { similarity_fct: 'cosine', temperature: 0.5, teacher_temperature: 2 },
    loss: () => distillKLDiv({ similarity: 'cosine', temperature: 0.5, teacherTemperature: 2 }),
    columns: 4,
    labels: lists(3),
  },
  {
    lossClass: 'SoftmaxLoss',
    params: { embedding_dimension: DIMENSION, num_labels: 3, concatenation_sent_multiplication: true },
    loss: (encoder) => softmaxClassification({ ...place(encoder), classes: 3, product: true }),
    columns: 2,
    labels: classes,
  },
  { lossClass: 'MSELoss', loss: () => mse(), columns: 2, labels: lists(DIMENSION) },
  {
    lossClass: 'EmbedDistillLoss',
    params: { distance_metric: 'l2', projection_dim: 9 },
    loss: (encoder) => {
      const { dimension: from, dtype } = place(encoder);
      return embedDistill({ distance: 'l2', projection: { from, to: 9, dtype } });
    },
    columns: 2,
    labels: lists(9),
  },
  ...(['euclidean', 'cosine'] as const).flatMap((distance) => {
    const params = { distance_metric: `${distance}_distance`, margin: 0.5 };
    const common = { columns: 1, labels: classes };
    return [
      {
        ...common,
        lossClass: 'BatchAllTripletLoss',
        params,
        loss: () => batchAllTriplet({ distance, margin: 0.5 }),
      },
      {
        ...common,
        lossClass: 'BatchHardTripletLoss',
        params,
        loss: () => batchHardTriplet({ distance, margin: 0.5 }),
      },
      {
        ...common,
        lossClass: 'BatchHardSoftMarginTripletLoss',
        params: { distance_metric: `${distance}_distance` },
        loss: () => batchHardSoftMarginTriplet({ distance }),
      },
      {
        ...common,
        lossClass: 'BatchSemiHardTripletLoss',
        params,
        loss: () => batchSemiHardTriplet({ distance, margin: 0.5 }),
      },
    ];
  }),
  {
    lossClass: 'GlobalOrthogonalRegularizationLoss',
    params: { aggregation: 'sum' },
    loss: () => globalOrthogonalRegularization({ aggregation: 'sum' }),
    columns: 2,
  },
];

for (const { lossClass, params = {}, loss: make, columns, labels } of CASES) {
  test(`${lossClass} ${JSON.stringify(params)}, ${columns} columns: the cached step has its loss and gradients`, async () => {
    for (const [precision, tolerance] of [
      ['float64', 1e-9],
      ['float32', 1e-5],
    ] as const) {
      const encoder = await TextEncoder.load(folder, { precision, dropout: 0 });
      const loss = make(encoder);
      const own = withGradients(loss).parameters();
      const weights: Record<string, number[]> = {};
      for (const { name, tensor } of own)
        weights[name.replace('loss.', '')] = Array.from((await tensor.values()) as Float64Array);
      const used = texts.slice(0, columns);
      const expected = await oracle.classGradients(folder, used, {
        loss_class: lossClass,
        params,
        labels,
        weights,
      });
      const encoders = used.map(() => encoder);
      const gradcache = new GradCache<readonly TextEncoder[]>({ encoders, loss, chunk: { sequences: 3 } });
      const result = await gradcache.step(
        used.map((column) => encoder.tokenize(column)),
        labels === undefined ? {} : { loss: { labels } },
      );
      const error = Math.abs(result.loss - expected.loss);
      assert.ok(error <= tolerance * Math.abs(expected.loss), `${result.loss}, in Python ${expected.loss}`);
      const ours = new Map<string, Numbers>();
      for (const { name, tensor } of gradcache.parameters())
        if (!expected.unused.includes(name)) ours.set(name, (await tensor.grad!.values()) as Float64Array);
      assertSameGradients(ours, await readGradients(expected), tolerance, precision);
      encoder.dispose();
    }
  });
}
