import { stat } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { refused, show } from '../options/option-values.js';
import {
  DENSE_KEYS,
  DROPOUT_KEYS,
  ENTRY_KEYS,
  MASK_KEYS,
  NORM_KEYS,
  NORMALIZE_KEYS,
  POOLING_KEYS,
  SPLADE_KEYS,
  TOKEN_DENSE_KEYS,
  TOKEN_NORMALIZE_KEYS,
} from './folder-keys.js';
import { keptKeys, requireKeys, type KeptKeys, type KeyTable } from '../files/key-table.js';
import { readJsonFile, readJsonObject } from '../files/json-file.js';
import { HEAD_KINDS, NORMALIZE, readHeadModule, type HeadModule } from './head-modules.js';
import type { TextTask } from './late-interaction.js';
import { readOlderMask } from './older-late-interaction.js';
import { poolingIn, type Pooling } from './pooling.js';
import { classNameOf, entriesOfRoute, isRouter, type StatedModule } from './routes.js';
import { isJsonObject } from '../files/strict-json.js';

/** How the logits of a masked language model become a sparse representation over its vocabulary (Formal et al. 2021). */
export interface SpladePooling {
  /** Over the tokens of a text. */
  readonly strategy: 'max' | 'sum';
  /** `'relu'`: log(1 + relu(logit)); `'log1p_relu'`: log(1 + log(1 + relu(logit))), as in OpenSearch's models. */
  readonly activation: 'relu' | 'log1p_relu';
}

/** What the modules.json of a sentence-transformers folder says, as far as it can be honoured exactly. */
export interface SentenceModules {
  /** The folder that holds config.json, the weights and the tokenizer; not always the top one in old layouts. */
  readonly transformerFolder: string;
  /** The class of the first module: `'Transformer'`, `'MLMTransformer'` or `'StaticEmbedding'`. */
  readonly transformer: string;
  /** Where it lies, as modules.json has it; empty: in the folder itself. */
  readonly place: string;
  readonly pooling: Pooling;
  /** Whether the tokens of a prompt are pooled; undefined where nothing is said. */
  readonly includePrompt: boolean | undefined;
  /** For SPLADE. */
  readonly splade: SpladePooling | null;
  /** What is behind the pooling, or the Transformer where nothing is pooled. */
  readonly modules: readonly HeadModule[];
  /** The MultiVectorMask of a model with a representation for each token; null where there is none. */
  readonly mask: { readonly folder: string; readonly config: KeptKeys } | null;
  /** Whether the folder is one of Stanford's ColBERT, without modules.json. Absent: no. */
  readonly stanford?: boolean;
  /** What is saved as it was read, by the module's kind and its number among those of the kind: `'Dense 0'`, … */
  readonly kept: ReadonlyMap<string, KeptModule>;
}

/** The keys of a module's config.json, and of its entry in modules.json, that change nothing here. */
export interface KeptModule {
  readonly entry: KeptKeys;
  readonly config: KeptKeys;
}

/** What modules.json says of a module. */
export interface ModuleEntry {
  /** `'Transformer'`, `'Pooling'`, … */
  readonly kind: string;
  readonly folder: string;
  /** As modules.json has it; empty: the model's folder itself. */
  readonly place: string;
  readonly kept: KeptKeys;
}

interface Module {
  readonly kind: string;
  readonly folder: string;
  /** Its own config.json; empty for the Transformer, whose config.json is the model's. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly kept: KeptModule;
}

/** Whether a folder is one of sentence-transformers, which says what becomes of the tokens. */
export async function hasModules(folder: string): Promise<boolean> {
  return (await stat(join(folder, 'modules.json')).catch(() => null)) !== null;
}

/** The orders of modules that have a meaning here. */
const POOLED =
  /^((Transformer, Pooling|StaticEmbedding)(, (Dense|LayerNorm|Dropout|Normalize))*|(MLM)?Transformer, SpladePooling)$/;
/** Of PyLate, which masks and normalises without a module. */
const OLDER_PER_TOKEN = /^Transformer(, Dense)*$/;
/** Modules of PyLate that sentence-transformers has too. */
const ALIASES: Readonly<Record<string, string>> = {
  'pylate.models.Dense.Dense': 'sentence_transformers.models.Dense',
};
/** Of a MultiVectorEncoder. The order of the last two means nothing. */
const PER_TOKEN = /^Transformer(, Dense)*(, MultiVectorMask(, Normalize)?|, Normalize, MultiVectorMask)$/;

/**
 * Reads modules.json and the folders of the modules it lists: a Transformer and a Pooling, or a
 * StaticEmbedding, then any of Dense, LayerNorm, Dropout and Normalize; or a Transformer and a SpladePooling; or, with a representation for each token, a
 * Transformer, any number of Dense, a MultiVectorMask and at most one Normalize. Of a Router it reads one route.
 *
 * @returns undefined where the folder has no modules.json
 * @throws GradCacheError `CHECKPOINT` for anything that would have to be approximated; the message says what was found.
 */
export async function readSentenceModules(
  folder: string,
  route?: TextTask,
): Promise<SentenceModules | undefined> {
  const path = join(folder, 'modules.json');
  const entries = await readModuleEntries(folder, route);
  if (entries === undefined) return undefined;
  const order = entries.map(({ kind }) => kind).join(', ');
  const older = OLDER_PER_TOKEN.test(order) ? await readOlderMask(folder) : undefined;
  const perToken = PER_TOKEN.test(order) || older !== undefined;
  if (!perToken && !POOLED.test(order)) {
    throw faultIn(
      path,
      `its modules are ${order}; supported are Transformer, Pooling or StaticEmbedding, then any of Dense, LayerNorm, ` +
        'Dropout, Normalize; Transformer, SpladePooling; and Transformer, any Dense, MultiVectorMask, Normalize',
    );
  }
  const modules: Module[] = [];
  for (const entry of entries)
    modules.push(await readModule(entry, perToken ? TOKEN_MODULE_KEYS : MODULE_KEYS));
  const head: HeadModule[] = [];
  for (const module of modules)
    if (HEAD_KINDS.some((kind) => kind === module.kind)) head.push(await readHeadModule(module));
  const find = (kind: string) => modules.find((module) => module.kind === kind);
  if (older !== undefined) head.push(NORMALIZE);
  const pooling = find('Pooling');
  const sparse = find('SpladePooling');
  const splade = sparse === undefined ? null : spladeOf(sparse);
  return {
    transformerFolder: modules[0]!.folder,
    transformer: modules[0]!.kind,
    place: entries[0]!.place,
    pooling: perToken ? 'none' : splade === null ? pooledBy(pooling) : 'splade',
    includePrompt: pooling && includesPrompt(pooling),
    splade,
    mask: older ? { folder, config: { skiplist_words: older } } : (find('MultiVectorMask') ?? null),
    modules: head,
    kept: keptOf(modules),
  };
}

/**
 * The modules that modules.json lists, and their folders; undefined without one.
 *
 * @param route which modules of a Router
 * @throws GradCacheError `CHECKPOINT`; `INPUT` for a Router without a route, and for a route without a Router
 */
export async function readModuleEntries(
  folder: string,
  route?: TextTask,
): Promise<ModuleEntry[] | undefined> {
  const path = join(folder, 'modules.json');
  const list = await readJsonFile(path);
  if (list !== undefined && !Array.isArray(list)) throw faultIn(path, 'it is not a list of modules');
  const stated = list?.map((entry: unknown) => requireModule(entry, path));
  if (route !== undefined && !stated?.some(isRouter))
    throw refused('route', route, `none, as ${folder} has no Router,`);
  if (stated === undefined) return undefined;
  const flat: StatedModule[] = [];
  for (const module of stated)
    if (!isRouter(module)) flat.push(module);
    else for (const each of await entriesOfRoute(folder, module, route)) flat.push(requireModule(each, path));
  return flat.map((module) => entryOf(module, folder, path));
}

/** Whether a folder has other modules for queries than for documents. @throws GradCacheError `CHECKPOINT` */
export async function hasRouter(folder: string): Promise<boolean> {
  const path = join(folder, 'modules.json');
  const list = await readJsonFile(path);
  return Array.isArray(list) && list.some((entry: unknown) => isRouter(requireModule(entry, path)));
}

/** Tables of the modules that have a config.json of their own; a Normalize can do without. */
const MODULE_KEYS: ReadonlyMap<string, KeyTable> = new Map([
  ['Pooling', POOLING_KEYS],
  ['SpladePooling', SPLADE_KEYS],
  ['Dense', DENSE_KEYS],
  ['LayerNorm', NORM_KEYS],
  ['Dropout', DROPOUT_KEYS],
  ['Normalize', NORMALIZE_KEYS],
]);
const TOKEN_MODULE_KEYS: ReadonlyMap<string, KeyTable> = new Map([
  ['Dense', TOKEN_DENSE_KEYS],
  ['MultiVectorMask', MASK_KEYS],
  ['Normalize', TOKEN_NORMALIZE_KEYS],
]);

/** @throws GradCacheError `CHECKPOINT` for an entry that names no module of sentence-transformers in the folder */
function requireModule(module: unknown, path: string): StatedModule {
  if (!isJsonObject(module) || typeof module.type !== 'string' || typeof module.path !== 'string') {
    throw faultIn(path, `every module needs a "type" and a "path"; found ${show(module)}`);
  }
  const type = ALIASES[module.type] ?? module.type;
  const inside = normalize(module.path === '' ? '.' : module.path);
  if (inside.startsWith('..') || inside.startsWith('/')) {
    throw faultIn(path, `the module path ${JSON.stringify(module.path)} leads out of the folder`);
  }
  if (!type.startsWith('sentence_transformers.')) {
    throw faultIn(
      path,
      `the module ${JSON.stringify(type)} is code of its own; only those of sentence-transformers are known`,
    );
  }
  return { ...module, type, path: inside === '.' ? '' : inside };
}

function entryOf(module: StatedModule, folder: string, path: string): ModuleEntry {
  const { type, path: place } = module;
  requireKeys(`${path}, ${type}`, module, ENTRY_KEYS);
  const kind = classNameOf(module);
  return { kind, folder: join(folder, place), place, kept: keptKeys(module, ENTRY_KEYS) };
}

async function readModule(
  { kind, folder, kept: entry }: ModuleEntry,
  tables: ReadonlyMap<string, KeyTable>,
): Promise<Module> {
  const keys = tables.get(kind);
  if (keys === undefined) return { kind, folder, config: {}, kept: { entry, config: {} } };
  const path = join(folder, 'config.json');
  const config = await readJsonObject(path);
  if (config === undefined && kind !== 'Normalize') throw faultIn(path, 'it is missing');
  requireKeys(path, config ?? {}, keys);
  return { kind, folder, config: config ?? {}, kept: { entry, config: keptKeys(config ?? {}, keys) } };
}

function keptOf(modules: readonly Module[]): Map<string, KeptModule> {
  const kept = new Map<string, KeptModule>();
  const seen = new Map<string, number>();
  for (const { kind, kept: own } of modules) {
    const number = seen.get(kind) ?? 0;
    seen.set(kind, number + 1);
    if (Object.keys(own.entry).length + Object.keys(own.config).length > 0)
      kept.set(`${kind} ${number}`, own);
  }
  return kept;
}

/** A StaticEmbedding has no Pooling: it takes the mean. */
function pooledBy(module: Module | undefined): Pooling {
  return module === undefined ? 'mean' : poolingIn(join(module.folder, 'config.json'), module.config);
}

function includesPrompt({ folder, config }: Module): boolean | undefined {
  const { include_prompt: included } = config;
  if (included === undefined || typeof included === 'boolean') return included;
  throw refusedIn(join(folder, 'config.json'), 'include_prompt', included, 'true or false');
}

function spladeOf({ folder, config }: Module): SpladePooling {
  const path = join(folder, 'config.json');
  const { pooling_strategy: strategy = 'max', activation_function: activation = 'relu' } = config;
  if (strategy !== 'max' && strategy !== 'sum')
    throw refusedIn(path, 'pooling_strategy', strategy, '"max" or "sum"');
  if (activation !== 'relu' && activation !== 'log1p_relu')
    throw refusedIn(path, 'activation_function', activation, '"relu" or "log1p_relu"');
  return { strategy, activation };
}
