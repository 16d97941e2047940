import { stat } from 'node:fs/promises';
import { join, normalize } from 'node:path';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { show } from '../options/option-values.js';
import {
  DENSE_KEYS,
  ENTRY_KEYS,
  MASK_KEYS,
  NORMALIZE_KEYS,
  POOLING_KEYS,
  SPLADE_KEYS,
  TOKEN_DENSE_KEYS,
  TOKEN_NORMALIZE_KEYS,
} from './folder-keys.js';
import { keptKeys, requireKeys, type KeptKeys, type KeyTable } from '../files/key-table.js';
import { readJsonFile, readJsonObject } from '../files/json-file.js';
import { readWeights } from './model-weights.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { isJsonObject } from '../files/strict-json.js';

/**
 * How token representations become one: their mean, the first, the largest per dimension, or the last; `'splade'`: words of
 * the vocabulary, see {@link SpladePooling}; `'none'`: not at all, for late interaction.
 */
export type Pooling = 'mean' | 'cls' | 'max' | 'last' | 'splade' | 'none';

/** How the logits of a masked language model become a sparse representation over its vocabulary (Formal et al. 2021). */
export interface SpladePooling {
  /** Over the tokens of a text. */
  readonly strategy: 'max' | 'sum';
  /** `'relu'`: log(1 + relu(logit)); `'log1p_relu'`: log(1 + log(1 + relu(logit))), as in OpenSearch's models. */
  readonly activation: 'relu' | 'log1p_relu';
}

/** What a dense layer applies after its linear part. */
export type Activation = 'identity' | 'tanh' | 'relu' | 'gelu';

/** A linear layer on top of the pooled representation. */
export interface DenseLayer {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly activation: Activation;
  /** Shape `[outFeatures, inFeatures]`. */
  readonly weight: StoredTensor;
  /** Shape `[outFeatures]`, or null for a layer without. */
  readonly bias: StoredTensor | null;
}

/** What the modules.json of a sentence-transformers folder says, as far as it can be honoured exactly. */
export interface SentenceModules {
  /** The folder that holds config.json, the weights and the tokenizer; not always the top one in old layouts. */
  readonly transformerFolder: string;
  /** Its class of the first module, `'Transformer'` or `'MLMTransformer'`. */
  readonly transformer: string;
  readonly pooling: Pooling;
  /** For SPLADE. */
  readonly splade: SpladePooling | null;
  readonly dense: readonly DenseLayer[];
  readonly normalize: boolean;
  /** The MultiVectorMask of a model with a representation for each token; null where there is none. */
  readonly mask: { readonly folder: string; readonly config: KeptKeys } | null;
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
  readonly kept: KeptKeys;
}

interface Module {
  readonly kind: string;
  readonly folder: string;
  /** Its own config.json; empty for the Transformer, whose config.json is the model's. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly kept: KeptModule;
}

/** Names of activations by the Python class that a Dense module's config.json gives. */
const ACTIVATIONS: ReadonlyMap<unknown, Activation> = new Map([
  ['torch.nn.modules.linear.Identity', 'identity'],
  ['torch.nn.modules.activation.Tanh', 'tanh'],
  ['torch.nn.modules.activation.ReLU', 'relu'],
  ['torch.nn.modules.activation.GELU', 'gelu'],
]);

/** The names of pooling modes in the files of sentence-transformers 6; older ones have a flag each (below). */
const POOLINGS: ReadonlyMap<unknown, Pooling> = new Map([
  ['mean', 'mean'],
  ['cls', 'cls'],
  ['max', 'max'],
  ['lasttoken', 'last'],
]);
const POOLING_FLAGS: ReadonlyMap<string, string> = new Map([
  ['pooling_mode_cls_token', 'cls'],
  ['pooling_mode_max_tokens', 'max'],
  ['pooling_mode_mean_tokens', 'mean'],
  ['pooling_mode_mean_sqrt_len_tokens', 'mean_sqrt_len_tokens'],
  ['pooling_mode_weightedmean_tokens', 'weightedmean'],
  ['pooling_mode_lasttoken', 'lasttoken'],
]);

/** Whether a folder is one of sentence-transformers, which says what becomes of the tokens. */
export async function hasModules(folder: string): Promise<boolean> {
  return (await stat(join(folder, 'modules.json')).catch(() => null)) !== null;
}

/** The orders of modules that have a meaning here. */
const POOLED = /^(Transformer, Pooling(, Dense)*(, Normalize)?|(MLM)?Transformer, SpladePooling)$/;
/** Of a MultiVectorEncoder. The order of the last two means nothing. */
const PER_TOKEN = /^Transformer(, Dense)*(, MultiVectorMask(, Normalize)?|, Normalize, MultiVectorMask)$/;

/**
 * Reads modules.json and the folders of the modules it lists: a Transformer, a Pooling, any number of Dense, at most
 * one Normalize, in this order; or a Transformer and a SpladePooling; or, with a representation for each token, a
 * Transformer, any number of Dense, a MultiVectorMask and at most one Normalize.
 *
 * @returns undefined where the folder has no modules.json
 * @throws GradCacheError `CHECKPOINT` for anything that would have to be approximated; the message says what was found.
 */
export async function readSentenceModules(folder: string): Promise<SentenceModules | undefined> {
  const path = join(folder, 'modules.json');
  const entries = await readModuleEntries(folder);
  if (entries === undefined) return undefined;
  const order = entries.map(({ kind }) => kind).join(', ');
  const perToken = PER_TOKEN.test(order);
  if (!perToken && !POOLED.test(order)) {
    throw faultIn(
      path,
      `its modules are ${order}; supported are Transformer, Pooling, then any Dense, then at most one Normalize; ` +
        'Transformer, SpladePooling; and Transformer, any Dense, MultiVectorMask, Normalize',
    );
  }
  const modules: Module[] = [];
  for (const entry of entries)
    modules.push(await readModule(entry, perToken ? TOKEN_MODULE_KEYS : MODULE_KEYS));
  const dense: DenseLayer[] = [];
  for (const module of modules) if (module.kind === 'Dense') dense.push(await readDense(module));
  const pooling = modules[1]!;
  const splade = pooling.kind === 'SpladePooling' ? spladeOf(pooling) : null;
  return {
    transformerFolder: modules[0]!.folder,
    transformer: modules[0]!.kind,
    pooling: perToken ? 'none' : splade === null ? poolingOf(pooling) : 'splade',
    splade,
    mask: modules.find(({ kind }) => kind === 'MultiVectorMask') ?? null,
    dense,
    normalize: modules.some(({ kind }) => kind === 'Normalize'),
    kept: keptOf(modules),
  };
}

/** The modules that modules.json lists, and their folders; undefined without one. @throws GradCacheError `CHECKPOINT` */
export async function readModuleEntries(folder: string): Promise<ModuleEntry[] | undefined> {
  const path = join(folder, 'modules.json');
  const list = await readJsonFile(path);
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) throw faultIn(path, 'it is not a list of modules');
  return list.map((entry: unknown) => readEntry(entry, folder, path));
}

/** Tables of the modules that have a config.json of their own; a Normalize can do without. */
const MODULE_KEYS: ReadonlyMap<string, KeyTable> = new Map([
  ['Pooling', POOLING_KEYS],
  ['SpladePooling', SPLADE_KEYS],
  ['Dense', DENSE_KEYS],
  ['Normalize', NORMALIZE_KEYS],
]);
const TOKEN_MODULE_KEYS: ReadonlyMap<string, KeyTable> = new Map([
  ['Dense', TOKEN_DENSE_KEYS],
  ['MultiVectorMask', MASK_KEYS],
  ['Normalize', TOKEN_NORMALIZE_KEYS],
]);

function readEntry(module: unknown, folder: string, path: string): ModuleEntry {
  if (!isJsonObject(module) || typeof module.type !== 'string' || typeof module.path !== 'string') {
    throw faultIn(path, `every module needs a "type" and a "path"; found ${show(module)}`);
  }
  const inside = normalize(module.path === '' ? '.' : module.path);
  if (inside.startsWith('..') || inside.startsWith('/')) {
    throw faultIn(path, `the module path ${JSON.stringify(module.path)} leads out of the folder`);
  }
  if (!module.type.startsWith('sentence_transformers.')) {
    throw faultIn(
      path,
      `the module ${JSON.stringify(module.type)} is code of its own; only those of sentence-transformers are known`,
    );
  }
  requireKeys(`${path}, ${module.type}`, module, ENTRY_KEYS);
  const kind = module.type.slice(module.type.lastIndexOf('.') + 1);
  return { kind, folder: join(folder, inside), kept: keptKeys(module, ENTRY_KEYS) };
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

function poolingOf({ folder, config }: Module): Pooling {
  const path = join(folder, 'config.json');
  const modes = poolingModes(path, config);
  const pooling = modes.length === 1 ? POOLINGS.get(modes[0]) : undefined;
  if (pooling === undefined) {
    throw faultIn(
      path,
      `its pooling is ${modes.map((mode) => (typeof mode === 'string' ? mode : show(mode))).join(' + ') || 'none'}; exactly one of ${[...POOLINGS.keys()].join(', ')} is supported`,
    );
  }
  return pooling;
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

function poolingModes(path: string, config: Readonly<Record<string, unknown>>): unknown[] {
  if (config.pooling_mode !== undefined) return [config.pooling_mode].flat();
  const active = [...POOLING_FLAGS].flatMap(([flag, mode]) => {
    const value = config[flag] ?? false;
    if (typeof value !== 'boolean') throw refusedIn(path, flag, value, 'true or false');
    return value ? [mode] : [];
  });
  return active.length > 0 ? active : ['mean'];
}

async function readDense({ folder, config }: Module): Promise<DenseLayer> {
  const path = join(folder, 'config.json');
  const {
    in_features: inFeatures,
    out_features: outFeatures,
    activation_function: name = 'torch.nn.modules.activation.Tanh',
  } = config;
  const activation = ACTIVATIONS.get(name);
  if (activation === undefined) {
    throw faultIn(
      path,
      `its activation is ${typeof name === 'string' ? name : show(name)}; supported are ${[...ACTIVATIONS.keys()].join(', ')}`,
    );
  }
  const tensors = await readWeights(folder);
  const weight = tensors.get('linear.weight');
  const bias = tensors.get('linear.bias') ?? null;
  const expected = [`linear.weight [${show(outFeatures)},${show(inFeatures)}]`];
  if (config.bias !== false) expected.push(`linear.bias [${show(outFeatures)}]`);
  const found = [...tensors].map(([key, { shape }]) => `${key} [${shape.join(',')}]`);
  if (weight === undefined || expected.sort().join() !== found.sort().join()) {
    throw faultIn(
      path,
      `it calls for the tensors ${expected.join(', ')}; the weights beside it are ${found.join(', ') || 'none'}`,
    );
  }
  return { inFeatures: weight.shape[1]!, outFeatures: weight.shape[0]!, activation, weight, bias };
}
