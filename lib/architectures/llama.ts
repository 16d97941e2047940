import { all, table } from '../files/key-table.js';
import { lastTokenClassifier } from './classifier.js';
import { truthIn } from './config-values.js';
import { causalWindow, decoder, everyLayer, layersIn } from './decoder.js';

const SIZES = { vocabulary: 32000, hidden: 4096, layers: 32, heads: 32, padding: null, normEpsilon: 1e-6 };

/** Llama 2 and 3 (Touvron et al. 2023). */
export const llama = decoder(
  { llama: 'PreTrainedTokenizerFast' },
  {
    classifier: lastTokenClassifier({ llama: 'Llama' }),
    defaults: { ...SIZES, intermediate: 11008, positions: 2048 },
    settings: (config) => ({
      attentionBias: truthIn(config, 'attention_bias', false),
      outputBias: truthIn(config, 'attention_bias', false),
      feedForwardBias: truthIn(config, 'mlp_bias', false),
    }),
  },
);

const mistralSizes = { ...SIZES, intermediate: 14336, positions: 131_072, keyHeads: 8 };

/** Mistral (Jiang et al. 2023): Llama with a window in every layer. */
export const mistral = decoder(
  { mistral: 'PreTrainedTokenizerFast' },
  {
    classifier: lastTokenClassifier({ mistral: 'Mistral' }),
    fixedTokenizer: true,
    defaults: mistralSizes,
    keys: table(all('read', 'sliding_window')),
    settings: () => ({}),
    layers: (config) => layersIn(config, everyLayer(config, mistralSizes, causalWindow(config, 4096))),
  },
);
