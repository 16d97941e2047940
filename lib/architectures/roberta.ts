import type { Architecture, VocabularyHead } from './architecture.js';
import { bert } from './bert.js';
import { classifierDropout, ownLayers } from './classifier.js';
import { countIn, fractionIn, paddingIn, type Config } from './config-values.js';

/** Of RoBERTa and MPNet. */
export function robertaVocabularyHead(config: Config): VocabularyHead {
  return {
    transform: {
      dense: 'lm_head.dense',
      norm: 'lm_head.layer_norm',
      activation: 'gelu', // in transformers' code, whatever the configuration says
      normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    },
    bias: 'lm_head.bias',
    width: countIn(config, 'hidden_size'),
    copies: {
      'lm_head.decoder.weight': 'embeddings.word_embeddings.weight',
      'lm_head.decoder.bias': 'lm_head.bias',
    },
  };
}

/** RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT: BERT with positions numbered from the padding token's id on. */
export const roberta: Architecture = {
  ...bert,
  tokenizers: {
    roberta: 'RobertaTokenizer',
    'xlm-roberta': 'XLMRobertaTokenizer',
    camembert: 'CamembertTokenizer',
  },
  paddingToken: (config) => paddingIn(config, 1, { null: false }),
  positionsAfterPadding: true,
  classifier: {
    classes: { roberta: 'Roberta', 'xlm-roberta': 'XLMRoberta', camembert: 'Camembert' },
    layers: ownLayers('tanh', classifierDropout),
  },
  prefix: 'roberta.',
  vocabularyHead: robertaVocabularyHead,
};
