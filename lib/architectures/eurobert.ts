import { all, table } from '../files/key-table.js';
import { truthIn } from './config-values.js';
import { decoder } from './decoder.js';

/** EuroBERT (Boizard et al. 2025): Llama that attends in both directions. */
export const eurobert = decoder(
  { eurobert: 'PreTrainedTokenizerFast' },
  {
    defaults: {
      ...{ vocabulary: 128_256, hidden: 768, intermediate: 3072, layers: 12, heads: 12 },
      ...{ positions: 8192, padding: 128_001, normEpsilon: 1e-5 },
    },
    keys: table({ ...all('read', 'hidden_act'), ...all('kept', 'mask_token_id classifier_pooling') }),
    settings: (config) => {
      const bias = truthIn(config, 'attention_bias', false);
      return {
        causal: false,
        attentionBias: bias,
        outputBias: bias,
        feedForwardBias: truthIn(config, 'mlp_bias', false),
      };
    },
  },
);
