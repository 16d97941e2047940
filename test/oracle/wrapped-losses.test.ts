import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  adaptiveLayer,
  coSENT,
  embedDistill,
  gistEmbed,
  GradCache,
  infoNCE,
  matryoshka,
  matryoshka2d,
  megaBatchMargin,
  TextEncoder,
  type Loss,
  type LossOptions,
} from '../../lib/index.js';
import { assertSameGradients, type Numbers } from './compare.js';
import { Oracle, readGradients } from './oracle.js';

const ROWS = 7;
/** Of the model's representations. */
const DIMENSION = 36;
let oracle: Oracle;
let folder: string;
let guideFolder: string;
let texts: string[][];

before(async () => {
  oracle = new Oracle();
  folder = await oracle.saveTransformer('distilbert', 'wrapped');
  guideFolder = await oracle.saveTransformer('bert', 'guide');
  const all = await oracle.sentences(6, 4 * ROWS, 1, 20);
  texts = Array.from({ length: 4 }, (_, column) => all.slice(column * ROWS, (column + 1) * ROWS));
});

after(() => oracle.close());

/** A loss here, and the class of sentence-transformers that it is to be equal to. */
interface Case {
  readonly lossClass: string;
  readonly params: () => object;
  readonly columns: number;
  readonly loss: (guide: TextEncoder, layers: readonly number[]) => Loss;
  /** Layers before the last that are trained too. */
  readonly layers?: 'all';
  readonly labels?: unknown;
  /** Keyword arguments of a step. */
  readonly given?: (texts: readonly string[][]) => LossOptions;
}

const scores = [0.125, 0.875, 0.5, 0.5, 0.25, 1, 0];
const teacher = Array.from({ length: ROWS }, (_, row) =>
  Array.from({ length: DIMENSION }, (_, k) => Math.round(64 * Math.sin(1 + 3 * row + 5 * k)) / 32),
);
const ranking = { loss_class: 'CachedMultipleNegativesRankingLoss', params: { mini_batch_size: 3 } };

const CASES: readonly Case[] = [
  {
    lossClass: 'MatryoshkaLoss',
    params: () => ({ loss: ranking, matryoshka_dims: [DIMENSION, 17, 4], matryoshka_weights: [1, 0.5, 2] }),
    columns: 3,
    loss: () => matryoshka(infoNCE(), { dimensions: [DIMENSION, 17, 4], weights: [1, 0.5, 2] }),
  },
  {
    lossClass: 'MatryoshkaLoss',
    params: () => ({ loss: { loss_class: 'CoSENTLoss', params: {} }, matryoshka_dims: [9, 20] }),
    columns: 2,
    loss: () => matryoshka(coSENT(), { dimensions: [9, 20] }),
    labels: scores,
  },
  {
    lossClass: 'MatryoshkaLoss',
    params: () => ({
      loss: { loss_class: 'EmbedDistillLoss', params: { distance_metric: 'cosine' } },
      matryoshka_dims: [DIMENSION, 5],
    }),
    columns: 2,
    loss: () => matryoshka(embedDistill(), { dimensions: [DIMENSION, 5] }),
    labels: teacher,
  },
  ...[
    { temperature: 0.05 },
    { temperature: 0.1, margin_strategy: 'relative', margin: 0.05, contrast_positives: false },
    { temperature: 0.1, margin: 0.02, contrast_anchors: false },
  ].map((params): Case => ({
    lossClass: 'CachedGISTEmbedLoss',
    params: () => ({ ...params, guide: guideFolder, mini_batch_size: 3 }),
    columns: 4,
    loss: (guide) =>
      gistEmbed({
        guide,
        temperature: params.temperature,
        marginStrategy: (params.margin_strategy ?? 'absolute') as 'absolute',
        margin: params.margin ?? 0,
        contrastAnchors: params.contrast_anchors ?? true,
        contrastPositives: params.contrast_positives ?? true,
      }),
    given: (texts) => ({ texts }),
  })),
  {
    lossClass: 'AdaptiveLayerLoss',
    params: () => ({
      loss: { loss_class: 'MultipleNegativesRankingLoss', params: {} },
      n_layers_per_step: -1,
      last_layer_weight: 0.75,
      prior_layers_weight: 1.5,
      kl_div_weight: 2,
      kl_temperature: 0.5,
      layer_weighting: 'log',
    }),
    columns: 3,
    layers: 'all',
    loss: (_, layers) =>
      adaptiveLayer(infoNCE(), {
        layers,
        layersPerStep: layers.length - 1,
        lastLayerWeight: 0.75,
        priorLayersWeight: 1.5,
        klWeight: 2,
        klTemperature: 0.5,
        layerWeighting: 'log',
      }),
  },
  {
    lossClass: 'AdaptiveLayerLoss',
    params: () => ({
      loss: { loss_class: 'CoSENTLoss', params: {} },
      n_layers_per_step: -1,
      kl_temperature: 0,
      layer_weighting: 'linear',
    }),
    columns: 2,
    layers: 'all',
    loss: (_, layers) =>
      adaptiveLayer(coSENT(), {
        layers,
        layersPerStep: layers.length - 1,
        klTemperature: 0,
        layerWeighting: 'linear',
      }),
    labels: scores,
  },
  {
    lossClass: 'Matryoshka2dLoss',
    params: () => ({
      loss: { loss_class: 'MultipleNegativesRankingLoss', params: {} },
      matryoshka_dims: [DIMENSION, 17, 4],
      matryoshka_weights: [1, 0.5, 2],
      n_layers_per_step: -1,
      n_dims_per_step: -1,
    }),
    columns: 3,
    layers: 'all',
    loss: (_, layers) =>
      matryoshka2d(infoNCE(), {
        layers,
        layersPerStep: layers.length - 1,
        dimensions: [DIMENSION, 17, 4],
        weights: [1, 0.5, 2],
        dimensionsPerStep: 3,
      }),
  },
  {
    lossClass: 'MegaBatchMarginLoss',
    params: () => ({ positive_margin: 0.9, negative_margin: 0.1, mini_batch_size: 3 }),
    columns: 2,
    loss: () => megaBatchMargin({ positiveMargin: 0.9, negativeMargin: 0.1 }),
  },
];

for (const [place, { lossClass, params, columns, loss: make, labels, given, layers }] of CASES.entries()) {
  test(`${lossClass}, case ${place}: the cached step has its loss and gradients`, async () => {
    const used = texts.slice(0, columns);
    const expected = await oracle.classGradients(folder, used, {
      loss_class: lossClass,
      params: params(),
      labels,
    });
    for (const [precision, tolerance] of [
      ['float64', 1e-9],
      ['float32', 1e-5],
    ] as const) {
      const encoder = await TextEncoder.load(folder, {
        precision,
        dropout: 0,
        ...(layers && { layers }),
      });
      const guide = await TextEncoder.load(guideFolder, { precision });
      const encoders = used.map(() => encoder);
      const chunk = { sequences: 3 };
      const gradcache = new GradCache<readonly TextEncoder[]>({
        encoders,
        loss: make(guide, encoder.layers),
        chunk,
      });
      const result = await gradcache.step(
        used.map((column) => encoder.tokenize(column)),
        { loss: { ...given?.(used), ...(labels === undefined ? {} : { labels }) } },
      );
      const error = Math.abs(result.loss - expected.loss);
      assert.ok(error <= tolerance * Math.abs(expected.loss), `${result.loss}, in Python ${expected.loss}`);
      const ours = new Map<string, Numbers>();
      for (const { name, tensor } of encoder.parameters())
        if (!expected.unused.includes(name)) ours.set(name, (await tensor.grad!.values()) as Float64Array);
      assertSameGradients(ours, await readGradients(expected), tolerance, precision);
      encoder.dispose();
      guide.dispose();
    }
  });
}
