import type { EncoderSettings } from '../addon/native.js';
import { all, table } from '../files/key-table.js';
import { lastTokenClassifier } from './classifier.js';
import { countIn, truthIn, type Config } from './config-values.js';
import { causalWindow, decoder, layersIn } from './decoder.js';
import { layerTypesIn, windowsOf } from './layer-types.js';

const defaults = {
  ...{ vocabulary: 151_936, hidden: 4096, intermediate: 22016, layers: 32, heads: 32, keyHeads: 32 },
  ...{ positions: 32768, padding: null, normEpsilon: 1e-6 },
};
const keys = table(all('read', 'layer_types sliding_window use_sliding_window max_window_layers hidden_act'));

/** A window in the layers from `max_window_layers` on, where it is asked for. */
function layers(config: Config): EncoderSettings {
  const window = truthIn(config, 'use_sliding_window', false) ? causalWindow(config, 4096) : -1;
  const full = countIn(config, 'max_window_layers', 28);
  const types = layerTypesIn(config, countIn(config, 'num_hidden_layers', defaults.layers), (layer) =>
    window >= 0 && layer >= full ? 'sliding_attention' : 'full_attention',
  );
  return layersIn(config, windowsOf(types, window));
}

/** Qwen 2 and 2.5 (Yang et al. 2024). */
export const qwen2 = decoder(
  { qwen2: 'Qwen2Tokenizer' },
  {
    classifier: lastTokenClassifier({ qwen2: 'Qwen2' }),
    fixedTokenizer: true,
    defaults,
    keys,
    settings: () => ({ attentionBias: true }),
    layers,
  },
);

/** Qwen 3 (Yang et al. 2025), and with it Qwen3-Embedding: a norm of each head of queries and keys. */
export const qwen3 = decoder(
  { qwen3: 'Qwen2Tokenizer' },
  {
    classifier: lastTokenClassifier({ qwen3: 'Qwen3' }),
    defaults: { ...defaults, headSize: 128 },
    keys,
    settings: (config) => {
      const bias = truthIn(config, 'attention_bias', false);
      return { headNorms: true, attentionBias: bias, outputBias: bias };
    },
    layers,
  },
);
