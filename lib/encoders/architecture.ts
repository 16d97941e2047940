import { GradCacheError } from '../errors.js';
import type { EncoderSettings } from '../native.js';

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
}

const BERT_KEYS: Dialect['keys'] = {
  hidden: 'hidden_size',
  layers: 'num_hidden_layers',
  heads: 'num_attention_heads',
  intermediate: 'intermediate_size',
  activation: 'hidden_act',
  hiddenDropout: 'hidden_dropout_prob',
  attentionDropout: 'attention_probs_dropout_prob',
};

const ROBERTA: Dialect = { architecture: 'roberta', prefix: 'roberta.', keys: BERT_KEYS, types: true };

/** By `model_type` of config.json. */
const DIALECTS: Readonly<Record<string, Dialect>> = {
  bert: { architecture: 'bert', prefix: 'bert.', keys: BERT_KEYS, types: true },
  roberta: ROBERTA,
  'xlm-roberta': ROBERTA,
  camembert: ROBERTA,
  mpnet: { architecture: 'mpnet', prefix: 'mpnet.', keys: BERT_KEYS, types: false },
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
  },
};

/** Settings that change what is computed in a way that is not supported, with the only value that is. */
const FIXED: readonly (readonly [key: string, value: unknown])[] = [
  ['position_embedding_type', 'absolute'],
  ['is_decoder', false],
  ['add_cross_attention', false],
];

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
  for (const [key, value] of FIXED) {
    if (config[key] !== undefined && config[key] !== null && config[key] !== value) {
      throw new GradCacheError(
        'CHECKPOINT',
        `config.json: ${key} = ${JSON.stringify(config[key])} is not supported, only ${JSON.stringify(value)}`,
      );
    }
  }
  const number = (key: string, otherwise?: number): number => {
    const value = config[key] ?? otherwise;
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw new GradCacheError(
        'CHECKPOINT',
        `config.json: ${key} is ${JSON.stringify(value)}, expected a number`,
      );
    }
    return value;
  };
  const count = (key: string, otherwise?: number): number => {
    const value = number(key, otherwise);
    if (!Number.isSafeInteger(value) || value < 1 || value > 2 ** 31 - 1) {
      throw new GradCacheError('CHECKPOINT', `config.json: ${key} is ${value}, expected a positive integer`);
    }
    return value;
  };
  const activation = config[keys.activation] ?? 'gelu';
  if (typeof activation !== 'string') {
    throw new GradCacheError(
      'CHECKPOINT',
      `config.json: ${keys.activation} is ${JSON.stringify(activation)}, expected a name`,
    );
  }
  return {
    architecture,
    vocabulary: count('vocab_size'),
    hidden: count(keys.hidden),
    layers: count(keys.layers),
    heads: count(keys.heads),
    intermediate: count(keys.intermediate),
    positions: count('max_position_embeddings', 512),
    types: types ? count('type_vocab_size', 2) : 0,
    paddingToken: paddingToken(architecture, config),
    relativeBuckets: architecture === 'mpnet' ? buckets(count('relative_attention_num_buckets', 32)) : 0,
    normEpsilon: number('layer_norm_eps', architecture === 'roberta' ? 1e-5 : 1e-12),
    activation,
    hiddenDropout: dropout ?? number(keys.hiddenDropout, 0.1),
    attentionDropout: dropout ?? number(keys.attentionDropout, 0.1),
    ...head,
  };
}

/** Half of the buckets are for each direction, and half of those for exact distances: with fewer than four there are none. */
function buckets(count: number): number {
  if (count >= 4 && count % 2 === 0) return count;
  throw new GradCacheError(
    'CHECKPOINT',
    `config.json: relative_attention_num_buckets is ${count}, expected an even number from 4 up`,
  );
}

/** The token whose rows in the tables are not trained; RoBERTa and MPNet count positions from it. -1: none. */
function paddingToken(architecture: string, config: Readonly<Record<string, unknown>>): number {
  if (architecture === 'mpnet') return 1; // in transformers' code, whatever the configuration says
  const stated = config['pad_token_id'];
  if (stated === null && architecture !== 'roberta') return -1;
  const value = stated ?? (architecture === 'roberta' ? 1 : 0);
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new GradCacheError(
      'CHECKPOINT',
      `config.json: pad_token_id is ${JSON.stringify(value)}, expected a token's number`,
    );
  }
  return value;
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
