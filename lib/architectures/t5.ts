import { all, table } from '../files/key-table.js';
import { size, type Architecture } from './architecture.js';
import { ENCODERS_ALONE, KEPT_KEYS } from './config-keys.js';
import { activationIn, countIn, fractionIn, refusedConfig, type Config } from './config-values.js';

const BUCKETS = 'relative_attention_num_buckets';
const { is_encoder_decoder: _, ...refused } = Object.fromEntries(ENCODERS_ALONE);

/** The encoder of T5 (Raffel et al. 2020): sentence-t5, gtr. The decoder of a folder that has one is kept as it is. */
export const t5: Architecture = {
  native: 't5',
  tokenizers: { t5: 'T5Tokenizer' },
  keys: new Map([
    ...Object.entries(refused),
    ...KEPT_KEYS,
    ...table({
      ...all('read', 'model_type vocab_size d_model d_kv d_ff num_layers num_heads dropout_rate'),
      ...all('read', `${BUCKETS} relative_attention_max_distance layer_norm_epsilon feed_forward_proj`),
      ...all('read', 'dense_act_fn is_gated_act pad_token_id dtype torch_dtype initializer_range'),
      ...all('kept', 'num_decoder_layers initializer_factor scale_decoder_outputs n_positions'),
      ...all('kept', 'is_encoder_decoder decoder_start_token_id output_past'),
    }),
  ]),
  sizes: {
    vocabulary: size('vocab_size', 32128, 'shared.weight'),
    hidden: size('d_model', 512, 'shared.weight', 1),
    // Distances have buckets for texts of any length; transformers has no limit either.
    positions: { key: 'max_position_embeddings', otherwise: 32768 },
    intermediate: size('d_ff', 2048, 'encoder.block.0.layer.1.DenseReluDense.wo.weight', 1),
    layers: {
      key: 'num_layers',
      otherwise: 6,
      weights: { layers: /^encoder\.block\.(\d+)\./ },
    },
    heads: { key: 'num_heads', otherwise: 8 },
    headSize: { key: 'd_kv', otherwise: 64 },
    relativeBuckets: size(
      BUCKETS,
      32,
      'encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight',
    ),
    relativeDistance: { key: 'relative_attention_max_distance', otherwise: 128 },
  },
  paddingToken: () => -1, // its vector is trained, in transformers too
  positionsAfterPadding: false,
  settings: (config) => {
    const buckets = countIn(config, BUCKETS, 32);
    if (buckets < 4 || buckets % 2 !== 0) throw refusedConfig(BUCKETS, buckets, 'an even number from 4 up');
    return {
      normEpsilon: fractionIn(config, 'layer_norm_epsilon', 1e-6),
      hiddenDropout: fractionIn(config, 'dropout_rate', 0.1),
      ...feedForwardIn(config),
    };
  },
  prefix: '',
  unused: /^(decoder|lm_head)\.|^encoder\.embed_tokens\./,
};

/** `feed_forward_proj` is an activation's name, which may say `gated-`; `gated-gelu` means the one by tanh. */
function feedForwardIn(config: Config) {
  const stated = config['feed_forward_proj'] ?? 'relu';
  if (typeof stated !== 'string') throw refusedConfig('feed_forward_proj', stated, "an activation's name");
  const gated = stated.startsWith('gated-');
  const name = stated === 'gated-gelu' ? 'gelu_new' : gated ? stated.slice('gated-'.length) : stated;
  return { gated, activation: activationIn({ feed_forward_proj: name }, 'feed_forward_proj') };
}
