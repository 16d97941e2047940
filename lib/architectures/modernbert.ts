import { all, table } from '../files/key-table.js';
import { size, type Architecture } from './architecture.js';
import { ENCODERS_ALONE, KEPT_KEYS } from './config-keys.js';
import {
  activationIn,
  countIn,
  fractionIn,
  numberIn,
  oneIn,
  paddingIn,
  truthIn,
  type Config,
} from './config-values.js';
import { layerTypesIn, rotationOfLayer, windowsOf } from './layer-types.js';
import { rotaryIn } from './rotary.js';

/** ModernBERT (Warner et al. 2024), and with it Ettin, gte-modernbert, mmBERT. */
export const modernbert: Architecture = {
  native: 'modernbert',
  tokenizers: { modernbert: 'PreTrainedTokenizerFast' },
  fixedTokenizer: true,
  keys: new Map([
    ...ENCODERS_ALONE,
    ...KEPT_KEYS,
    ...table({
      ...all(
        'read',
        'model_type vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size',
      ),
      ...all('read', 'max_position_embeddings pad_token_id hidden_activation norm_eps norm_bias'),
      ...all('read', 'attention_bias attention_dropout mlp_bias mlp_dropout embedding_dropout'),
      ...all('read', 'layer_types local_attention rope_parameters rope_scaling initializer_range'),
      ...all('read', 'global_attn_every_n_layers global_rope_theta local_rope_theta dtype torch_dtype'),
      ...all(
        'kept',
        'initializer_cutoff_factor cls_token_id decoder_bias classifier_pooling classifier_bias',
      ),
      ...all('kept', 'classifier_activation deterministic_flash_attn sparse_prediction'),
      ...all('kept', 'sparse_pred_ignore_index'),
    }),
  ]),
  sizes: {
    vocabulary: size('vocab_size', 50368, 'embeddings.tok_embeddings.weight'),
    hidden: size('hidden_size', 768, 'embeddings.tok_embeddings.weight', 1),
    positions: { key: 'max_position_embeddings', otherwise: 8192 },
    intermediate: size('intermediate_size', 1152, 'layers.0.mlp.Wo.weight', 1),
    layers: { key: 'num_hidden_layers', otherwise: 22, weights: { layers: /^layers\.(\d+)\./ } },
    heads: { key: 'num_attention_heads', otherwise: 12 },
  },
  paddingToken: (config) => paddingIn(config, 50283, { null: true }),
  positionsAfterPadding: false,
  settings: (config) => ({
    normEpsilon: fractionIn(config, 'norm_eps', 1e-5),
    normBias: truthIn(config, 'norm_bias', false),
    attentionBias: truthIn(config, 'attention_bias', false),
    feedForwardBias: truthIn(config, 'mlp_bias', false),
    activation: activationIn(config, 'hidden_activation'),
    attentionDropout: fractionIn(config, 'attention_dropout', 0),
    embeddingDropout: fractionIn(config, 'embedding_dropout', 0),
    feedForwardDropout: fractionIn(config, 'mlp_dropout', 0),
    ...layerSettings(config),
  }),
  classifier: {
    classes: { modernbert: 'ModernBert' },
    pooling: (config) =>
      oneIn(config, 'classifier_pooling', ['cls', 'mean'], 'cls') === 'mean' ? 'mean' : 'cls',
    layers: [
      { name: 'head.dense', activation: headActivation, bias: headBias },
      {
        name: 'head.norm',
        epsilon: (config) => fractionIn(config, 'norm_eps', 1e-5),
        bias: (config) => truthIn(config, 'norm_bias', false),
      },
      { name: 'classifier', dropout: (config) => fractionIn(config, 'classifier_dropout', 0) },
    ],
  },
  prefix: 'model.',
  vocabularyHead: (config) => ({
    words: 'embeddings.tok_embeddings',
    transform: {
      dense: 'head.dense',
      denseBias: headBias(config),
      norm: 'head.norm',
      normBias: truthIn(config, 'norm_bias', false),
      activation: headActivation(config),
      normEpsilon: fractionIn(config, 'norm_eps', 1e-5),
    },
    ...(truthIn(config, 'decoder_bias', true) && { bias: 'decoder.bias' }),
    width: countIn(config, 'hidden_size', 768),
    copies: { 'decoder.weight': 'embeddings.tok_embeddings.weight' },
  }),
  unused: /^(head|decoder|classifier)\./,
};

function headActivation(config: Config): string {
  return activationIn(config, 'classifier_activation');
}

function headBias(config: Config): boolean {
  return truthIn(config, 'classifier_bias', false);
}

/** Every third layer attends to the whole text, the others to a window; each kind has angles of its own. */
function layerSettings(config: Config) {
  const layers = countIn(config, 'num_hidden_layers', 22);
  const every = countIn(config, 'global_attn_every_n_layers', 3);
  const types = layerTypesIn(config, layers, (layer) =>
    layer % every === 0 ? 'full_attention' : 'sliding_attention',
  );
  const window = Math.floor(countIn(config, 'local_attention', 128) / 2);
  const head = countIn(config, 'hidden_size', 768) / countIn(config, 'num_attention_heads', 12);
  const rotary = (layerType: string, key: string, otherwise: number) =>
    rotaryIn(config, { layerType, size: head, theta: numberIn(config, key, otherwise) });
  return {
    windows: windowsOf(types, window),
    rotations: [
      rotary('full_attention', 'global_rope_theta', 160_000),
      rotary('sliding_attention', 'local_rope_theta', 10_000),
    ],
    rotationOfLayer: rotationOfLayer(types),
  };
}
