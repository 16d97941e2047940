import { all, only, table } from '../files/key-table.js';
import type { Architecture } from './architecture.js';
import { bert } from './bert.js';
import { poolerLayers } from './classifier.js';
import { CONFIG_KEYS } from './config-keys.js';
import { activationIn, countIn, fractionIn } from './config-values.js';

const SHARED = 'Models whose layers are not all the same one are not supported.';
const LAYER = 'encoder.albert_layer_groups.0.albert_layers.0';
const { vocabulary, positions, types } = bert.sizes;

/** ALBERT (Lan et al. 2020): narrow embeddings, and one layer that is gone through again and again. */
export const albert: Architecture = {
  native: 'albert',
  tokenizers: { albert: 'AlbertTokenizer' },
  keys: new Map([
    ...CONFIG_KEYS,
    ...table({
      ...all('read', 'embedding_size'),
      ...all(
        'kept',
        'classifier_dropout_prob net_structure_type gap_size num_memory_blocks down_scale_factor',
      ),
      num_hidden_groups: only(SHARED, 1),
      inner_group_num: only(SHARED, 1),
    }),
  ]),
  sizes: {
    vocabulary: { ...vocabulary, otherwise: 30000 },
    positions,
    types,
    embedding: {
      key: 'embedding_size',
      otherwise: 128,
      weights: { tensor: 'embeddings.word_embeddings.weight', dimension: 1 },
    },
    hidden: {
      key: 'hidden_size',
      otherwise: 4096,
      weights: { tensor: 'encoder.embedding_hidden_mapping_in.weight', dimension: 0 },
    },
    intermediate: {
      key: 'intermediate_size',
      otherwise: 16384,
      weights: { tensor: `${LAYER}.ffn.weight`, dimension: 0 },
    },
    layers: { key: 'num_hidden_layers', otherwise: 12 },
    heads: { key: 'num_attention_heads', otherwise: 64 },
  },
  paddingToken: bert.paddingToken,
  positionsAfterPadding: false,
  settings: (config) => ({
    normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    activation: activationIn(config, 'hidden_act', 'gelu_new'),
    hiddenDropout: fractionIn(config, 'hidden_dropout_prob', 0),
    attentionDropout: fractionIn(config, 'attention_probs_dropout_prob', 0),
  }),
  classifier: {
    classes: { albert: 'Albert' },
    layers: poolerLayers('pooler', (config) => fractionIn(config, 'classifier_dropout_prob', 0.1)),
  },
  prefix: 'albert.',
  vocabularyHead: (config) => ({
    transform: {
      dense: 'predictions.dense',
      norm: 'predictions.LayerNorm',
      activation: activationIn(config, 'hidden_act', 'gelu_new'),
      normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    },
    bias: 'predictions.bias',
    width: countIn(config, 'embedding_size', 128),
    copies: {
      'predictions.decoder.weight': 'embeddings.word_embeddings.weight',
      'predictions.decoder.bias': 'predictions.bias',
    },
  }),
  unused: /^(predictions|sop_classifier)\./,
};
