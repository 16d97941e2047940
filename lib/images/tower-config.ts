import { countIn, fractionIn, refusedConfig, truthIn, type Config } from '../architectures/config-values.js';
import { call } from '../tensor/operators.js';
import type { Tensor } from '../tensor/tensor.js';

/** The sizes of a tower's transformer. */
export interface TowerConfig {
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: string;
  readonly epsilon: number;
  readonly attentionDropout: number;
  readonly hiddenDropout: number;
}

/** Activations by transformers' names. */
export const activationNames: ReadonlyMap<string, (x: Tensor) => Tensor> = new Map([
  ['quick_gelu', (x: Tensor) => x.mul(x.mul(1.702).sigmoid())],
  ['gelu', (x: Tensor) => x.gelu()],
  ['gelu_pytorch_tanh', tanhGelu],
  ['gelu_new', tanhGelu],
  ['relu', (x: Tensor) => x.relu()],
  ['silu', (x: Tensor) => x.mul(x.sigmoid())],
]);

function tanhGelu(x: Tensor): Tensor {
  return call('aten::gelu', x, { approximate: 'tanh' });
}

/** What transformers takes where config.json says nothing. */
export type TowerDefaults = Omit<TowerConfig, 'hiddenDropout' | 'attentionDropout'>;

/**
 * @param dropout replaces all dropout probabilities where it is given
 * @throws GradCacheError `CHECKPOINT`
 */
export function towerConfig(config: Config, defaults: TowerDefaults, dropout?: number): TowerConfig {
  const hidden = countIn(config, 'hidden_size', defaults.hidden);
  const heads = countIn(config, 'num_attention_heads', defaults.heads);
  if (hidden % heads !== 0)
    throw refusedConfig('num_attention_heads', heads, `a divisor of hidden_size ${hidden}`);
  const activation = config['hidden_act'] ?? defaults.activation;
  if (typeof activation !== 'string' || !activationNames.has(activation))
    throw refusedConfig('hidden_act', activation, `a name of ${[...activationNames.keys()].join(', ')}`);
  const attention = 'attention_dropout' in config ? 'attention_dropout' : 'attention_probs_dropout_prob';
  return {
    ...{ hidden, heads, activation },
    intermediate: countIn(config, 'intermediate_size', defaults.intermediate),
    layers: countIn(config, 'num_hidden_layers', defaults.layers),
    epsilon: fractionIn(config, 'layer_norm_eps', defaults.epsilon),
    attentionDropout: dropout ?? fractionIn(config, attention, 0),
    hiddenDropout: dropout ?? fractionIn(config, 'hidden_dropout_prob', 0),
  };
}

/** The patches of pictures: their side, and how many there are to a side. @throws GradCacheError `CHECKPOINT` */
export function patchesIn(config: Config): {
  readonly side: number;
  readonly patch: number;
  readonly count: number;
} {
  const side = countIn(config, 'image_size', 224);
  const patch = countIn(config, 'patch_size', config['model_type'] === 'clip_vision_model' ? 32 : 16);
  if (countIn(config, 'num_channels', 3) !== 3)
    throw refusedConfig('num_channels', config['num_channels'], '3');
  if (truthIn(config, 'use_mask_token', false)) throw refusedConfig('use_mask_token', true, 'false');
  const count = Math.floor(side / patch) ** 2;
  if (count === 0) throw refusedConfig('patch_size', patch, `at most image_size ${side}`);
  return { side, patch, count };
}
