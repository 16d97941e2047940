import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireCount,
  requireNumber,
  requireOneOf,
  requireString,
  requireTexts,
} from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import type { LateInteraction, TextTask } from '../model-folder/late-interaction.js';
import type { Pooling, SpladePooling } from '../model-folder/model-folder.js';
import { TOKEN_POOLINGS } from '../model-folder/pooling.js';
import { checkLayers, type Layers } from './inner-layers.js';
import { checkLora, type LoraOptions } from './lora-options.js';

/** How a text encoder computes. */
export interface TextEncoderOptions {
  /** `'cpu'` (default), `'cuda'` or `'cuda:N'`. */
  readonly device?: string;
  /**
   * Element type of the computation. Weights and gradients are float32 (float64 for float64). `'tf32'`, for GPUs alone: all is
   * float32, and products of matrices are taken of elements rounded to ten bits of fraction (TF32), which is several times
   * as fast; torch has that as `torch.backends.cuda.matmul.allow_tf32`. Default: float32.
   */
  readonly precision?: 'float32' | 'float64' | 'bfloat16' | 'tf32';
  /**
   * The most tokens of a text, special tokens included; at most the model's number of positions. Default: the folder's
   * limit. It is not saved with a loaded model: see {@link TextEncoder.save}.
   */
  readonly maxLength?: number;
  /** Replaces the dropout probabilities of config.json. */
  readonly dropout?: number;
  /**
   * The probability that an attention head adds nothing to a text in training, drawn for each head, layer and text (Zhou et
   * al. 2020). What the other heads add is divided by its complement. Default: 0.
   */
  readonly drophead?: number;
  /**
   * Parameters that training does not change: their names, or beginnings of names up to a dot, such as
   * `['embeddings', 'encoder.layer.0']`; `*` stands for any characters, `'layers.0-5'` for the first six layers whatever they
   * are called, and `'embeddings'` also for the word vectors of models that call them otherwise. They have no gradient and are
   * kept in the type that computes, and {@link TextEncoder.parameters} does not list them. `save` writes them as they were
   * read. A tower of which all is frozen is encoded once in a step, still with dropout. Default: none.
   */
  readonly frozen?: readonly string[];
  /**
   * How the gradients of the table of word vectors are kept. `'rows'`: those of the rows alone that the texts of a step have, as
   * `torch.nn.Embedding(sparse=True)` does, so that a table of a large vocabulary costs neither a gradient nor moments of its
   * size. They are the same gradients. An optimizer updates these rows alone and keeps moments of rows that were updated before:
   * until a row is in a step again, it is not decayed and its moments stay as they are (as `torch.optim.SparseAdam` does; its bias
   * correction counts the updates of the table). Where the padding token's row is no part of training, it is none of the rows.
   * Not for a model whose table is also its output layer (SPLADE). Default: `'dense'`.
   */
  readonly embeddingGradients?: 'dense' | 'rows';
  /**
   * In which type trained weights are kept with `precision: 'bfloat16'`. `'float32'`: with a copy in bfloat16 that is made anew after
   * an update, six bytes a weight. `'bfloat16'`: two bytes; gradients are float32 all the same. An optimizer then needs
   * `masterWeights`, which says how small updates are kept. Dense layers behind the pooling stay in float32. Weights of a folder are
   * rounded when they are read. Default: `'float32'`.
   */
  readonly weights?: 'float32' | 'bfloat16';
  /**
   * How token representations become one, see {@link Pooling}; a list puts several side by side. Default: mean. A folder of
   * sentence-transformers names its own, and no other can be given but `'none'`: each token then has a representation, for late interaction (ColBERT, Khattab & Zaharia 2020), dense
   * layers work on tokens, and these are scaled to length one, as in a MultiVectorEncoder made of a model that pools. With `'splade'` the encoder is a masked language model whose logits are pooled into a sparse representation over
   * its vocabulary (Formal et al. 2021): load a checkpoint with that model's head, such as BertForMaskedLM's, or a folder of
   * sentence-transformers' SparseEncoder.
   */
  readonly pooling?: Pooling;
  /** For `pooling: 'splade'`. Default: `{ strategy: 'max', activation: 'relu' }`. */
  readonly splade?: Partial<SpladePooling>;
}

/** What {@link TextEncoder.load} can make of a model besides what its folder says. */
export interface LoadOptions extends TextEncoderOptions, PerTokenOptions {
  /**
   * Adapters that are trained in place of the model: see {@link LoraOptions}. The layers of a sentence-transformers folder
   * behind the pooling are trained as well. {@link TextEncoder.save} then writes the adapters alone, as PEFT does. Default: none,
   * or those of the folder.
   */
  readonly lora?: LoraOptions;
  /**
   * The folder of an adapter's base model, or `hf:owner/name`. Default: what the adapter's folder names: a path, from where the
   * program runs or from the adapter's folder, or else a model of the hub.
   */
  readonly baseModel?: string;
  /** Seed of the random weights: of new adapters or a new projection, or of all. Default: 0. */
  readonly seed?: number;
  /**
   * Which modules of a folder whose Router (Asym) has some for queries and others for documents: `'query'` or `'document'`. Each
   * route is an encoder of its own, and {@link TextEncoder.saveRoutes} saves two of them together.
   */
  readonly route?: TextTask;
  /**
   * The layers whose representations training takes, for {@link adaptiveLayer} and {@link matryoshka2d}: `'all'`, or numbers of
   * some, where 0 is what the embeddings give. What is behind the layers, pooling and modules, works on each of them with the same
   * weights and the same dropout. In training a row then has all of these representations side by side, and needs as much more
   * memory: see {@link TextEncoder.layers}. `encode` gives those of the last layer. Default: the last layer alone.
   */
  readonly layers?: Layers;
}

/** What {@link TextEncoder.create} needs beyond a configuration. */
export interface CreateOptions extends Omit<LoadOptions, 'lora' | 'baseModel' | 'route'> {
  /** Scales representations to length one; default: true, and false for SPLADE. */
  readonly normalize?: boolean;
}

/** Options of a model with a representation for each token, `pooling: 'none'`. */
export interface PerTokenOptions {
  /** Width of a new linear layer that representations go through; 128 is usual. Default: no such layer. */
  readonly projection?: number;
  /** How queries and documents are read. Default: alike. */
  readonly lateInteraction?: Partial<LateInteraction>;
}

/** Options of every model that reads texts. */
export const MODEL_OPTIONS = [
  'device',
  'precision',
  'maxLength',
  'dropout',
  'drophead',
  'frozen',
  'embeddingGradients',
  'weights',
] as const;
const NAMES = [...MODEL_OPTIONS, 'pooling', 'splade', 'layers', 'projection', 'lateInteraction', 'seed'];

/** The poolings by name. */
export const POOLINGS = [...TOKEN_POOLINGS, 'none', 'splade'] as const;

/** @throws GradCacheError `INPUT` for options that are wrong whatever the model is */
export function checkLoadOptions(options: LoadOptions): void {
  checkKnown('TextEncoder.load', options, [...NAMES, 'lora', 'baseModel', 'route']);
  requireTypes(options);
  if (options.layers !== undefined) checkLayers(options.layers);
  if (options.lora !== undefined) checkLora(options.lora);
  if (options.baseModel !== undefined) requireString('baseModel', options.baseModel);
  if (options.route !== undefined) requireOneOf('route', options.route, ['query', 'document']);
  requirePerToken(options);
}

/** @throws GradCacheError `INPUT` for options that are wrong whatever the model is */
export function checkCreateOptions(options: CreateOptions): void {
  checkKnown('TextEncoder.create', options, [...NAMES, 'normalize']);
  requireTypes(options);
  if (options.layers !== undefined) checkLayers(options.layers);
  const { pooling = 'mean', splade, normalize = pooling !== 'splade' } = options;
  requireBoolean('normalize', normalize);
  if (pooling === 'splade' && normalize)
    throw refused('normalize', normalize, 'false, for representations that are sparse,');
  if (pooling !== 'splade' && splade !== undefined)
    throw refused('pooling', pooling, "'splade', whose settings are given,");
  requirePerToken(options);
}

function requirePerToken({
  pooling,
  projection,
  lateInteraction,
  seed = 0,
}: Pick<CreateOptions, 'pooling' | 'projection' | 'lateInteraction' | 'seed'>): void {
  requireSeed(seed);
  for (const [name, value] of Object.entries({ projection, lateInteraction }))
    if (value !== undefined && pooling !== 'none')
      throw refused(name, value, `pooling 'none', for a representation of each token,`);
  if (projection !== undefined) requireCount('projection', projection, 1);
  if (lateInteraction !== undefined) requireLateInteraction(lateInteraction);
}

function requireLateInteraction(given: Partial<LateInteraction>): void {
  const name = 'lateInteraction';
  checkKnown(name, given, ['queryLength', 'documentLength', 'queryExpansion', 'skippedWords', 'skippedIn']);
  const { queryLength = null, documentLength = null, queryExpansion = null } = given;
  const { skippedWords = [], skippedIn = [] } = given;
  if (queryLength !== null) requireCount(`${name}.queryLength`, queryLength, 1);
  if (documentLength !== null) requireCount(`${name}.documentLength`, documentLength, 1);
  if (queryExpansion !== null) {
    checkKnown(`${name}.queryExpansion`, queryExpansion, ['strategy', 'length', 'attend', 'token']);
    const { strategy, length, attend = false, token = null } = queryExpansion;
    requireOneOf(`${name}.queryExpansion.strategy`, strategy, ['fixed', 'min']);
    requireCount(`${name}.queryExpansion.length`, length, 1);
    requireBoolean(`${name}.queryExpansion.attend`, attend);
    if (token !== null) requireString(`${name}.queryExpansion.token`, token);
  }
  requireTexts(`${name}.skippedWords`, skippedWords);
  if (!Array.isArray(skippedIn)) throw refused(`${name}.skippedIn`, skippedIn, 'a list');
  for (const task of skippedIn as unknown[]) requireOneOf(`${name}.skippedIn`, task, ['query', 'document']);
}

function requirePooling(pooling: unknown): void {
  if (!Array.isArray(pooling)) {
    requireOneOf('pooling', pooling, POOLINGS);
    return;
  }
  if (pooling.length === 0) throw refused('pooling', pooling, 'at least one pooling');
  for (const [place, each] of pooling.entries()) requireOneOf(`pooling[${place}]`, each, TOKEN_POOLINGS);
}

/** @throws GradCacheError `INPUT` for options of another type */
export function requireTypes({
  device = 'cpu',
  precision = 'float32',
  maxLength,
  dropout,
  drophead,
  frozen = [],
  embeddingGradients = 'dense',
  weights = 'float32',
  pooling = 'mean',
  splade = {},
}: TextEncoderOptions): void {
  requirePooling(pooling);
  checkKnown('splade', splade, ['strategy', 'activation']);
  requireOneOf('splade.strategy', splade.strategy ?? 'max', ['max', 'sum']);
  requireOneOf('splade.activation', splade.activation ?? 'relu', ['relu', 'log1p_relu']);
  requireString('device', device);
  requireOneOf('precision', precision, ['float32', 'float64', 'bfloat16', 'tf32']);
  if (precision === 'tf32' && device === 'cpu')
    throw refused('precision', precision, "'float32', 'float64' or 'bfloat16' on a CPU, which has no tf32,");
  if (maxLength !== undefined) requireCount('maxLength', maxLength, 1);
  if (!Array.isArray(frozen) || !frozen.every((name) => typeof name === 'string'))
    throw refused('frozen', frozen, 'a list of names of parameters');
  requireOneOf('embeddingGradients', embeddingGradients, ['dense', 'rows']);
  requireOneOf('weights', weights, ['float32', 'bfloat16']);
  if (weights === 'bfloat16' && precision !== 'bfloat16')
    throw refused('weights', weights, `precision 'bfloat16', not '${precision}',`);
  if (drophead !== undefined) requireNumber('drophead', drophead, { from: 0, below: 1 });
  if (dropout !== undefined) requireNumber('dropout', dropout, { from: 0, below: 1 });
}
