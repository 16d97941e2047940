import { all, table } from '../files/key-table.js';
import type { EncoderSettings } from '../addon/native.js';
import { activationIn, countIn, numberIn, truthIn, type Config } from './config-values.js';
import { lastTokenClassifier } from './classifier.js';
import { causalWindow, decoder, layersIn } from './decoder.js';
import { layerTypesIn, rotationOfLayer, windowsOf } from './layer-types.js';
import { rotaryIn } from './rotary.js';

const defaults = {
  ...{ hidden: 2304, intermediate: 9216, layers: 26, heads: 8, keyHeads: 4, headSize: 256, padding: 0 },
  normEpsilon: 1e-6,
};
const keys = table({
  ...all('read', 'layer_types sliding_window query_pre_attn_scalar hidden_activation attn_logit_softcapping'),
  ...all('read', 'use_bidirectional_attention sliding_window_pattern rope_local_base_freq'),
  ...all('kept', 'final_logit_softcapping _sliding_window_pattern hidden_act'),
});

/** What both have: norms in front and behind, whose scales are added to 1, and word vectors multiplied by a root. */
function common(config: Config, softCap: number | null): EncoderSettings {
  const bias = truthIn(config, 'attention_bias', false);
  const cap = config['attn_logit_softcapping'] === undefined ? softCap : config['attn_logit_softcapping'];
  return {
    normOffset: 1,
    sandwich: true,
    activation: activationIn(config, 'hidden_activation', 'gelu_pytorch_tanh'),
    scale: countIn(config, 'query_pre_attn_scalar', 256) ** -0.5,
    softCap: cap === null ? 0 : numberIn({ attn_logit_softcapping: cap }, 'attn_logit_softcapping'),
    embeddingScale: countIn(config, 'hidden_size', defaults.hidden) ** 0.5,
    attentionBias: bias,
    outputBias: bias,
  };
}

/** Gemma 2 (2024): every other layer attends to a window, and scores are capped. */
export const gemma2 = decoder(
  { gemma2: 'GemmaTokenizer' },
  {
    classifier: lastTokenClassifier({ gemma2: 'Gemma2' }),
    defaults: { ...defaults, vocabulary: 256_000, positions: 8192 },
    keys,
    settings: (config) => common(config, 50),
    layers: (config) => {
      const layers = countIn(config, 'num_hidden_layers', defaults.layers);
      const types = layerTypesIn(config, layers, (layer) =>
        layer % 2 === 0 ? 'sliding_attention' : 'full_attention',
      );
      return layersIn(config, windowsOf(types, causalWindow(config, 4096)));
    },
  },
);

/** Gemma 3 (2025), and with it EmbeddingGemma, which attends in both directions: norms of heads, and two tables of angles. */
export const gemma3 = decoder(
  { gemma3_text: 'GemmaTokenizer' },
  {
    classifier: lastTokenClassifier({ gemma3_text: 'Gemma3Text' }),
    defaults: { ...defaults, vocabulary: 262_208, positions: 131_072 },
    keys,
    settings: (config) => ({ ...common(config, null), headNorms: true, causal: !bothWays(config) }),
    layers: (config) => {
      const every = countIn(config, 'sliding_window_pattern', 6);
      const layers = countIn(config, 'num_hidden_layers', defaults.layers);
      const types = layerTypesIn(config, layers, (layer) =>
        (layer + 1) % every === 0 ? 'full_attention' : 'sliding_attention',
      );
      const window = bothWays(config)
        ? Math.floor(countIn(config, 'sliding_window', 4096) / 2)
        : causalWindow(config, 4096);
      const size = countIn(config, 'head_dim');
      const [theta, local] = [
        numberIn(config, 'rope_theta', 1_000_000),
        numberIn(config, 'rope_local_base_freq', 10_000),
      ];
      return {
        windows: windowsOf(types, window),
        rotations: [
          rotaryIn(config, { layerType: 'full_attention', size, theta }),
          rotaryIn(config, { layerType: 'sliding_attention', size, theta: local, scaled: false }),
        ],
        rotationOfLayer: rotationOfLayer(types),
      };
    },
  },
);

const bothWays = (config: Config): boolean => truthIn(config, 'use_bidirectional_attention', false);
