import { GradCacheError } from '../errors.js';
import type { EncoderSettings } from '../addon/native.js';
import { show } from '../options/option-values.js';
import { CONFIG_KEYS } from './config-keys.js';
import { requireKeys } from '../files/key-table.js';

/** What a sentence-transformers folder adds to config.json. */
export interface Head {
  readonly pooling: EncoderSettings['pooling'];
  readonly normalize: boolean;
  readonly dense: EncoderSettings['dense'];
}

interface Dialect {
  readonly architecture: string;
  /** Prefix that checkpoints of task models put before the encoder's names. */
  readonly prefix: string;
  readonly keys: {
    readonly hidden: string;
    readonly layers: string;
    readonly heads: string;
    readonly intermediate: string;
    readonly activation: string;
    readonly hiddenDropout: string;
    readonly attentionDropout: string;
  };
  readonly types: boolean;
  /** The first layer's matrix whose rows are the intermediate size. */
  readonly up: string;
}

type Config = Readonly<Record<string, unknown>>;

const BERT_KEYS: Dialect['keys'] = {
  hidden: 'hidden_size',
  layers: 'num_hidden_layers',
  heads: 'num_attention_heads',
  intermediate: 'intermediate_size',
  activation: 'hidden_act',
  hiddenDropout: 'hidden_dropout_prob',
  attentionDropout: 'attention_probs_dropout_prob',
};

const BERT: Dialect = {
  architecture: 'bert',
  prefix: 'bert.',
  keys: BERT_KEYS,
  types: true,
  up: 'encoder.layer.0.intermediate.dense.weight',
};
const ROBERTA: Dialect = { ...BERT, architecture: 'roberta', prefix: 'roberta.' };

/** By `model_type` of config.json. */
const DIALECTS: Readonly<Record<string, Dialect>> = {
  bert: BERT,
  roberta: ROBERTA,
  'xlm-roberta': ROBERTA,
  camembert: ROBERTA,
  mpnet: { ...BERT, architecture: 'mpnet', prefix: 'mpnet.', types: false },
  distilbert: {
    architecture: 'distilbert',
    prefix: 'distilbert.',
    keys: {
      hidden: 'dim',
      layers: 'n_layers',
      heads: 'n_heads',
      intermediate: 'hidden_dim',
      activation: 'activation',
      hiddenDropout: 'dropout',
      attentionDropout: 'attention_dropout',
    },
    types: false,
    up: 'transformer.layer.0.ffn.lin1.weight',
  },
};

/** Names that transformers takes for DistilBERT's own as well. */
const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ['dim', 'hidden_size'],
  ['n_layers', 'num_hidden_layers'],
  ['n_heads', 'num_attention_heads'],
]);

/** More layers than any model has: no memory is asked for from a mistyped number. */
const MOST_LAYERS = 4096;

function dialectOf(modelType: string): Dialect {
  const dialect = Object.hasOwn(DIALECTS, modelType) ? DIALECTS[modelType] : undefined;
  if (dialect === undefined) {
    throw new GradCacheError(
      'CHECKPOINT',
      `model_type '${modelType}' is not supported; ${Object.keys(DIALECTS).join(', ')} are. ` +
        'Any other encoder can be a TypeScript class: see ModuleEncoder.',
    );
  }
  return dialect;
}

/** @throws GradCacheError `CHECKPOINT` for a `model_type` that no architecture here has */
export function requireModelType(modelType: string): void {
  dialectOf(modelType);
}

/**
 * The native encoder's settings from a Hugging Face config.json.
 *
 * @param dropout replaces both dropout probabilities where it is given
 * @throws GradCacheError `CHECKPOINT` naming the key that is missing or not supported
 */
export function encoderSettings(
  modelType: string,
  config: Readonly<Record<string, unknown>>,
  head: Head,
  dropout?: number,
): EncoderSettings {
  const { architecture, keys, types } = dialectOf(modelType);
  requireKeys('config.json', config, CONFIG_KEYS);
  const layers = countIn(config, keys.layers);
  if (layers > MOST_LAYERS) throw unsupported(keys.layers, layers, `at most ${MOST_LAYERS}`);
  const activation = config[keys.activation] ?? 'gelu';
  if (typeof activation !== 'string') throw unsupported(keys.activation, activation, 'a name');
  const vocabulary = countIn(config, 'vocab_size');
  const padding = paddingToken(modelType, config);
  if (padding >= vocabulary) throw unsupported('pad_token_id', padding, `less than vocab_size ${vocabulary}`);
  return {
    architecture,
    vocabulary,
    hidden: countIn(config, keys.hidden),
    layers,
    heads: countIn(config, keys.heads),
    intermediate: countIn(config, keys.intermediate),
    positions: positionsIn(config),
    types: types ? countIn(config, 'type_vocab_size', 2) : 0,
    paddingToken: padding,
    relativeBuckets:
      architecture === 'mpnet' ? buckets(countIn(config, 'relative_attention_num_buckets', 32)) : 0,
    // DistilBERT's is in transformers' code, whatever the configuration says.
    normEpsilon: architecture === 'distilbert' ? 1e-12 : fractionIn(config, 'layer_norm_eps', 1e-12),
    activation,
    hiddenDropout: dropout ?? fractionIn(config, keys.hiddenDropout, 0.1),
    attentionDropout: dropout ?? fractionIn(config, keys.attentionDropout, 0.1),
    ...head,
  };
}

/** Rows of the table of positions. @throws GradCacheError `CHECKPOINT` */
export function positionsIn(config: Config): number {
  return countIn(config, 'max_position_embeddings', 512);
}

/** Rows of that table that no token uses: RoBERTa and MPNet number positions from the padding id plus one. */
export function unusedPositions(modelType: string, config: Config): number {
  const { architecture } = dialectOf(modelType);
  return ['roberta', 'mpnet'].includes(architecture) ? paddingToken(modelType, config) + 1 : 0;
}

/** Standard deviation of random weights. @throws GradCacheError `CHECKPOINT` */
export function initializerRange(config: Config): number {
  const range = numberIn(config, 'initializer_range', 0.02);
  if (range < 0) throw unsupported('initializer_range', range, 'a number from 0');
  return range;
}

/** The value of a key, or of the other name that it goes by. */
function valueIn(config: Config, key: string): unknown {
  const other = OTHER_NAMES.get(key);
  if (other === undefined || config[other] === undefined) return config[key];
  if (config[key] === undefined || config[key] === config[other]) return config[other];
  throw unsupported(other, config[other], `the ${show(config[key])} of ${key}, its other name`);
}

function numberIn(config: Config, key: string, otherwise?: number): number {
  const value = valueIn(config, key);
  if (value === undefined && otherwise !== undefined) return otherwise;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw unsupported(key, value, 'a number');
  return value;
}

function fractionIn(config: Config, key: string, otherwise: number): number {
  const value = numberIn(config, key, otherwise);
  if (value >= 0 && value <= 0.99999) return value;
  throw unsupported(key, value, 'a number from 0 to 0.99999');
}

function countIn(config: Config, key: string, otherwise?: number): number {
  const value = numberIn(config, key, otherwise);
  if (Number.isSafeInteger(value) && value >= 1 && value <= 2 ** 31 - 1) return value;
  throw unsupported(key, value, 'a positive integer');
}

function unsupported(key: string, value: unknown, expected: string): GradCacheError {
  return new GradCacheError('CHECKPOINT', `config.json: ${key} is ${show(value)}, expected ${expected}`);
}

/** Half of the buckets are for each direction, and half of those for exact distances: with fewer than four there are none. */
function buckets(count: number): number {
  if (count >= 4 && count % 2 === 0) return count;
  throw unsupported('relative_attention_num_buckets', count, 'an even number from 4 up');
}

/**
 * The token whose rows in the tables are not trained; RoBERTa and MPNet count positions from it. -1: none.
 *
 * @throws GradCacheError `CHECKPOINT`
 */
function paddingToken(modelType: string, config: Config): number {
  const { architecture } = dialectOf(modelType);
  if (architecture === 'mpnet') return 1; // in transformers' code, whatever the configuration says
  const stated = config['pad_token_id'];
  if (stated === null && architecture !== 'roberta') return -1;
  const value = stated === undefined ? (architecture === 'roberta' ? 1 : 0) : stated;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw unsupported('pad_token_id', value, "a token's number");
}

/** A size that config.json states, and the weights that have it: a dimension of a tensor, or their number of layers. */
export interface StatedSize {
  readonly key: string;
  readonly stated: number;
  readonly weights: { readonly tensor: string; readonly dimension: number } | 'layers';
}

/** Every size that memory is asked for by. */
export function statedSizes(modelType: string, settings: EncoderSettings): StatedSize[] {
  const { keys, types, up, architecture } = dialectOf(modelType);
  const size = (key: string, stated: number, tensor: string, dimension = 0): StatedSize => ({
    key,
    stated,
    weights: { tensor, dimension },
  });
  const words = 'embeddings.word_embeddings.weight';
  const sizes: StatedSize[] = [
    size('vocab_size', settings.vocabulary, words),
    size(keys.hidden, settings.hidden, words, 1),
    size('max_position_embeddings', settings.positions, 'embeddings.position_embeddings.weight'),
    size(keys.intermediate, settings.intermediate, up),
    { key: keys.layers, stated: settings.layers, weights: 'layers' },
  ];
  if (types) sizes.push(size('type_vocab_size', settings.types, 'embeddings.token_type_embeddings.weight'));
  if (architecture === 'mpnet') {
    const distances = 'encoder.relative_attention_bias.weight';
    sizes.push(size('relative_attention_num_buckets', settings.relativeBuckets, distances));
  }
  return sizes;
}

/**
 * The encoder's own name of a checkpoint's tensor: without the prefix of a task model, and with today's names of a
 * norm's two vectors.
 */
export function parameterName(modelType: string, stored: string): string {
  const { prefix } = dialectOf(modelType);
  const name = stored.startsWith(prefix) ? stored.slice(prefix.length) : stored;
  return name.replace(/LayerNorm\.gamma$/, 'LayerNorm.weight').replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
}

/**
 * Whether a tensor that is no parameter may stand in a checkpoint: heads of the tasks the model was trained on, and
 * buffers that older versions of transformers saved. Kept, and saved again, unchanged.
 */
export function isUnusedByEncoders(name: string): boolean {
  return /^(pooler|cls|lm_head|vocab_(transform|layer_norm|projector)|(pre_)?classifier|qa_outputs)\.|^embeddings\.(position_ids|token_type_ids)$/.test(
    name,
  );
}
