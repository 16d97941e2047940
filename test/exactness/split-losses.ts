/** Losses whose scores are products of split rows, which a GPU computes so where rows are many, beside the same losses in float64. */
import {
  infoNCE,
  ntXent,
  sigLIP,
  Tensor,
  type InfoNCEOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import type { LossSettings } from '../../lib/addon/native.js';
import { fixedNumber, type LossNumber } from '../../lib/losses/loss-number.js';
import { rankingFrom } from '../../lib/losses/ranking.js';
import { TiledLoss } from '../../lib/losses/tiled-loss.js';

/** The representations of a tower. */
export type Rows = { values: Float32Array; shape: [number, number] };

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

export interface SplitCase {
  readonly title: string;
  readonly towers: readonly Rows[];
  readonly exact: LossWithGradients;
  /** @param onSlope hears of the slope of the scale, which is then learned */
  readonly split: (onSlope?: (slope: number) => void) => LossWithGradients;
  readonly error?: number;
}

type MakeLoss = SplitCase['split'];

function splitLoss(
  name: string,
  cosine: boolean,
  scale: number,
  bias: number,
  settings: LossSettings,
): MakeLoss {
  return (onSlope) => {
    const numbers = { scale: onSlope === undefined ? fixedNumber(scale) : learned(scale, onSlope) };
    return new TiledLoss({
      name,
      cosine,
      numbers: name === 'nt_xent' ? numbers : { ...numbers, bias: fixedNumber(bias) },
      settings: () => ({ ...settings, split: true }),
    });
  };
}

const learned = (scale: number, onSlope: (slope: number) => void): LossNumber => ({
  ...fixedNumber(scale),
  parameters: () => [{ name: 'scale', tensor: Tensor.from([scale]), decay: false }],
  addGradient: onSlope,
});

const none = { targets: null, targetCounts: null };

function ranking(title: string, of: readonly Rows[], options: InfoNCEOptions): SplitCase {
  const { temperature = 0.05, ...rest } = options;
  const { cosine, settings } = rankingFrom(rest);
  const all = { ...settings, ...none, weights: null, owners: null, ids: null };
  const split = splitLoss('info_nce', cosine, 1 / (temperature as number), 0, all);
  return { title, towers: of, exact: infoNCE(options), split };
}

export const splitCases: readonly SplitCase[] = [
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
