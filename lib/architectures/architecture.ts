import type { EncoderSettings } from '../addon/native.js';
import { requireKeys, type KeyTable } from '../files/key-table.js';
import type { Classifier } from './classifier.js';
import { countIn, numberIn, refusedConfig, type Config } from './config-values.js';

/** A size that config.json states, and that memory is asked for by. */
export interface Size {
  readonly key: string;
  /** The size where there is no key; without it the key is needed. */
  readonly otherwise?: number;
  /** The stored weights that have the size: a dimension of one, or the layers that a pattern finds in their names. */
  readonly weights?: { readonly tensor: string; readonly dimension: number } | { readonly layers: RegExp };
}

/** A size with its default, and the stored weight that has it, if one does. */
export const size = (key: string, otherwise: number, tensor?: string, dimension = 0): Size => ({
  key,
  otherwise,
  ...(tensor !== undefined && { weights: { tensor, dimension } }),
});

/** All that is particular to an architecture. native/encoders has its other half. */
export interface Architecture {
  /** Its name there. */
  readonly native: string;
  /** The class of tokenizer that transformers takes where no file names one, by `model_type` of config.json. */
  readonly tokenizers: Readonly<Record<string, string>>;
  /** Whether transformers takes that class even where a file names another. Absent: no. */
  readonly fixedTokenizer?: boolean;
  /** What the keys of config.json mean. */
  readonly keys: KeyTable;
  /** config.json under the names that the architecture reads. @throws GradCacheError `CHECKPOINT` */
  readonly own?: (config: Config) => Config;
  /** By the name of the native setting; `vocabulary` and `positions` are among them. */
  readonly sizes: Readonly<Record<'vocabulary' | 'positions', Size>> &
    Readonly<Partial<Record<'layers', Size>>> &
    Readonly<Record<string, Size>>;
  /** The token whose rows in the tables are not trained; -1: none. @throws GradCacheError `CHECKPOINT` */
  readonly paddingToken: (config: Config) => number;
  /** Whether the first token has the position after the padding token's id, rather than 0. */
  readonly positionsAfterPadding: boolean;
  /** Native settings of all other names. @throws GradCacheError `CHECKPOINT` */
  readonly settings: (config: Config) => EncoderSettings;
  /** Whether a token always has a part in the representations of others, whatever is asked. Absent: no. */
  readonly alwaysAttended?: boolean;
  /**
   * Modules that transformers has in place of those in checkpoints. The native encoder is named by them where it has adapters
   * (`namedAsModules`). Absent: there are none.
   */
  readonly modules?: readonly StoredModule[];
  /** The linear layers that adapters are for where none are named: ends of their names, as in PEFT. Absent: all. */
  readonly adapted?: readonly string[];
  /** Its head for sequence classification, with which it is a cross-encoder; absent: it has none. */
  readonly classifier?: Classifier;
  /** Prefix that checkpoints of task models put before the encoder's names. */
  readonly prefix: string;
  /** Another one, which older checkpoints have. */
  readonly olderPrefix?: string;
  /** The names of further tensors of task models that are no parameters of the encoder. */
  readonly unused?: RegExp;
  /** Its masked language model; absent where there is none. @throws GradCacheError `CHECKPOINT` */
  readonly vocabularyHead?: (config: Config) => VocabularyHead;
}

/** A module of a checkpoint, and what it is in transformers. */
export interface StoredModule {
  /** Matches its name in that of a parameter, up to the dot before `weight` or `bias`. */
  readonly stored: RegExp;
  /** What takes the place of the match; several for modules that have its rows in equal parts, in this order. */
  readonly modules: readonly string[];
}

/** What a masked language model has behind its layers. */
export interface VocabularyHead {
  /** The name of the word vectors without `.weight`. Absent: BERT's. */
  readonly words?: string;
  /** Whether they are not those of the embeddings. */
  readonly ownWords?: boolean;
  /** A dense layer and a norm that tokens go through first. Absent: there are none. */
  readonly transform?: VocabularyTransform;
  /** The whole name of a bias for each word; absent: there is none. */
  readonly bias?: string;
  /** The columns of a word vector. */
  readonly width: number;
  /** Other names that the checkpoint may have for a parameter, whose copy they are. */
  readonly copies: Readonly<Record<string, string>>;
}

export interface VocabularyTransform {
  /** Names without `.weight` and `.bias`. */
  readonly dense: string;
  readonly norm: string;
  readonly activation: string;
  readonly normEpsilon: number;
  /** Whether they have biases. Absent: yes. */
  readonly denseBias?: boolean;
  readonly normBias?: boolean;
}

/** What a sentence-transformers folder adds to config.json. */
export interface Head {
  readonly pooling: string;
  readonly splade?: SpladePooling | null;
  /** What is behind the pooling, as native/model/head_modules.h describes it. */
  readonly modules: readonly EncoderSettings[];
}

/** How SPLADE pools logits; see {@link TextEncoderOptions.splade}. */
interface SpladePooling {
  readonly strategy: string;
  readonly activation: string;
}

/** More layers than any model has. A mistyped number must not ask for memory. */
const MOST_LAYERS = 4096;

/**
 * The native encoder's settings from a Hugging Face config.json.
 *
 * @param dropout replaces all dropout probabilities where it is given
 * @param drophead probability of dropping an attention head; an architecture without heads refuses one above 0
 * @throws GradCacheError `CHECKPOINT` naming the key that is missing or not supported
 */
export function encoderSettings(
  architecture: Architecture,
  config: Config,
  head: Head,
  dropout?: number,
  drophead = 0,
): EncoderSettings {
  requireKeys('config.json', config, architecture.keys);
  const { native, sizes, positionsAfterPadding } = architecture;
  const counts = Object.fromEntries(
    Object.entries(sizes).map(([name, size]) => [name, sizeIn(architecture, config, size)]),
  );
  const { layers = 0, vocabulary = 0 } = counts;
  if (sizes.layers !== undefined && layers > MOST_LAYERS)
    throw refusedConfig(sizes.layers.key, layers, `at most ${MOST_LAYERS}`);
  const paddingToken = architecture.paddingToken(config);
  if (paddingToken >= vocabulary)
    throw refusedConfig('pad_token_id', paddingToken, `less than vocab_size ${vocabulary}`);
  const settings = Object.entries(architecture.settings(ownNames(architecture, config))).map(
    ([name, value]) => [name, name.endsWith('Dropout') ? (dropout ?? value) : value] as const,
  );
  return {
    architecture: native,
    ...counts,
    paddingToken,
    positionsAfterPadding,
    ...Object.fromEntries(settings),
    ...(drophead > 0 ? { drophead } : {}),
    pooling: head.pooling,
    modules: head.modules,
    ...(head.splade ? { splade: [spladeSettings(architecture, config, head.splade)] } : {}),
  };
}

const WORDS = 'embeddings.word_embeddings';

function spladeSettings(
  architecture: Architecture,
  config: Config,
  { strategy, activation: saturation }: SpladePooling,
): EncoderSettings {
  const { words = WORDS, ownWords = false, transform, bias, width } = vocabularyHeadOf(architecture, config);
  return {
    ...{ words, ownWords, width },
    ...(bias !== undefined && { bias }),
    ...(transform && { denseBias: true, normBias: true, ...transform }),
    pooling: strategy,
    logarithms: saturation === 'log1p_relu' ? 2 : 1,
  };
}

/** @throws GradCacheError `CHECKPOINT` for a model that has no words to compare with */
export function vocabularyHeadOf(architecture: Architecture, config: Config): VocabularyHead {
  if (architecture.vocabularyHead === undefined)
    throw refusedConfig('model_type', config.model_type, 'a model with a masked language model, for SPLADE,');
  const head = architecture.vocabularyHead(ownNames(architecture, config));
  if (config.tie_word_embeddings === false && head.ownWords !== true)
    throw refusedConfig('tie_word_embeddings', false, 'true, for SPLADE,');
  return head;
}

const ownNames = ({ own }: Architecture, config: Config): Config => own?.(config) ?? config;

function sizeIn(architecture: Architecture, config: Config, { key, otherwise }: Size): number {
  return countIn(ownNames(architecture, config), key, otherwise);
}

/** Every size that stored weights have too, as config.json states it. @throws GradCacheError `CHECKPOINT` */
export function statedSizes(
  architecture: Architecture,
  config: Config,
): { readonly key: string; readonly stated: number; readonly weights: NonNullable<Size['weights']> }[] {
  return Object.values(architecture.sizes).flatMap((size) =>
    size.weights === undefined
      ? []
      : [{ key: size.key, stated: sizeIn(architecture, config, size), weights: size.weights }],
  );
}

/** The most tokens of a text, special ones included, and the positions that config.json states. @throws GradCacheError `CHECKPOINT` */
export function positionsIn(architecture: Architecture, config: Config): { positions: number; most: number } {
  const positions = sizeIn(architecture, config, architecture.sizes.positions);
  const unused = architecture.positionsAfterPadding ? architecture.paddingToken(config) + 1 : 0;
  return { positions, most: positions - unused };
}

/** Standard deviation of random weights. @throws GradCacheError `CHECKPOINT` */
export function initializerRange(config: Config): number {
  const range = numberIn(config, 'initializer_range', 0.02);
  if (range < 0) throw refusedConfig('initializer_range', range, 'a number from 0');
  return range;
}

/**
 * The encoder's own name of a checkpoint's tensor: without the prefix of a task model, and with today's names of a
 * norm's two vectors.
 */
export function parameterName({ prefix, olderPrefix }: Architecture, stored: string): string {
  const found = [prefix, olderPrefix].find((each) => each !== undefined && stored.startsWith(each)) ?? '';
  const name = stored.slice(found.length);
  return name.replace(/LayerNorm\.gamma$/, 'LayerNorm.weight').replace(/LayerNorm\.beta$/, 'LayerNorm.bias');
}

/** Heads of the tasks that encoders are trained on, and buffers that older versions of transformers saved. */
const UNUSED =
  /^(pooler|cls|lm_head|vocab_(transform|layer_norm|projector)|(pre_)?classifier|qa_outputs)\.|^embeddings\.(position_ids|token_type_ids)$/;

/** Whether a tensor that is no parameter may stand in a checkpoint. It is kept, and saved again, unchanged. */
export function isUnused({ unused }: Architecture, name: string): boolean {
  return UNUSED.test(name) || unused?.test(name) === true;
}
