import { show } from '../options/option-values.js';
import type { Architecture } from './architecture.js';
import { bert } from './bert.js';
import { activationIn, countIn, fractionIn, refusedConfig, type Config } from './config-values.js';

/** Names that transformers takes for DistilBERT's own as well. */
const OTHER_NAMES = { dim: 'hidden_size', n_layers: 'num_hidden_layers', n_heads: 'num_attention_heads' };

function own(config: Config): Config {
  const named = { ...config };
  for (const [key, other] of Object.entries(OTHER_NAMES)) {
    if (config[other] === undefined) continue;
    if (named[key] === undefined) named[key] = config[other];
    if (named[key] !== config[other])
      throw refusedConfig(other, config[other], `the ${show(named[key])} of ${key}, its other name,`);
  }
  return named;
}

const { vocabulary, hidden, positions, layers } = bert.sizes;

/** DistilBERT (Sanh et al. 2019). */
export const distilbert: Architecture = {
  ...bert,
  native: 'distilbert',
  tokenizers: { distilbert: 'BertTokenizer' },
  own,
  sizes: {
    vocabulary,
    hidden: { ...hidden, key: 'dim' },
    positions,
    intermediate: {
      key: 'hidden_dim',
      weights: { tensor: 'transformer.layer.0.ffn.lin1.weight', dimension: 0 },
    },
    layers: { ...layers, key: 'n_layers' },
    heads: { key: 'n_heads' },
  },
  settings: (config) => ({
    normEpsilon: 1e-12, // in transformers' code, whatever the configuration says
    activation: activationIn(config, 'activation'),
    hiddenDropout: fractionIn(config, 'dropout', 0.1),
    attentionDropout: fractionIn(config, 'attention_dropout', 0.1),
  }),
  classifier: {
    classes: { distilbert: 'DistilBert' },
    layers: [
      { name: 'pre_classifier', activation: () => 'relu' },
      { name: 'classifier', dropout: (config) => fractionIn(config, 'seq_classif_dropout', 0.2) },
    ],
  },
  adapted: ['q_lin', 'v_lin'],
  prefix: 'distilbert.',
  vocabularyHead: (config) => ({
    transform: {
      dense: 'vocab_transform',
      norm: 'vocab_layer_norm',
      activation: activationIn(config, 'activation'),
      normEpsilon: 1e-12, // in transformers' code, whatever the configuration says
    },
    bias: 'vocab_projector.bias',
    width: countIn(config, 'dim'),
    copies: { 'vocab_projector.weight': 'embeddings.word_embeddings.weight' },
  }),
};
