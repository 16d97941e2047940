import type { EncoderSettings } from '../addon/native.js';
import { all, only, table } from '../files/key-table.js';
import { size, type Architecture } from './architecture.js';
import { bert } from './bert.js';
import { CONFIG_KEYS } from './config-keys.js';
import {
  activationIn,
  countIn,
  fractionIn,
  numberIn,
  oneIn,
  refusedConfig,
  truthIn,
  type Config,
} from './config-values.js';

const WORDS = 'embeddings.word_embeddings.weight';
const { position_embedding_type: _, ...bertKeys } = Object.fromEntries(CONFIG_KEYS);

/** DeBERTa v2 and v3 (He et al. 2021 and 2023), and with them mDeBERTa: attention that weighs distances apart from content. */
export const debertaV2: Architecture = {
  native: 'deberta-v2',
  tokenizers: { 'deberta-v2': 'DebertaV2Tokenizer' },
  keys: new Map([
    ...Object.entries(bertKeys),
    ...table({
      ...all('read', 'relative_attention max_relative_positions position_buckets norm_rel_ebd share_att_key'),
      ...all('read', 'pos_att_type position_biased_input embedding_size attention_head_size'),
      ...all('read', 'pooler_dropout pooler_hidden_act pooler_hidden_size cls_dropout legacy'),
      conv_kernel_size: only('The convolution of deberta-v2-xlarge and -xxlarge is not supported.', 0, null),
      ...all('kept', 'conv_act conv_groups'),
    }),
  ]),
  sizes: {
    vocabulary: size('vocab_size', 128_100, WORDS),
    hidden: size('hidden_size', 1536, WORDS, 1),
    positions: { key: 'max_position_embeddings', otherwise: 512 },
    intermediate: size('intermediate_size', 6144, 'encoder.layer.0.intermediate.dense.weight'),
    layers: { ...size('num_hidden_layers', 24), weights: { layers: /\.layer\.(\d+)\./ } },
    heads: size('num_attention_heads', 24),
  },
  paddingToken: bert.paddingToken,
  positionsAfterPadding: false,
  alwaysAttended: true,
  settings: (config) => {
    const hidden = countIn(config, 'hidden_size', 1536);
    const head = hidden / countIn(config, 'num_attention_heads', 24);
    requireSame(config, 'embedding_size', hidden);
    requireSame(config, 'pooler_hidden_size', hidden);
    requireSame(config, 'attention_head_size', head);
    const kinds = distanceKinds(config);
    return {
      normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-7),
      activation: activationIn(config, 'hidden_act'),
      hiddenDropout: fractionIn(config, 'hidden_dropout_prob', 0.1),
      attentionDropout: fractionIn(config, 'attention_probs_dropout_prob', 0.1),
      positionTable: truthIn(config, 'position_biased_input', true),
      ...((config['type_vocab_size'] ?? 0) !== 0 && { types: countIn(config, 'type_vocab_size') }),
      // In float32, as transformers computes it whatever the type of the weights is.
      scale: 1 / Math.fround(Math.sqrt(head * (1 + kinds.length))),
      ...(truthIn(config, 'relative_attention', false) ? distancesIn(config, kinds) : {}),
    };
  },
  classifier: {
    classes: { 'deberta-v2': 'DebertaV2' },
    layers: [
      {
        name: 'pooler.dense',
        activation: (config) =>
          config['pooler_hidden_act'] === 'tanh' ? 'tanh' : activationIn(config, 'pooler_hidden_act'),
        dropout: (config) => fractionIn(config, 'pooler_dropout', 0),
      },
      {
        name: 'classifier',
        dropout: (config) =>
          fractionIn(
            config,
            (config['cls_dropout'] ?? null) === null ? 'hidden_dropout_prob' : 'cls_dropout',
            0.1,
          ),
      },
    ],
  },
  adapted: ['query_proj', 'value_proj'],
  prefix: 'deberta.',
  vocabularyHead: (config) => {
    const legacy = truthIn(config, 'legacy', true);
    const root = legacy ? 'cls.predictions' : 'lm_predictions.lm_head';
    const transform = legacy ? `${root}.transform` : root;
    return {
      transform: {
        dense: `${transform}.dense`,
        norm: `${transform}.LayerNorm`,
        activation: activationIn(config, 'hidden_act'),
        normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-7),
      },
      bias: `${root}.bias`,
      width: countIn(config, 'hidden_size', 1536),
      copies: {
        ...(legacy && { 'cls.predictions.decoder.weight': WORDS }),
        ...(legacy && { 'cls.predictions.decoder.bias': 'cls.predictions.bias' }),
      },
    };
  },
  unused: /^(lm_predictions|mask_predictions)\.|^embeddings\.position_embeddings\./,
};

/** What the scores of distances compare: `c2p` a query with the distance, `p2c` the distance with a key. */
function distanceKinds(config: Config): string[] {
  const stated = config['pos_att_type'] ?? [];
  const kinds: unknown = typeof stated === 'string' ? stated.toLowerCase().split('|') : stated;
  const known = (kind: unknown) => typeof kind === 'string' && ['c2p', 'p2c'].includes(kind.trim());
  if (!Array.isArray(kinds) || !kinds.every(known))
    throw refusedConfig('pos_att_type', stated, "a list of 'c2p' and 'p2c'");
  return [...new Set(kinds.map((kind: string) => kind.trim()))];
}

function distancesIn(config: Config, kinds: readonly string[]): EncoderSettings {
  if (kinds.length === 0)
    throw refusedConfig(
      'pos_att_type',
      config['pos_att_type'],
      "'c2p', 'p2c' or both, beside relative_attention,",
    );
  const positions = countIn(config, 'max_position_embeddings', 512);
  const stated = numberIn(config, 'max_relative_positions', -1);
  const farthest = stated < 1 ? positions : countIn(config, 'max_relative_positions');
  const bucketed = numberIn(config, 'position_buckets', -1) > 0;
  const span = bucketed ? countIn(config, 'position_buckets') : farthest;
  // Distances up to half of the buckets have one each, and the others grow from there.
  if (bucketed && (span < 4 || span / 2 >= farthest - 1))
    throw refusedConfig('position_buckets', span, `a number from 4 to less than ${2 * (farthest - 1)}`);
  return {
    span,
    farthest: bucketed ? farthest : 0,
    distanceNorm: oneIn(config, 'norm_rel_ebd', ['none', 'layer_norm'], 'none') === 'layer_norm',
    distanceKeys: kinds.includes('c2p'),
    distanceQueries: kinds.includes('p2c'),
    distanceProducts: !truthIn(config, 'share_att_key', false),
  };
}

function requireSame(config: Config, key: string, value: number): void {
  if ((config[key] ?? value) !== value) throw refusedConfig(key, config[key], String(value));
}
