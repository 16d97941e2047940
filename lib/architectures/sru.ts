import type { EncoderSettings } from '../addon/native.js';
import { all, table } from '../files/key-table.js';
import type { Architecture } from './architecture.js';
import {
  countIn,
  fractionIn,
  numberIn,
  oneIn,
  paddingIn,
  truthIn,
  refusedConfig,
  type Config,
} from './config-values.js';

const READ =
  'model_type vocab_size max_position_embeddings pad_token_id embedding_size hidden_size num_hidden_layers ' +
  'bidirectional highway_bias rescale layer_norm layer_norm_eps hidden_dropout_prob dtype torch_dtype';
const OF_ATTENTION =
  'attention_size num_attention_heads attention_probs_dropout_prob attention_layers attention_every_n_layers';

const size = (key: string, tensor: string, dimension = 0) => ({ key, weights: { tensor, dimension } });

/**
 * SRU (Lei et al. 2018) as a text encoder: word vectors, then layers of a recurrence that reads texts in both directions.
 * The architecture is this package's own, so its config.json has no keys of other programs: an unknown one is a mistake.
 */
export const sru: Architecture = {
  native: 'sru',
  tokenizers: { sru: 'PreTrainedTokenizerFast' },
  keys: table(all('read', READ)),
  own: (config) => ({ ...config, embedding_size: config['embedding_size'] ?? config['hidden_size'] }),
  sizes: {
    vocabulary: size('vocab_size', 'embeddings.weight'),
    positions: { key: 'max_position_embeddings', otherwise: 512 },
    embedding: size('embedding_size', 'embeddings.weight', 1),
    hidden: size('hidden_size', 'layers.0.forget.weight'),
    layers: { key: 'num_hidden_layers', weights: { layers: /^layers\.(\d+)\./ } },
  },
  paddingToken: (config) => paddingIn(config, 0, { null: true }),
  positionsAfterPadding: false,
  alwaysAttended: true,
  settings: (config) => cellSettings(config, sru, 0),
  prefix: '',
};

/** SRU++ (Lei 2021): SRU whose projections come from attention in a narrower space, in some of the layers or in all. */
export const sruPlusPlus: Architecture = {
  ...sru,
  native: 'srupp',
  tokenizers: { srupp: 'PreTrainedTokenizerFast' },
  keys: table(all('read', `${READ} ${OF_ATTENTION}`)),
  sizes: {
    ...sru.sizes,
    projected: size('attention_size', 'layers.0.query.weight'),
    heads: { key: 'num_attention_heads', otherwise: 1 },
  },
  settings: (config) => ({
    ...cellSettings(config, sruPlusPlus, -2),
    attentionDropout: fractionIn(config, 'attention_probs_dropout_prob', 0.1),
    attentionLayers: attentionLayers(config),
  }),
};

function cellSettings(config: Config, { keys }: Architecture, highwayBias: number): EncoderSettings {
  const unknown = Object.keys(config).find((key) => !keys.has(key));
  if (unknown !== undefined)
    throw refusedConfig(unknown, config[unknown], `one of ${[...keys.keys()].join(', ')} in its place`);
  return {
    bidirectional: truthIn(config, 'bidirectional', true),
    highwayBias: biasIn(config, highwayBias),
    rescale: truthIn(config, 'rescale', false),
    norm: oneIn(config, 'layer_norm', ['none', 'before', 'after'], 'none'),
    normEpsilon: fractionIn(config, 'layer_norm_eps', 1e-5),
    hiddenDropout: fractionIn(config, 'hidden_dropout_prob', 0.1),
  };
}

/** Where a gate is closed, or open, from the first step on, nothing is learnt; `rescale` takes the exponential of it. */
function biasIn(config: Config, otherwise: number): number {
  const value = numberIn(config, 'highway_bias', otherwise);
  if (Math.abs(value) <= 20) return value;
  throw refusedConfig('highway_bias', value, 'a number from -20 to 20');
}

/** The numbers of the layers with attention: those that are listed, else every n-th; by default all. */
function attentionLayers(config: Config): number[] {
  const layers = countIn(config, 'num_hidden_layers');
  const listed = config['attention_layers'];
  const every = countIn(config, 'attention_every_n_layers', 1);
  const numbers = Array.from({ length: layers }, (_, number) => number);
  if (listed === undefined) return numbers.filter((number) => (number + 1) % every === 0);
  const wanted = `a list of different numbers from 0 to ${layers - 1}`;
  const isList = Array.isArray(listed) && new Set(listed).size === listed.length;
  if (!isList || !listed.every((number) => numbers.includes(number as number)))
    throw refusedConfig('attention_layers', listed, wanted);
  if (config['attention_every_n_layers'] !== undefined)
    throw refusedConfig('attention_every_n_layers', every, 'null beside attention_layers');
  return listed as number[];
}
