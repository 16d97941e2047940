import type { Architecture } from './architecture.js';
import { bert } from './bert.js';
import { ownLayers } from './classifier.js';
import { countIn, fractionIn, refusedConfig } from './config-values.js';
import { robertaVocabularyHead } from './roberta.js';

const { types: _, ...sizes } = bert.sizes;
const BUCKETS = 'relative_attention_num_buckets';

/** MPNet (Song et al. 2020): RoBERTa's positions, no token types, and a learned bias by distance. */
export const mpnet: Architecture = {
  ...bert,
  native: 'mpnet',
  tokenizers: { mpnet: 'MPNetTokenizer' },
  sizes: {
    ...sizes,
    relativeBuckets: {
      key: BUCKETS,
      otherwise: 32,
      weights: { tensor: 'encoder.relative_attention_bias.weight', dimension: 0 },
    },
  },
  paddingToken: () => 1, // in transformers' code, whatever the configuration says
  positionsAfterPadding: true,
  settings: (config) => {
    // Half of the buckets are for each direction, and half of those for exact distances: with fewer than four there are none.
    const buckets = countIn(config, BUCKETS, 32);
    if (buckets < 4 || buckets % 2 !== 0) throw refusedConfig(BUCKETS, buckets, 'an even number from 4 up');
    return bert.settings(config);
  },
  classifier: {
    classes: { mpnet: 'MPNet' },
    layers: ownLayers('tanh', (config) => fractionIn(config, 'hidden_dropout_prob', 0.1)),
  },
  adapted: ['q', 'v'],
  prefix: 'mpnet.',
  vocabularyHead: robertaVocabularyHead,
};
