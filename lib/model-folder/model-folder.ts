import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { reasonOf } from '../options/realms.js';
import { show } from '../options/option-values.js';
import { TOKEN_SIMILARITIES } from '../options/similarity.js';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { type Adapter, readAdapter } from './adapter-folder.js';
import { folderOfModel } from '../hub/pull.js';
import type { KeptKeys } from '../files/key-table.js';
import { isRepositoryName } from '../hub/hub-name.js';
import { mostTokens } from './length-limit.js';
import { interruptedReplacement } from '../files/replace-folder.js';
import {
  interactionLengths,
  readLateInteraction,
  type LateInteraction,
  type TextTask,
} from './late-interaction.js';
import {
  MASKED_LANGUAGE_MODEL_KEYS,
  MODEL_KEYS,
  SPARSE_MODEL_KEYS,
  TOKEN_MODEL_KEYS,
  TOKEN_TRANSFORMER_KEYS,
  TRANSFORMER_KEYS,
} from './folder-keys.js';
import { MODEL_CONFIG, readModelConfig, readTransformerConfig, statedKind } from './sentence-config.js';
import { NORMALIZE, type HeadModule } from './head-modules.js';
import {
  isStanfordFolder,
  olderInteraction,
  readStanfordInteraction,
  readStanfordProjection,
  withoutProjection,
  withPrefixes,
} from './older-late-interaction.js';
import { isSamePooling, type Pooling } from './pooling.js';
import {
  type KeptModule,
  readSentenceModules,
  type SentenceModules,
  type SpladePooling,
} from './sentence-modules.js';
import { readModel2Vec, readStaticEmbedding, type StaticLayout } from './static-embedding.js';
import { readTransformer, type ReadWeights, type Transformer } from './transformer-folder.js';
import { withWhole } from '../tokenizer/whole-tokens.js';

export type { HeadModule } from './head-modules.js';
export type { Pooling, TokenPooling } from './pooling.js';
export type { SpladePooling } from './sentence-modules.js';

/** A text encoder as a folder holds it: weights, tokenizer, and what happens between tokens and representation. */
export interface ModelFolder extends Transformer {
  /** `'mean'` where the folder does not say: what sentence-transformers does with a plain transformers folder. */
  readonly pooling: Pooling;
  /** False where the tokens of a prompt, and those before it, are left out of the pooling. Default: true. */
  readonly includePrompt?: boolean;
  /** How SPLADE pools; null or absent for other pooling. */
  readonly splade?: SpladePooling | null;
  /** How queries and documents are read, where each token has a representation; null or absent for other models. */
  readonly lateInteraction?: LateInteraction | null;
  /** What is behind the pooling, in this order. */
  readonly modules: readonly HeadModule[];
  /** Texts to put in front of an input, by name, e.g. `{ query: 'query: ' }`. */
  readonly prompts: Readonly<Record<string, string>>;
  /** Name of the default prompt. */
  readonly defaultPrompt: string | null;
  /** The most tokens of queries and of documents where the model pools: those of `encodeQuery` and `encodeDocument`. */
  readonly taskLengths?: TaskLengths | null;
  /** `similarity_fn_name` of sentence-transformers: `'cosine'`, `'dot'`, …; what evaluation compares by. */
  readonly similarity?: string | null;
  /** `truncate_dim`: how many numbers of a representation `encode` returns; null or absent: all. */
  readonly truncateDimension?: number | null;
  /** How a folder of word vectors is laid out; null or absent for a transformer. */
  readonly layout?: StaticLayout | null;
  /** The folder of config.json and the weights; absent for a model that is stored nowhere. */
  readonly transformerFolder?: string;
  /** What adapts the model, whose own weights then stay as they are; null or absent: nothing. */
  readonly adapter?: Adapter | null;
  /** The other keys of the folder's files, saved as they were read. */
  readonly kept?: KeptFiles;
}

/** The most tokens of a text by what it is for; null: as many as of any text. */
export interface TaskLengths {
  readonly query: number | null;
  readonly document: number | null;
}

/** The keys of a folder's files that change nothing here. */
export interface KeptFiles {
  /** What sentence_bert_config.json has of them. */
  readonly transformer: KeptKeys;
  /** What config_sentence_transformers.json has of them. */
  readonly model: KeptKeys;
  /** The whole of generation_config.json, which is about models that write text; null where there is none. */
  readonly generation: KeptKeys | null;
  /** What each module's config.json and its entry in modules.json have, by the names of {@link SentenceModules.kept}. */
  readonly modules: ReadonlyMap<string, KeptModule>;
}

/** The usual pooling of SPLADE. */
export const SPLADE: SpladePooling = { strategy: 'max', activation: 'relu' };

/** What the caller asks for in place of what the folder says. */
export interface Asked {
  readonly pooling?: Pooling | undefined;
  readonly splade?: Partial<SpladePooling> | undefined;
  /** The folder of an adapter's base model. */
  readonly baseModel?: string | undefined;
  /** Which modules of a Router. */
  readonly route?: TextTask | undefined;
  /** Leaves the weights of a transformer in their files: `tensors` is then empty. */
  readonly withoutWeights?: boolean | undefined;
}

/** What the keys of a folder's files mean, by what its modules make of tokens. */
const KEYS = {
  pooled: { transformer: TRANSFORMER_KEYS, model: MODEL_KEYS },
  none: { transformer: TOKEN_TRANSFORMER_KEYS, model: TOKEN_MODEL_KEYS },
  splade: { transformer: MASKED_LANGUAGE_MODEL_KEYS, model: SPARSE_MODEL_KEYS },
} as const;

/**
 * Reads a transformers folder (config.json, model.safetensors or its shards, tokenizer.json) or a sentence-transformers
 * folder (modules.json with Transformer, Pooling, Dense, LayerNorm, Dropout, Normalize; StaticEmbedding and the same;
 * Transformer and SpladePooling; or Transformer, Dense, MultiVectorMask, Normalize; prompts; max_seq_length), old and new
 * layouts; a folder of PyLate, of Stanford's ColBERT or of Model2Vec; or one of an adapter (adapter_config.json of PEFT), with its base model.
 *
 * @param asked the pooling of a folder that names none, and where an adapter's base model is
 * @throws GradCacheError `CHECKPOINT` for damaged or missing files and for anything that cannot be honoured exactly; the
 * message names the file, what was found there and what would do.
 */
export async function readModelFolder(path: string, asked: Asked = {}): Promise<ModelFolder> {
  await requireFolder(path);
  if ((await statedKind(path)) === 'CrossEncoder')
    throw faultIn(
      join(path, MODEL_CONFIG),
      'it is that of a cross-encoder, which scores pairs of texts: CrossEncoder.load reads it, and so do train with the loss ' +
        'crossEncoderRanking (--loss cross-encoder-ranking), evaluate --task reranking and mine --judge',
    );
  const modules =
    (await readSentenceModules(path, asked.route)) ??
    (await model2VecModules(path)) ??
    (await stanfordModules(path, asked));
  const pooling = poolingOf(path, modules, asked);
  if (modules?.transformer === 'StaticEmbedding') {
    if (asked.baseModel !== undefined) throw noAdapter(path, asked.baseModel);
    return readStaticFolder(path, modules);
  }
  const sparse = pooling.pooling === 'splade';
  const perToken = pooling.pooling === 'none';
  const folder = modules?.transformerFolder ?? path;
  const adapter = await adapterIn(folder, asked);
  if (adapter && modules === undefined) await requirePoolingOf(path, adapter, asked);
  // sentence-transformers reads its own files only where there is a modules.json.
  const keys = KEYS[perToken ? 'none' : sparse ? 'splade' : 'pooled'];
  const transformer = modules ? await readTransformerConfig(folder, keys.transformer) : undefined;
  if (sparse && modules?.transformer === 'Transformer' && transformer?.task === undefined)
    throw faultIn(
      join(path, 'modules.json'),
      'a SpladePooling needs the logits of a masked language model: an MLMTransformer, or a Transformer whose ' +
        'transformer_task is "fill-mask"',
    );
  const model = modules ? await readModelConfig(path, keys.model) : undefined;
  const older = !perToken
    ? undefined
    : modules?.stanford === true
      ? await readStanfordInteraction(path)
      : model && olderInteraction(join(path, MODEL_CONFIG), model.content);
  const { generation, ...read } = await readTransformer(
    folder,
    transformer,
    adapter?.base,
    asked.withoutWeights === true ? noWeights : undefined,
  );
  const prefixes = Object.values(older?.prefixes ?? {});
  const lateInteraction =
    transformer && modules?.mask
      ? readLateInteraction(transformer.path, { ...older?.transformer, ...transformer.content }, modules.mask)
      : null;
  const lengths = lateInteraction
    ? interactionLengths(lateInteraction).map(([name, length]) => [fileName(name), length] as const)
    : Object.entries(transformer?.taskLengths ?? {}).map(
        ([task, length]) => [`${task}_length`, length] as const,
      );
  if (transformer) requirePositions(transformer.path, lengths, read);
  return {
    ...read,
    ...(modules?.stanford === true && { tensors: withoutProjection(read.tensors) }),
    ...(prefixes.length > 0 && { tokenizer: await withWhole(read.tokenizer, prefixes) }),
    ...pooling,
    transformerFolder: adapter?.base ?? folder,
    adapter: adapter ?? null,
    lateInteraction,
    ...(modules?.includePrompt !== undefined && { includePrompt: modules.includePrompt }),
    modules: modules?.modules ?? [],
    taskLengths: perToken ? null : (transformer?.taskLengths ?? null),
    prompts: older ? withPrefixes(model?.prompts ?? {}, older) : (model?.prompts ?? {}),
    defaultPrompt: model?.defaultPrompt ?? null,
    // What a SparseEncoder of sentence-transformers compares by where it names nothing.
    similarity: perToken
      ? tokenSimilarity(model?.similarity)
      : (model?.similarity ?? (sparse ? 'dot' : null)),
    truncateDimension: model?.truncateDimension ?? null,
    kept: {
      transformer: transformer?.kept ?? {},
      model: model?.kept ?? {},
      generation,
      modules: modules?.kept ?? new Map(),
    },
  };
}

/** `queryLength` as sentence-transformers' file has it: `query_length`. */
const fileName = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

export const noWeights: ReadWeights = () => Promise.resolve(new Map());

/** As in sentence-transformers, what compares texts that are pooled is none for tokens. */
function tokenSimilarity(stated: string | null | undefined): string | null {
  return TOKEN_SIMILARITIES.find((each) => each === stated) ?? null;
}

/** A folder of Stanford's ColBERT as modules, unless its transformer alone is asked for; undefined for any other folder. */
async function stanfordModules(
  path: string,
  { pooling = 'none' }: Asked,
): Promise<SentenceModules | undefined> {
  if (pooling !== 'none' || !(await isStanfordFolder(path))) return undefined;
  const { skippedWords } = await readStanfordInteraction(path);
  return {
    transformerFolder: path,
    transformer: 'Transformer',
    place: '',
    pooling,
    includePrompt: undefined,
    splade: null,
    modules: [await readStanfordProjection(path), NORMALIZE],
    mask: { folder: path, config: { skiplist_words: skippedWords } },
    stanford: true,
    kept: new Map(),
  };
}

/** A folder of Model2Vec as modules, where it has no modules.json; undefined for any other folder. */
async function model2VecModules(path: string): Promise<SentenceModules | undefined> {
  const config = await readModel2Vec(path);
  if (config === null) return undefined;
  return {
    transformerFolder: path,
    transformer: 'StaticEmbedding',
    place: '',
    pooling: 'mean',
    includePrompt: undefined,
    splade: null,
    modules: config.normalize === true ? [NORMALIZE] : [],
    mask: null,
    kept: new Map(),
  };
}

async function readStaticFolder(path: string, modules: SentenceModules): Promise<ModelFolder> {
  const { transformerFolder: folder, place, kept } = modules;
  const model = await readModelConfig(path, MODEL_KEYS);
  return {
    ...(await readStaticEmbedding(folder)),
    pooling: 'mean',
    modules: modules.modules,
    prompts: model.prompts,
    defaultPrompt: model.defaultPrompt,
    similarity: model.similarity,
    truncateDimension: model.truncateDimension,
    // Behind a Router it has a folder that only a Router has.
    layout: {
      place: /^\d+_StaticEmbedding$/.test(place) ? place : '',
      model2vec: await readModel2Vec(folder),
    },
    kept: { transformer: {}, model: model.kept, generation: null, modules: kept },
  };
}

/** @throws GradCacheError `CHECKPOINT` for a length of queries or documents that the model has no positions for */
function requirePositions(
  path: string,
  lengths: readonly (readonly [name: string, length: number | null])[],
  { modelType, config }: Pick<ModelFolder, 'modelType' | 'config'>,
): void {
  const most = mostTokens(modelType, config);
  for (const [name, length] of lengths)
    if (length !== null && length > most)
      throw refusedIn(path, name, length, `at most ${most}, the model's number of positions,`);
}

/** @throws GradCacheError `INPUT` where another pooling is asked for than a sentence-transformers folder has */
function poolingOf(
  path: string,
  modules: SentenceModules | undefined,
  { pooling = modules?.pooling ?? 'mean', splade }: Asked,
): Pick<ModelFolder, 'pooling' | 'splade'> {
  if (modules !== undefined && !isSamePooling(pooling, modules.pooling))
    throw new GradCacheError(
      'INPUT',
      `pooling is ${show(pooling)}, and ${path} is a folder of sentence-transformers, whose pooling is ` +
        `${show(modules.pooling)}. Leave pooling out, or give a folder without modules.json.`,
    );
  if (pooling === 'splade') return { pooling, splade: { ...(modules?.splade ?? SPLADE), ...splade } };
  if (splade === undefined) return { pooling, splade: null };
  throw new GradCacheError('INPUT', `splade is given, and pooling is ${show(pooling)}; 'splade' is needed.`);
}

/** @throws GradCacheError `INPUT` where a base model is named and there is no adapter */
async function adapterIn(folder: string, { baseModel }: Asked): Promise<Adapter | undefined> {
  const base = baseModel === undefined ? undefined : await folderOfModel('baseModel', baseModel);
  if (base !== undefined) await requireFolder(base);
  const adapter = await readAdapter(folder, base);
  if (adapter !== undefined || baseModel === undefined) return adapter;
  throw noAdapter(folder, baseModel);
}

function noAdapter(folder: string, baseModel: string): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `baseModel is ${show(baseModel)}, and ${folder} is no adapter: it has no adapter_config.json.`,
  );
}

/**
 * An adapter without modules.json has its tokens pooled by the mean in sentence-transformers, whatever its base model does.
 *
 * @throws GradCacheError `INPUT` where that would be another model than was adapted, and no pooling is named
 */
async function requirePoolingOf(path: string, { base }: Adapter, { pooling }: Asked): Promise<void> {
  const modules = pooling === undefined ? await readSentenceModules(base) : undefined;
  if (modules === undefined) return;
  if (modules.pooling === 'mean' && modules.modules.length === 0) return;
  throw new GradCacheError(
    'INPUT',
    `${path} is an adapter without modules.json, and its base model ${base} does more with tokens than to take their mean, ` +
      `which sentence-transformers would do. Name the pooling (${show(modules.pooling)} is the base model's), or put the ` +
      "base model's modules.json and the folders that it names beside the adapter.",
  );
}

/** @throws GradCacheError `CHECKPOINT` unless there is a folder of this path */
export async function requireFolder(path: string): Promise<void> {
  let reason = 'it is not a folder';
  let absent = false;
  try {
    if ((await stat(path)).isDirectory()) return;
  } catch (error) {
    reason = reasonOf(error);
    absent = true;
  }
  const interrupted = absent ? await interruptedReplacement(path) : undefined;
  const way = interrupted === undefined ? '' : ` ${interrupted}`;
  const download =
    absent && isRepositoryName(path) ? ` If a model of the hub is meant, give hf:${path}.` : '';
  throw new GradCacheError(
    'CHECKPOINT',
    `${path} cannot be read as a model folder: ${reason}.${way}${download}`,
  );
}
