import { all, table } from '../files/key-table.js';
import type { Architecture } from './architecture.js';
import { bert } from './bert.js';
import { classifierDropout, ownLayers } from './classifier.js';
import { CONFIG_KEYS } from './config-keys.js';
import { countIn, fractionIn } from './config-values.js';

const { hidden, ...sizes } = bert.sizes;

/** ELECTRA (Clark et al. 2020): BERT whose embeddings may have another width than its layers. */
export const electra: Architecture = {
  ...bert,
  native: 'electra',
  tokenizers: { electra: 'ElectraTokenizer' },
  keys: new Map([
    ...CONFIG_KEYS,
    ...table({
      ...all('read', 'embedding_size'),
      ...all('kept', 'summary_type summary_use_proj summary_activation summary_last_dropout'),
    }),
  ]),
  sizes: {
    ...sizes,
    embedding: { ...hidden, key: 'embedding_size', otherwise: 128 },
    hidden: { ...hidden, weights: { tensor: 'encoder.layer.0.output.dense.weight', dimension: 0 } },
  },
  classifier: {
    classes: { electra: 'Electra' },
    layers: ownLayers('gelu', classifierDropout),
  },
  prefix: 'electra.',
  vocabularyHead: (config) => ({
    transform: {
      dense: 'generator_predictions.dense',
      norm: 'generator_predictions.LayerNorm',
      activation: 'gelu', // in transformers' code, whatever the configuration says
      normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    },
    bias: 'generator_lm_head.bias',
    width: countIn(config, 'embedding_size', 128),
    copies: { 'generator_lm_head.weight': 'embeddings.word_embeddings.weight' },
  }),
  unused: /^(discriminator_predictions|generator_predictions|generator_lm_head)\./,
};
