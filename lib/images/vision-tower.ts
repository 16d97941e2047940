import { truthIn, type Config } from '../architectures/config-values.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';
import { activationNames, patchesIn, towerConfig, type TowerConfig } from './tower-config.js';
import {
  addLayers,
  addLinear,
  addNorm,
  attend,
  CLIP_LAYERS,
  linear,
  norm,
  rowsAtOnce,
  throughLayers,
  VIT_LAYERS,
  type Shapes,
  type Weights,
} from './transformer.js';

/** A tower: its weights, and what it makes of the rows of a chunk. */
export interface Tower {
  readonly dimension: number;
  /** Shapes of its weights by name, those of a projection behind it among them. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** Names that are not below the tower's prefix, such as its projection's. */
  readonly outside: ReadonlySet<string>;
  /** How many rows a chunk has where nothing is said. */
  readonly chunk: { readonly sequences: number };
  forward(input: Tensor, weights: Weights, training: boolean): Tensor;
}

/** A tower of pictures, `pixels` [n, 3, side, side]. */
export interface VisionTower extends Tower {
  /** The width and height of the pictures that it takes. */
  readonly side: number;
}

export type VisionKind = 'clip' | 'siglip' | 'vit';

/** @throws GradCacheError `CHECKPOINT` */
export function visionTower(
  kind: VisionKind,
  config: Config,
  options: { projection?: number | undefined; dropout?: number | undefined },
): VisionTower {
  if (kind === 'clip') return clipVision(config, options);
  return kind === 'siglip' ? siglipVision(config, options.dropout) : vit(config, options.dropout);
}

const SIZES = { hidden: 768, intermediate: 3072, layers: 12, heads: 12 };

/** Rows of patches [n, count, hidden]. */
function patches(pixels: Tensor, weights: Weights, name: string, patch: number, bias: boolean): Tensor {
  const weight = weights(`${name}.weight`);
  const made = call('aten::conv2d', pixels, weight, bias ? weights(`${name}.bias`) : null, [patch, patch]);
  const [n, hidden] = made.shape as [number, number];
  return made.reshape([n, hidden, -1]).transpose(1, 2);
}

/** A row that stands before those of the patches, in every picture. */
function before(rows: Tensor, first: Tensor): Tensor {
  const [n, , hidden] = rows.shape as [number, number, number];
  return call('aten::cat', [call('aten::expand', first.reshape([1, 1, hidden]), [n, 1, hidden]), rows], 1);
}

const row = (rows: Tensor, place: number): Tensor => call('aten::select.int', rows, 1, place);

function patchShapes(
  shapes: Shapes,
  name: string,
  { hidden }: TowerConfig,
  patch: number,
  bias: boolean,
): void {
  shapes.set(`${name}.weight`, [hidden, 3, patch, patch]);
  if (bias) shapes.set(`${name}.bias`, [hidden]);
}

/** CLIP's (Radford et al. 2021): the first row behind a norm, and a projection where the folder has one. */
function clipVision(
  config: Config,
  { projection, dropout }: { projection?: number | undefined; dropout?: number | undefined },
): VisionTower {
  const tower = towerConfig(config, { ...SIZES, activation: 'quick_gelu', epsilon: 1e-5 }, dropout);
  const { side, patch, count } = patchesIn(config);
  const { hidden, epsilon } = tower;
  const shapes: Shapes = new Map();
  shapes.set('embeddings.class_embedding', [hidden]);
  patchShapes(shapes, 'embeddings.patch_embedding', tower, patch, false);
  shapes.set('embeddings.position_embedding.weight', [count + 1, hidden]);
  addNorm(shapes, 'pre_layrnorm', hidden);
  addLayers(shapes, tower, CLIP_LAYERS);
  addNorm(shapes, 'post_layernorm', hidden);
  if (projection !== undefined) addLinear(shapes, 'visual_projection', projection, hidden, false);
  return {
    ...{ side, shapes },
    dimension: projection ?? hidden,
    outside: new Set(['visual_projection.weight']),
    chunk: rowsAtOnce(tower, count + 1),
    forward: (pixels, weights, training) => {
      const rows = patches(pixels, weights, 'embeddings.patch_embedding', patch, false);
      const placed = before(rows, weights('embeddings.class_embedding')).add(
        weights('embeddings.position_embedding.weight'),
      );
      const x = norm(placed, weights, 'pre_layrnorm', epsilon);
      const y = row(throughLayers(x, weights, tower, { names: CLIP_LAYERS, training }), 0);
      const pooled = norm(y, weights, 'post_layernorm', epsilon);
      return projection === undefined ? pooled : linear(pooled, weights, 'visual_projection', false);
    },
  };
}

/** SigLIP's (Zhai et al. 2023): a learned query attends to all rows. */
function siglipVision(config: Config, dropout?: number): VisionTower {
  const tower = towerConfig(config, { ...SIZES, activation: 'gelu_pytorch_tanh', epsilon: 1e-6 }, dropout);
  const { side, patch, count } = patchesIn(config);
  const { hidden, intermediate, heads, epsilon } = tower;
  const shapes: Shapes = new Map();
  patchShapes(shapes, 'embeddings.patch_embedding', tower, patch, true);
  shapes.set('embeddings.position_embedding.weight', [count, hidden]);
  addLayers(shapes, tower, CLIP_LAYERS);
  addNorm(shapes, 'post_layernorm', hidden);
  shapes.set('head.probe', [1, 1, hidden]);
  shapes.set('head.attention.in_proj_weight', [3 * hidden, hidden]);
  shapes.set('head.attention.in_proj_bias', [3 * hidden]);
  addLinear(shapes, 'head.attention.out_proj', hidden, hidden);
  addNorm(shapes, 'head.layernorm', hidden);
  addLinear(shapes, 'head.mlp.fc1', intermediate, hidden);
  addLinear(shapes, 'head.mlp.fc2', hidden, intermediate);
  const activate = activationNames.get(tower.activation)!;
  return {
    ...{ side, shapes },
    dimension: hidden,
    outside: new Set(),
    chunk: rowsAtOnce(tower, count),
    forward: (pixels, weights, training) => {
      const rows = patches(pixels, weights, 'embeddings.patch_embedding', patch, true);
      const x = rows.add(weights('embeddings.position_embedding.weight'));
      const y = norm(
        throughLayers(x, weights, tower, { names: CLIP_LAYERS, training }),
        weights,
        'post_layernorm',
        epsilon,
      );
      const probe = call('aten::expand', weights('head.probe'), [y.shape[0], 1, hidden]);
      const part = (input: Tensor, number: number) =>
        input.linear(
          weights('head.attention.in_proj_weight').narrow(0, number * hidden, hidden),
          weights('head.attention.in_proj_bias').narrow(0, number * hidden, hidden),
        );
      const attended = attend([part(probe, 0), part(y, 1), part(y, 2)], { heads });
      const pooled = row(linear(attended, weights, 'head.attention.out_proj'), 0);
      const normed = norm(pooled, weights, 'head.layernorm', epsilon);
      return pooled.add(linear(activate(linear(normed, weights, 'head.mlp.fc1')), weights, 'head.mlp.fc2'));
    },
  };
}

/** ViT (Dosovitskiy et al. 2021): the first row behind the last norm. The pooler of a folder is kept as it is. */
function vit(config: Config, dropout?: number): VisionTower {
  const tower = towerConfig(config, { ...SIZES, activation: 'gelu', epsilon: 1e-12 }, dropout);
  const { side, patch, count } = patchesIn(config);
  const { hidden, epsilon, hiddenDropout } = tower;
  const qkvBias = truthIn(config, 'qkv_bias', true);
  const shapes: Shapes = new Map();
  shapes.set('embeddings.cls_token', [1, 1, hidden]);
  patchShapes(shapes, 'embeddings.patch_embeddings.projection', tower, patch, true);
  shapes.set('embeddings.position_embeddings', [1, count + 1, hidden]);
  addLayers(shapes, tower, VIT_LAYERS, qkvBias);
  addNorm(shapes, 'layernorm', hidden);
  return {
    ...{ side, shapes },
    dimension: hidden,
    outside: new Set(),
    chunk: rowsAtOnce(tower, count + 1),
    forward: (pixels, weights, training) => {
      const rows = patches(pixels, weights, 'embeddings.patch_embeddings.projection', patch, true);
      const placed = before(rows, weights('embeddings.cls_token')).add(
        weights('embeddings.position_embeddings'),
      );
      const x = training && hiddenDropout > 0 ? placed.dropout(hiddenDropout) : placed;
      const y = row(throughLayers(x, weights, tower, { names: VIT_LAYERS, training, qkvBias }), 0);
      return norm(y, weights, 'layernorm', epsilon);
    },
  };
}
