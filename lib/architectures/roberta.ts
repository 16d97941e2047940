import type { Architecture } from './architecture.js';
import { bert } from './bert.js';
import { paddingIn } from './config-values.js';

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
  prefix: 'roberta.',
};
