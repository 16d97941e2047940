import { countIn, numberIn, type Config } from '../architectures/config-values.js';
import { call } from '../tensor/operators.js';
import { inType } from '../tensor/in-type.js';
import type { Tensor } from '../tensor/tensor.js';
import { towerConfig } from './tower-config.js';
import {
  addLayers,
  addLinear,
  addNorm,
  CLIP_LAYERS,
  linear,
  norm,
  rowsAtOnce,
  throughLayers,
  type Shapes,
  type Weights,
} from './transformer.js';
import type { Tower } from './vision-tower.js';

/** A tower of captions, `ids` [n, length] as int64. */
export interface CaptionTower extends Tower {
  /** The most tokens. */
  readonly positions: number;
  /** Whether all captions are as long as that, their padding with them. */
  readonly full: boolean;
}

/** @throws GradCacheError `CHECKPOINT` */
export function captionTower(
  kind: 'clip' | 'siglip',
  config: Config,
  { projection, dropout }: { projection: number; dropout?: number | undefined },
): CaptionTower {
  const clip = kind === 'clip';
  const sizes = clip
    ? { hidden: 512, intermediate: 2048, layers: 12, heads: 8, activation: 'quick_gelu', epsilon: 1e-5 }
    : {
        hidden: 768,
        intermediate: 3072,
        layers: 12,
        heads: 12,
        activation: 'gelu_pytorch_tanh',
        epsilon: 1e-6,
      };
  const tower = towerConfig(config, sizes, dropout);
  const { hidden, epsilon } = tower;
  const positions = countIn(config, 'max_position_embeddings', clip ? 77 : 64);
  const head = clip ? 'text_projection' : 'head';
  const out = clip ? projection : countIn(config, 'projection_size', hidden);
  const shapes: Shapes = new Map();
  shapes.set('embeddings.token_embedding.weight', [
    countIn(config, 'vocab_size', clip ? 49408 : 32000),
    hidden,
  ]);
  shapes.set('embeddings.position_embedding.weight', [positions, hidden]);
  addLayers(shapes, tower, CLIP_LAYERS);
  addNorm(shapes, 'final_layer_norm', hidden);
  addLinear(shapes, head, out, hidden, !clip);
  const end = numberIn(config, 'eos_token_id', 49407);
  return {
    ...{ positions, shapes },
    full: !clip,
    dimension: out,
    outside: new Set(['text_projection.weight']),
    chunk: rowsAtOnce(tower, positions),
    forward: (ids: Tensor, weights: Weights, training: boolean): Tensor => {
      const [n, length] = ids.shape as [number, number];
      const words = call('aten::embedding', weights.kept('embeddings.token_embedding.weight'), ids);
      const places = weights('embeddings.position_embedding.weight').narrow(0, 0, length);
      const x = inType(words, places.dtype).add(places);
      const rows = throughLayers(x, weights, tower, { names: CLIP_LAYERS, training, causal: clip });
      const place = clip
        ? endsOf(ids, end)
        : call('aten::full', [n], length - 1, { dtype: 'int64', device: ids.device });
      const index = call('aten::expand', place.reshape([n, 1, 1]), [n, 1, hidden]);
      const pooled = call('aten::gather', rows, 1, index).reshape([n, hidden]);
      return linear(norm(pooled, weights, 'final_layer_norm', epsilon), weights, head, !clip);
    },
  };
}

/** int64 [n]: where each caption ends. Configurations of the first releases say 2, and mean the token with the highest number. */
function endsOf(ids: Tensor, end: number): Tensor {
  if (end === 2) return call('aten::argmax', ids, 1);
  return call('aten::argmax', call('aten::eq.Scalar', ids, end).to({ dtype: 'int64' }), 1);
}
