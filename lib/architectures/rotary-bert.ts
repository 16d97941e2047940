import type { EncoderSettings } from '../addon/native.js';
import { all, only, table, type KeyTable } from '../files/key-table.js';
import { size, type Architecture, type StoredModule } from './architecture.js';
import { classifierDropout, poolerLayers } from './classifier.js';
import { CONFIG_KEYS } from './config-keys.js';
import {
  activationIn,
  countIn,
  fractionIn,
  numberIn,
  paddingIn,
  truthIn,
  type Config,
} from './config-values.js';
import { rotaryIn } from './rotary.js';

const WORDS = 'embeddings.word_embeddings.weight';
const rotaryKeys = table(all('read', 'rope_parameters rope_scaling rope_theta'));

/** Every layer attends to the whole text; `theta` is the base where config.json states none. */
function layersIn(config: Config, theta: number): EncoderSettings {
  const layers = countIn(config, 'num_hidden_layers', 12);
  const head = countIn(config, 'hidden_size', 768) / countIn(config, 'num_attention_heads', 12);
  const every = (value: number): number[] => Array.from({ length: layers }, () => value);
  return {
    rotations: [rotaryIn(config, { size: head, theta: numberIn(config, 'rope_theta', theta) })],
    windows: every(-1),
    rotationOfLayer: every(0),
  };
}

/** The modules of transformers, by the names that a checkpoint has for the same. */
function modulesOf(
  layer: string,
  named: Readonly<Record<string, readonly string[]>>,
  others: readonly StoredModule[] = [],
): StoredModule[] {
  const inLayers = Object.entries(named).map(([stored, modules]) => ({
    stored: new RegExp(`^${layer}\\.(\\d+)\\.${stored}(?=\\.)`),
    modules: modules.map((module) => `layers.$1.${module}`),
  }));
  return [...inLayers, ...others];
}

const PROJECTIONS = ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'];

const common = (config: Config): EncoderSettings => ({
  namedAsModules: false,
  normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
  attentionDropout: fractionIn(config, 'attention_probs_dropout_prob', 0),
});

/** The keys of Nomic's own code, and transformers' for the same. */
const OTHER_NAMES = {
  ...{ n_embd: 'hidden_size', n_layer: 'num_hidden_layers', n_head: 'num_attention_heads' },
  ...{ n_inner: 'intermediate_size', n_positions: 'max_position_embeddings', rotary_emb_base: 'rope_theta' },
  ...{
    layer_norm_epsilon: 'layer_norm_eps',
    activation_function: 'hidden_act',
    resid_pdrop: 'hidden_dropout_prob',
  },
  attn_pdrop: 'attention_probs_dropout_prob',
};
const NOT_HERE = 'Only the form of nomic-embed-text-v1 and v1.5 is supported.';
const nomicKeys: KeyTable = new Map([
  ...CONFIG_KEYS,
  ...rotaryKeys,
  ...table({
    ...all(
      'read',
      `head_dim mlp_fc1_bias mlp_fc2_bias qkv_proj_bias embd_pdrop ${Object.keys(OTHER_NAMES).join(' ')}`,
    ),
    prenorm: only(NOT_HERE, false, null),
    parallel_block: only(NOT_HERE, false, null),
    causal: only(NOT_HERE, false, null),
    rotary_emb_interleaved: only(NOT_HERE, false, null),
    rotary_emb_fraction: only(NOT_HERE, 1, null),
    rotary_emb_scale_base: only(NOT_HERE, null),
    use_rms_norm: only(NOT_HERE, false, null),
    num_experts: only('Mixtures of experts are not supported.', 0, null),
    moe_every_n_layers: only('Mixtures of experts are not supported.', 0, null),
  }),
]);

/** Nomic BERT (Nussbaum et al. 2024), and with it nomic-embed-text v1 and v1.5. */
export const nomicBert: Architecture = {
  native: 'nomic_bert',
  tokenizers: { nomic_bert: 'BertTokenizer' },
  keys: nomicKeys,
  own: (config) => ({
    ...Object.fromEntries(
      Object.entries(OTHER_NAMES).flatMap(([key, name]) =>
        config[key] === undefined || config[key] === null ? [] : [[name, config[key]]],
      ),
    ),
    ...config,
  }),
  sizes: {
    vocabulary: size('vocab_size', 30528, WORDS),
    hidden: size('hidden_size', 768, WORDS, 1),
    positions: { key: 'max_position_embeddings', otherwise: 2048 },
    types: size('type_vocab_size', 2, 'embeddings.token_type_embeddings.weight'),
    intermediate: size('intermediate_size', 3072, 'encoder.layers.0.mlp.fc2.weight', 1),
    layers: {
      key: 'num_hidden_layers',
      otherwise: 12,
      weights: { layers: /^(?:encoder\.)?layers\.(\d+)\./ },
    },
    heads: { key: 'num_attention_heads', otherwise: 12 },
  },
  paddingToken: (config) => paddingIn(config, 0, { null: true }),
  positionsAfterPadding: false,
  settings: (config) => ({
    ...common(config),
    ...layersIn(config, 1000),
    // Nomic's own code calls the gate and its activation together "swiglu".
    activation: config['hidden_act'] === 'swiglu' ? 'silu' : activationIn(config, 'hidden_act', 'silu'),
    hiddenDropout: fractionIn(config, 'hidden_dropout_prob', 0),
    feedForwardDropout: 0,
    attentionBias: truthIn(config, 'qkv_proj_bias', false),
    outputBias: truthIn(config, 'qkv_proj_bias', false),
    upBias: truthIn(config, 'mlp_fc1_bias', false),
    downBias: truthIn(config, 'mlp_fc2_bias', false),
  }),
  classifier: {
    classes: { nomic_bert: 'NomicBert' },
    layers: poolerLayers('pooler.dense', classifierDropout),
  },
  modules: modulesOf(
    'encoder\\.layers',
    {
      ...{ 'attn\\.Wqkv': PROJECTIONS, 'attn\\.out_proj': ['self_attn.o_proj'] },
      ...{ 'mlp\\.fc11': ['mlp.up_proj'], 'mlp\\.fc12': ['mlp.gate_proj'], 'mlp\\.fc2': ['mlp.down_proj'] },
      ...{ norm1: ['post_attention_layernorm'], norm2: ['post_mlp_layernorm'] },
    },
    [{ stored: /^emb_ln(?=\.)/, modules: ['embeddings.LayerNorm'] }],
  ),
  prefix: 'nomic_bert.',
  olderPrefix: 'bert.',
  vocabularyHead: (config) => ({
    transform: {
      dense: 'cls.predictions.transform.dense',
      norm: 'cls.predictions.transform.layer_norm',
      activation: activationIn(config, 'hidden_act', 'silu'),
      normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    },
    bias: 'cls.predictions.bias',
    width: countIn(config, 'hidden_size', 768),
    copies: {
      'cls.predictions.decoder.weight': WORDS,
      'cls.predictions.decoder.bias': 'cls.predictions.bias',
    },
  }),
};

const AS_PUBLISHED = 'Only the form of the published GTE models is supported.';

/** GTE (Zhang et al. 2024): gte-multilingual-base, gte-base-en-v1.5 and their kin. */
export const gte: Architecture = {
  native: 'gte',
  tokenizers: { gte: 'XLMRobertaTokenizer' },
  keys: new Map([
    ...CONFIG_KEYS,
    ...rotaryKeys,
    ...table({
      ...all('kept', 'pack_qkv unpad_inputs use_memory_efficient_attention'),
      position_embedding_type: only('Rotary positions alone are supported.', 'rope', null),
      layer_norm_type: only(AS_PUBLISHED, 'layer_norm', null),
      logn_attention_scale: only(AS_PUBLISHED, false, null),
      logn_attention_clip1: only(AS_PUBLISHED, false, null),
    }),
  ]),
  sizes: {
    vocabulary: size('vocab_size', 250_048, WORDS),
    hidden: size('hidden_size', 768, WORDS, 1),
    positions: { key: 'max_position_embeddings', otherwise: 8192 },
    intermediate: size('intermediate_size', 3072, 'encoder.layer.0.mlp.down_proj.weight', 1),
    layers: {
      key: 'num_hidden_layers',
      otherwise: 12,
      weights: { layers: /^(?:encoder\.layer|layers)\.(\d+)\./ },
    },
    heads: { key: 'num_attention_heads', otherwise: 12 },
  },
  paddingToken: (config) => paddingIn(config, 1, { null: true }),
  positionsAfterPadding: false,
  settings: (config) => ({
    ...common(config),
    ...layersIn(config, 160_000),
    types: config['type_vocab_size'] === 0 ? 0 : countIn(config, 'type_vocab_size', 1),
    activation: activationIn(config, 'hidden_act'),
    hiddenDropout: fractionIn(config, 'hidden_dropout_prob', 0.1),
    feedForwardDropout: fractionIn(config, 'hidden_dropout_prob', 0.1),
    attentionBias: true,
    outputBias: true,
    upBias: false,
    downBias: true,
  }),
  classifier: {
    classes: { gte: 'Gte' },
    layers: poolerLayers('pooler.dense', classifierDropout),
  },
  modules: modulesOf('encoder\\.layer', {
    ...{ 'attention\\.qkv_proj': PROJECTIONS, 'attention\\.o_proj': ['self_attn.o_proj'] },
    ...{ 'mlp\\.up_gate_proj': ['mlp.up_proj', 'mlp.gate_proj'], 'mlp\\.down_proj': ['mlp.down_proj'] },
    ...{ attn_ln: ['post_attention_layernorm'], mlp_ln: ['post_mlp_layernorm'] },
  }),
  prefix: 'gte.',
  olderPrefix: 'new.',
  vocabularyHead: (config) => ({
    transform: {
      dense: 'lm_head.dense',
      norm: 'lm_head.norm',
      activation: 'gelu', // in transformers' code, whatever the configuration says
      normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-12),
    },
    bias: 'lm_head.decoder.bias',
    width: countIn(config, 'hidden_size', 768),
    copies: { 'lm_head.decoder.weight': WORDS },
  }),
};

/** The same in the folders that came with code of their own. */
export const newGte: Architecture = {
  ...gte,
  modules: [], // those of the folder's own code have the checkpoint's names
  tokenizers: { new: 'PreTrainedTokenizerFast' },
  classifier: { ...gte.classifier!, classes: { new: 'New' } },
  prefix: 'new.',
};
