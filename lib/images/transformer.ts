import { activationNames, type TowerConfig } from './tower-config.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

/** The weights of a tower by their names, without the prefix of the tower. */
export interface Weights {
  /** In the type that the tower computes in. */
  (name: string): Tensor;
  /** In the type that they are kept in: a table whose rows are looked up gathers its gradient in it. */
  readonly kept: (name: string) => Tensor;
}
/** Shapes of weights by name. */
export type Shapes = Map<string, readonly number[]>;

/** Names of a layer's parts without `.weight` and `.bias`. */
export interface LayerNames {
  readonly root: (layer: number) => string;
  readonly query: string;
  readonly key: string;
  readonly value: string;
  readonly output: string;
  /** The norms in front of attention and of the feed-forward part. */
  readonly attentionNorm: string;
  readonly feedForwardNorm: string;
  readonly up: string;
  readonly down: string;
}

/** Of CLIP's and SigLIP's towers. */
export const CLIP_LAYERS: LayerNames = {
  root: (layer) => `encoder.layers.${layer}.`,
  query: 'self_attn.q_proj',
  key: 'self_attn.k_proj',
  value: 'self_attn.v_proj',
  output: 'self_attn.out_proj',
  attentionNorm: 'layer_norm1',
  feedForwardNorm: 'layer_norm2',
  up: 'mlp.fc1',
  down: 'mlp.fc2',
};

/** Of ViT, as checkpoints store them. */
export const VIT_LAYERS: LayerNames = {
  root: (layer) => `encoder.layer.${layer}.`,
  query: 'attention.attention.query',
  key: 'attention.attention.key',
  value: 'attention.attention.value',
  output: 'attention.output.dense',
  attentionNorm: 'layernorm_before',
  feedForwardNorm: 'layernorm_after',
  up: 'intermediate.dense',
  down: 'output.dense',
};

export function addLinear(shapes: Shapes, name: string, out: number, columns: number, bias = true): void {
  shapes.set(`${name}.weight`, [out, columns]);
  if (bias) shapes.set(`${name}.bias`, [out]);
}

export function addNorm(shapes: Shapes, name: string, width: number): void {
  shapes.set(`${name}.weight`, [width]);
  shapes.set(`${name}.bias`, [width]);
}

export function addLayers(shapes: Shapes, config: TowerConfig, names: LayerNames, qkvBias = true): void {
  const { hidden, intermediate, layers } = config;
  for (let layer = 0; layer < layers; layer++) {
    const root = names.root(layer);
    for (const part of [names.query, names.key, names.value])
      addLinear(shapes, root + part, hidden, hidden, qkvBias);
    addLinear(shapes, root + names.output, hidden, hidden);
    addNorm(shapes, root + names.attentionNorm, hidden);
    addNorm(shapes, root + names.feedForwardNorm, hidden);
    addLinear(shapes, root + names.up, intermediate, hidden);
    addLinear(shapes, root + names.down, hidden, intermediate);
  }
}

export function linear(x: Tensor, weights: Weights, name: string, bias = true): Tensor {
  return x.linear(weights(`${name}.weight`), bias ? weights(`${name}.bias`) : undefined);
}

export function norm(x: Tensor, weights: Weights, name: string, epsilon: number): Tensor {
  return call(
    'aten::layer_norm',
    x,
    [x.shape.at(-1)],
    weights(`${name}.weight`),
    weights(`${name}.bias`),
    epsilon,
  );
}

/** Attention of queries [n, q, hidden] to keys and values [n, k, hidden], each in `heads` heads. */
export function attend(
  [query, key, value]: readonly [Tensor, Tensor, Tensor],
  { heads, causal = false, dropout = 0 }: { heads: number; causal?: boolean; dropout?: number },
): Tensor {
  const [n, rows, hidden] = query.shape as [number, number, number];
  const split = (x: Tensor) => x.reshape([n, x.shape[1]!, heads, hidden / heads]).transpose(1, 2);
  const [q, k, v] = [split(query), split(key), split(value)];
  return call('aten::scaled_dot_product_attention', q, k, v, null, dropout, causal)
    .transpose(1, 2)
    .reshape([n, rows, hidden]);
}

/** The layers of a transformer with norms in front, on x [n, length, hidden]. */
export function throughLayers(
  x: Tensor,
  weights: Weights,
  config: TowerConfig,
  options: { names: LayerNames; training: boolean; causal?: boolean; qkvBias?: boolean },
): Tensor {
  const { names, training, causal = false, qkvBias = true } = options;
  const { heads, epsilon, attentionDropout, hiddenDropout } = config;
  const dropped = (part: Tensor) => (training && hiddenDropout > 0 ? part.dropout(hiddenDropout) : part);
  const activate = activationNames.get(config.activation)!;
  let rows = x;
  for (let layer = 0; layer < config.layers; layer++) {
    const root = names.root(layer);
    const normed = norm(rows, weights, root + names.attentionNorm, epsilon);
    const qkv = [names.query, names.key, names.value].map((part) =>
      linear(normed, weights, root + part, qkvBias),
    );
    const attended = attend(qkv as [Tensor, Tensor, Tensor], {
      ...{ heads, causal },
      dropout: training ? attentionDropout : 0,
    });
    rows = rows.add(dropped(linear(attended, weights, root + names.output)));
    const up = linear(norm(rows, weights, root + names.feedForwardNorm, epsilon), weights, root + names.up);
    rows = rows.add(dropped(linear(activate(up), weights, root + names.down)));
  }
  return rows;
}

/** What a chunk's graph may take, in bytes: libtorch on a CPU has no bound of its own. */
const CHUNK_BYTES = 2 ** 30;

/** How many rows of so many tokens a chunk has by itself: from 1 to 256, as far as their graph takes about a gigabyte. */
export function rowsAtOnce(
  { hidden, intermediate, layers, heads }: TowerConfig,
  tokens: number,
): { readonly sequences: number } {
  // What each layer keeps of a token for the backward pass: norms, queries, keys, values, sums, the feed-forward part.
  const numbers = layers * tokens * (12 * hidden + 2 * intermediate + heads * tokens);
  return { sequences: Math.min(256, Math.max(1, Math.floor(CHUNK_BYTES / (4 * numbers)))) };
}
