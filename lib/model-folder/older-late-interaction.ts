import { join } from 'node:path';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { readJsonObject } from '../files/json-file.js';
import type { KeptKeys } from '../files/key-table.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import type { DenseLayer } from './head-modules.js';
import type { TextTask } from './late-interaction.js';
import { openWeights } from './model-weights.js';
import { OLDER_KEYS } from './older-keys.js';
import { MODEL_CONFIG } from './sentence-config.js';

/** What folders of PyLate and of Stanford's ColBERT say, as sentence-transformers 6 reads it, under its own names. */
export interface OlderInteraction {
  /** What holds where sentence_bert_config.json does not say: query_length, document_length, query_expansion. */
  readonly transformer: KeptKeys;
  /** What stands in front of queries and of documents. */
  readonly prefixes: Readonly<Partial<Record<TextTask, string>>>;
  /** Words without a representation, where no MultiVectorMask names any; null: nothing is said. */
  readonly skippedWords: readonly string[] | null;
}

/** `string.punctuation` of Python, whose tokens both leave out of documents. */
const PUNCTUATION = [...'!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'];

/** The file of ColBERT's settings. */
const METADATA = 'artifact.metadata';

/** The name of ColBERT's projection among the weights of its transformer. */
const PROJECTION = 'linear.weight';

/** How many tokens both expand queries to where nothing is said. */
const USUAL_LENGTH = 32;

/**
 * What PyLate's keys mean.
 *
 * @param config the content of config_sentence_transformers.json, which lies at `path`
 * @returns undefined where it has none of them
 * @throws GradCacheError `CHECKPOINT` for a value of another type
 */
export function olderInteraction(path: string, config: KeptKeys): OlderInteraction | undefined {
  if (!OLDER_KEYS.split(' ').some((key) => Object.hasOwn(config, key))) return undefined;
  const text = (key: string): string => {
    const value = config[key] ?? '';
    if (typeof value !== 'string') throw refusedIn(path, key, value, 'a string or null');
    return value;
  };
  const truth = (key: string): boolean | undefined => {
    const value = config[key] ?? undefined;
    if (value === undefined || typeof value === 'boolean') return value;
    throw refusedIn(path, key, value, 'true, false or null');
  };
  const { query_length: length = null, document_length: documents = null, skiplist_words: words } = config;
  if (words !== undefined && words !== null && !isWords(words))
    throw refusedIn(path, 'skiplist_words', words, 'a list of strings or null');
  const expansion = Object.hasOwn(config, 'query_expansion')
    ? config.query_expansion
    : truth('do_query_expansion') === false
      ? null
      : {
          strategy: 'fixed',
          attend: truth('attend_to_expansion_tokens') ?? truth('attend_to_mask_tokens') ?? false,
          length: length ?? USUAL_LENGTH,
        };
  // The length of an expanded query is in its expansion.
  const stated = Object.hasOwn(config, 'query_expansion') || expansion === null ? length : null;
  return {
    transformer: {
      ...(stated !== null && { query_length: stated }),
      ...(documents !== null && { document_length: documents }),
      query_expansion: expansion,
    },
    prefixes: {
      ...(Object.hasOwn(config, 'query_prefix') && { query: text('query_prefix') }),
      ...(Object.hasOwn(config, 'document_prefix') && { document: text('document_prefix') }),
    },
    skippedWords: words ?? null,
  };
}

/**
 * Whether a folder is one of PyLate, whose modules.json lists no MultiVectorMask and no Normalize, and the words that PyLate
 * leaves out; undefined for any other folder.
 *
 * @throws GradCacheError `CHECKPOINT`
 */
export async function readOlderMask(folder: string): Promise<readonly string[] | undefined> {
  const path = join(folder, MODEL_CONFIG);
  const config = (await readJsonObject(path)) ?? {};
  const older = olderInteraction(path, config);
  if (older === undefined && config.model_type !== 'ColBERT') return undefined;
  if (older?.skippedWords) return older.skippedWords;
  const marked = older !== undefined && Object.keys(older.prefixes).length > 0;
  return marked || config.model_type === 'ColBERT' ? PUNCTUATION : [];
}

/** The prompts of a model with what stands in front of its texts put before them. */
export function withPrefixes(
  prompts: Readonly<Record<string, string>>,
  { prefixes }: OlderInteraction,
): Record<string, string> {
  const own = Object.entries(prefixes).map(([task, prefix]): [string, string] => {
    const said = prompts[task] ?? '';
    return [task, prefix + (said.startsWith(prefix) ? said.slice(prefix.length) : said)];
  });
  return { ...prompts, ...Object.fromEntries(own) };
}

/** Whether a folder without modules.json is one of Stanford's ColBERT. */
export async function isStanfordFolder(folder: string): Promise<boolean> {
  const { architectures } = (await readJsonObject(join(folder, 'config.json'))) ?? {};
  return Array.isArray(architectures) && architectures.includes('HF_ColBERT');
}

/** What `artifact.metadata` of Stanford's ColBERT says, or what holds without it. @throws GradCacheError `CHECKPOINT` */
export async function readStanfordInteraction(folder: string): Promise<OlderInteraction> {
  const path = join(folder, METADATA);
  const stated = (await readJsonObject(path)) ?? {};
  const marker = (key: string, otherwise: string): string => {
    const value = stated[key] ?? '';
    if (typeof value !== 'string') throw refusedIn(path, key, value, 'a token or null');
    return `${value === '' ? otherwise : value} `;
  };
  const truth = (key: string, otherwise: boolean): boolean => {
    const value = stated[key] ?? otherwise;
    if (typeof value !== 'boolean') throw refusedIn(path, key, value, 'true or false');
    return value;
  };
  const length = (key: string): number | null => {
    const value = stated[key] ?? null;
    if (value !== null && !(typeof value === 'number' && Number.isSafeInteger(value) && value >= 1))
      throw refusedIn(path, key, value, 'a whole number from 1');
    return value;
  };
  const documents = length('doc_maxlen');
  return {
    transformer: {
      ...(documents !== null && { document_length: documents }),
      query_expansion: {
        strategy: 'fixed',
        attend: truth('attend_to_mask_tokens', false),
        length: length('query_maxlen') ?? USUAL_LENGTH,
      },
    },
    prefixes: {
      query: marker('query_token_id', '[unused0]'),
      document: marker('doc_token_id', '[unused1]'),
    },
    skippedWords: truth('mask_punctuation', true) ? PUNCTUATION : [],
  };
}

/** The projection of Stanford's ColBERT, which lies among the weights of its transformer. @throws GradCacheError `CHECKPOINT` */
export async function readStanfordProjection(folder: string): Promise<DenseLayer> {
  const lying = (await openWeights(folder)).get(PROJECTION);
  if (lying?.shape.length !== 2)
    throw faultIn(
      join(folder, 'config.json'),
      `it names the architecture HF_ColBERT, and the weights have ${lying === undefined ? `no ${PROJECTION}` : `a ${PROJECTION} of shape [${lying.shape.join(',')}]`}: ` +
        'a matrix is needed. Remove "architectures" if the folder holds a transformer alone',
    );
  const weight = await lying.read();
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  return { kind: 'Dense', inFeatures, outFeatures, activation: 'identity', weight, bias: null };
}

/** The weights of the transformer of Stanford's ColBERT. */
export function withoutProjection(
  tensors: ReadonlyMap<string, StoredTensor>,
): ReadonlyMap<string, StoredTensor> {
  return new Map([...tensors].filter(([name]) => name !== PROJECTION));
}

const isWords = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string');
