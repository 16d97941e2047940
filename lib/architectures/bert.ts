import type { Architecture } from './architecture.js';
import { classifierDropout, poolerLayers } from './classifier.js';
import { CONFIG_KEYS } from './config-keys.js';
import { activationIn, countIn, fractionIn, paddingIn } from './config-values.js';

const size = (key: string, tensor: string, dimension = 0) => ({ key, weights: { tensor, dimension } });

/** BERT (Devlin et al. 2019), and with it MiniLM, e5, bge, gte. */
export const bert = {
  native: 'bert',
  tokenizers: { bert: 'BertTokenizer' },
  keys: CONFIG_KEYS,
  sizes: {
    vocabulary: size('vocab_size', 'embeddings.word_embeddings.weight'),
    hidden: size('hidden_size', 'embeddings.word_embeddings.weight', 1),
    positions: {
      ...size('max_position_embeddings', 'embeddings.position_embeddings.weight'),
      otherwise: 512,
    },
    types: { ...size('type_vocab_size', 'embeddings.token_type_embeddings.weight'), otherwise: 2 },
    intermediate: size('intermediate_size', 'encoder.layer.0.intermediate.dense.weight'),
    layers: { key: 'num_hidden_layers', weights: { layers: /\.layer\.(\d+)\./ } },
    heads: { key: 'num_attention_heads' },
  },
  paddingToken: (config) => paddingIn(config, 0, { null: true }),
  positionsAfterPadding: false,
  settings: (config) => ({
    normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    activation: activationIn(config, 'hidden_act'),
    hiddenDropout: fractionIn(config, 'hidden_dropout_prob', 0.1),
    attentionDropout: fractionIn(config, 'attention_probs_dropout_prob', 0.1),
  }),
  classifier: {
    classes: { bert: 'Bert' },
    layers: poolerLayers('pooler.dense', classifierDropout),
  },
  adapted: ['query', 'value'],
  prefix: 'bert.',
  vocabularyHead: (config) => ({
    transform: {
      dense: 'cls.predictions.transform.dense',
      norm: 'cls.predictions.transform.LayerNorm',
      activation: activationIn(config, 'hidden_act'),
      normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    },
    bias: 'cls.predictions.bias',
    width: countIn(config, 'hidden_size'),
    copies: {
      'cls.predictions.decoder.weight': 'embeddings.word_embeddings.weight',
      'cls.predictions.decoder.bias': 'cls.predictions.bias',
    },
  }),
} satisfies Architecture;
