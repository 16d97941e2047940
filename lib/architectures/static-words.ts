import { all, table } from '../files/key-table.js';
import type { Architecture } from './architecture.js';

const vectors = (key: string, dimension: number) => ({
  key,
  weights: { tensor: 'embedding.weight', dimension },
});

/**
 * Word vectors alone, of which a text's representation is the mean: StaticEmbedding of sentence-transformers and Model2Vec. Their
 * folders have no config.json of this kind; its keys are read off the vectors.
 */
export const staticWords: Architecture = {
  native: 'static',
  tokenizers: { static: 'PreTrainedTokenizerFast' },
  keys: table(all('read', 'model_type vocab_size hidden_size max_position_embeddings')),
  sizes: {
    vocabulary: vectors('vocab_size', 0),
    positions: { key: 'max_position_embeddings', otherwise: 2 ** 30 },
    hidden: vectors('hidden_size', 1),
  },
  paddingToken: () => -1,
  positionsAfterPadding: false,
  alwaysAttended: true,
  settings: () => ({}),
  prefix: '',
};
