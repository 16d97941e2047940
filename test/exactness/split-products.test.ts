import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  infoNCE,
  ntXent,
  sigLIP,
  Tensor,
  type InfoNCEOptions,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import type { LossSettings } from '../../lib/addon/native.js';
import { fixedNumber } from '../../lib/losses/loss-number.js';
import { rankingFrom } from '../../lib/losses/ranking.js';
import { TiledLoss } from '../../lib/losses/tiled-loss.js';
import { relativeError } from '../oracle/compare.js';
import { device } from './support.js';

// On a GPU `exact` of many float32 rows is computed by products of float16 rows, two for each. Here every loss is, so that a CPU
// checks it too: the native setting `split` asks for it.

type Rows = { values: Float32Array; shape: [number, number] };

/** Rows that look random; where there are others, they lie around those. */
function rows(count: number, dimension: number, seed: number, around?: Rows): Rows {
  const values = Float32Array.from({ length: count * dimension }, (_, i) => {
    const drawn = Math.sin(i * 1.7 + seed * ((i * i) % 7919));
    return around === undefined ? drawn : around.values[i % around.values.length]! + drawn;
  });
  return { values, shape: [count, dimension] };
}

const anchors = rows(600, 44, 1);
const towers = [anchors, rows(600, 44, 2, anchors), rows(600, 44, 3)];
const similar = towers.map(({ values, shape }) => ({ values: values.map((value) => value + 1), shape }));

interface Case {
  readonly title: string;
  readonly towers: readonly Rows[];
  readonly exact: LossWithGradients;
  readonly split: LossWithGradients;
  readonly error?: number;
}

function splitLoss(name: string, cosine: boolean, scale: number, bias: number, settings: LossSettings) {
  return new TiledLoss({
    name,
    cosine,
    numbers:
      name === 'nt_xent'
        ? { scale: fixedNumber(scale) }
        : { scale: fixedNumber(scale), bias: fixedNumber(bias) },
    settings: () => ({ ...settings, split: true }),
  });
}

const none = { targets: null, targetCounts: null };

function ranking(title: string, of: readonly Rows[], options: InfoNCEOptions): Case {
  const { temperature = 0.05, ...rest } = options;
  const { cosine, settings } = rankingFrom(rest);
  const all = { ...settings, ...none, weights: null, owners: null, ids: null };
  const split = splitLoss('info_nce', cosine, 1 / (temperature as number), 0, all);
  return { title, towers: of, exact: infoNCE(options), split };
}

const cases: Case[] = [
  ranking('InfoNCE', towers, {}),
  {
    ...ranking('InfoNCE of rows that are all similar, a low temperature', similar, { temperature: 0.02 }),
    error: 2e-5, // of scores of 50
  },
  ranking('InfoNCE of inner products, both directions', towers, {
    similarity: 'dot',
    temperature: 10,
    directions: ['query_to_doc', 'doc_to_query'],
  }),
  ranking('InfoNCE with hardness and label smoothing', towers, {
    temperature: 0.1,
    hardnessMode: 'in_batch_negatives',
    hardnessStrength: 2,
    labelSmoothing: 0.1,
    margin: 0.1,
    directions: ['query_to_doc', 'doc_to_query', 'doc_to_doc', 'query_to_query'],
  }),
  {
    title: 'NT-Xent',
    towers,
    exact: ntXent({ temperature: 0.1 }),
    split: splitLoss('nt_xent', true, 10, 0, {}),
  },
  {
    title: 'SigLIP',
    towers,
    exact: sigLIP({ scale: 10, bias: -10, learned: false }),
    split: splitLoss('siglip', true, 10, -10, none),
  },
];

async function results(loss: LossWithGradients, of: readonly Rows[], dtype: 'float32' | 'float64') {
  const where = dtype === 'float64' ? 'cpu' : device;
  const tensors = of.map(({ values, shape }) =>
    Tensor.from(dtype === 'float64' ? Float64Array.from(values) : values, { shape, device: where }),
  );
  const options: LossOptions = {};
  const { loss: value, gradients } = await loss.compute(tensors, 1, options);
  const all = gradients.map(async (gradient) => (await gradient!.values()) as Float32Array);
  return { loss: value, gradients: await Promise.all(all) };
}

for (const { title, towers: of, exact, split, error: allowed = 2e-6 } of cases) {
  test(`products of split rows give the value and gradients of float64: ${title}`, async () => {
    const expected = await results(exact, of, 'float64');
    const found = await results(split, of, 'float32');
    assert.ok(
      Math.abs(found.loss - expected.loss) <= 1e-6 * (1 + expected.loss),
      `${found.loss}, ${expected.loss}`,
    );
    for (const [tower, gradient] of found.gradients.entries()) {
      const error = relativeError(gradient, expected.gradients[tower]!);
      assert.ok(error <= allowed, `tower ${tower}: relative error ${error}`);
    }
    assert.deepEqual(await results(split, of, 'float32'), found, 'the same bits twice');
  });
}
