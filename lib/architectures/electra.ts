import { all, table } from '../files/key-table.js';
import type { Architecture } from './architecture.js';
import { bert } from './bert.js';
import { CONFIG_KEYS } from './config-keys.js';

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
  prefix: 'electra.',
  unused: /^(discriminator_predictions|generator_predictions|generator_lm_head)\./,
};
