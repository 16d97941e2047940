import type { EncoderSettings } from '../addon/native.js';
import { all, table, type KeyTable } from '../files/key-table.js';
import { size, type Architecture, type VocabularyHead } from './architecture.js';
import type { Classifier } from './classifier.js';
import { ENCODERS_ALONE, KEPT_KEYS } from './config-keys.js';
import { activationIn, countIn, fractionIn, numberIn, paddingIn, type Config } from './config-values.js';
import { rotaryIn } from './rotary.js';

/** What transformers takes where config.json says nothing. */
export interface DecoderDefaults {
  readonly vocabulary: number;
  readonly hidden: number;
  readonly intermediate: number;
  readonly layers: number;
  readonly heads: number;
  /** As many as heads where it is absent. */
  readonly keyHeads?: number;
  /** The hidden size divided by the heads where it is absent. */
  readonly headSize?: number;
  readonly positions: number;
  readonly padding: number | null;
  readonly normEpsilon: number;
}

/** What the kinds of decoder differ in. */
export interface DecoderKind {
  readonly defaults: DecoderDefaults;
  /** Further keys of config.json. */
  readonly keys?: KeyTable;
  readonly classifier: Classifier;
  readonly fixedTokenizer?: boolean;
  /** Its masked language model, if it is trained as one. @throws GradCacheError `CHECKPOINT` */
  readonly vocabularyHead?: (config: Config) => VocabularyHead;
  /** Native settings that are not as Llama's. @throws GradCacheError `CHECKPOINT` */
  readonly settings: (config: Config) => EncoderSettings;
  /** Where not all layers attend to the whole text, or turn heads in the same way. @throws GradCacheError `CHECKPOINT` */
  readonly layers?: (config: Config) => EncoderSettings;
}

const KEYS = new Map([
  ...ENCODERS_ALONE,
  ...KEPT_KEYS,
  ...table({
    ...all(
      'read',
      'model_type vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size',
    ),
    ...all(
      'read',
      'num_key_value_heads head_dim hidden_act max_position_embeddings pad_token_id rms_norm_eps',
    ),
    ...all('read', 'attention_bias attention_dropout mlp_bias initializer_range dtype torch_dtype'),
    ...all('read', 'rope_parameters rope_scaling rope_theta'),
    ...all('kept', 'pretraining_tp'),
  }),
]);

/** A decoder without its softmax over words, as an encoder. Its names are those of transformers' LlamaModel. */
export function decoder(tokenizers: Readonly<Record<string, string>>, kind: DecoderKind): Architecture {
  const { defaults } = kind;
  return {
    native: 'decoder',
    tokenizers,
    ...(kind.fixedTokenizer === true && { fixedTokenizer: true }),
    keys: new Map([...KEYS, ...(kind.keys ?? [])]),
    own: (config) => withHeads(config, defaults),
    sizes: {
      vocabulary: size('vocab_size', defaults.vocabulary, 'embed_tokens.weight'),
      hidden: size('hidden_size', defaults.hidden, 'embed_tokens.weight', 1),
      positions: size('max_position_embeddings', defaults.positions),
      intermediate: size('intermediate_size', defaults.intermediate, 'layers.0.mlp.gate_proj.weight'),
      layers: {
        ...size('num_hidden_layers', defaults.layers),
        weights: { layers: /^layers\.(\d+)\./ },
      },
      heads: size('num_attention_heads', defaults.heads),
      keyHeads: { key: 'num_key_value_heads' },
      headSize: { key: 'head_dim' },
    },
    paddingToken: (config) => {
      if (defaults.padding === null && (config['pad_token_id'] ?? null) === null) return -1;
      return paddingIn(config, defaults.padding ?? -1, { null: true });
    },
    positionsAfterPadding: false,
    settings: (config) => ({
      normEpsilon: fractionIn(config, 'rms_norm_eps', defaults.normEpsilon),
      normOffset: 0,
      activation: activationIn(config, 'hidden_act', 'silu'),
      causal: true,
      scale: countIn(config, 'head_dim') ** -0.5,
      softCap: 0,
      attentionBias: false,
      outputBias: false,
      feedForwardBias: false,
      headNorms: false,
      sandwich: false,
      embeddingScale: 1,
      attentionDropout: fractionIn(config, 'attention_dropout', 0),
      ...kind.settings(config),
      ...(kind.layers?.(config) ?? layersIn(config, everyLayer(config, defaults, -1))),
    }),
    classifier: kind.classifier,
    ...(kind.vocabularyHead && { vocabularyHead: kind.vocabularyHead }),
    adapted: ['q_proj', 'v_proj'],
    prefix: 'model.',
    unused: /^(score|dense)\./,
  };
}

/** config.json with the numbers of heads that it may leave out. */
function withHeads(config: Config, { hidden, heads, keyHeads, headSize }: DecoderDefaults): Config {
  const queries = countIn(config, 'num_attention_heads', heads);
  const width = countIn(config, 'hidden_size', hidden);
  const stated = config['head_dim'] ?? headSize ?? width / queries;
  return {
    ...config,
    num_key_value_heads: config['num_key_value_heads'] ?? keyHeads ?? queries,
    head_dim: stated,
  };
}

/** A number for each layer. */
export const everyLayer = (
  config: Config,
  { layers }: { readonly layers: number },
  value: number,
): number[] => Array.from({ length: countIn(config, 'num_hidden_layers', layers) }, () => value);

/** How far each layer attends, and how it turns heads: all in the same way. */
export function layersIn(config: Config, windows: readonly number[]): EncoderSettings {
  const theta = numberIn(config, 'rope_theta', 10_000);
  return {
    windows,
    rotations: [rotaryIn(config, { size: countIn(config, 'head_dim'), theta })],
    rotationOfLayer: windows.map(() => 0),
  };
}

/** How far a causal window reaches: transformers counts the query itself. -1: there is none. */
export function causalWindow(config: Config, otherwise: number | null): number {
  const value = config['sliding_window'] === undefined ? otherwise : config['sliding_window'];
  if (value === null) return -1;
  return countIn({ ...config, sliding_window: value }, 'sliding_window') - 1;
}
