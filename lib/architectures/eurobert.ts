import type { VocabularyHead } from './architecture.js';
import { all, table } from '../files/key-table.js';
import { countIn, oneIn, truthIn, type Config } from './config-values.js';
import { decoder } from './decoder.js';

/** EuroBERT (Boizard et al. 2025): Llama that attends in both directions. */
export const eurobert = decoder(
  { eurobert: 'PreTrainedTokenizerFast' },
  {
    classifier: {
      classes: { eurobert: 'EuroBert' },
      pooling: (config) => (poolingIn(config) === 'bos' ? 'cls' : 'mean'),
      // "late" takes the mean of the tokens' logits, and the last layer of a mean is the mean of that layer.
      perToken: (config) => (poolingIn(config) === 'late' ? 1 : 0),
      layers: [{ name: 'dense', activation: () => 'gelu' }, { name: 'classifier' }],
    },
    vocabularyHead: (config): VocabularyHead => ({
      ...(truthIn(config, 'tie_word_embeddings', false)
        ? { words: 'embed_tokens', copies: { 'lm_head.weight': 'embed_tokens.weight' } }
        : { words: 'lm_head', ownWords: true, copies: {} }),
      ...(truthIn(config, 'mlp_bias', false) && { bias: 'lm_head.bias' }),
      width: countIn(config, 'hidden_size', 768),
    }),
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

function poolingIn(config: Config): string {
  return oneIn(config, 'classifier_pooling', ['bos', 'mean', 'late'], 'late');
}
