import { join, normalize } from 'node:path';
import { GradCacheError } from '../errors.js';
import { readJsonFile, readJsonObject } from './json-file.js';
import { readWeights } from './model-weights.js';
import type { StoredTensor } from './safetensors.js';
import { isJsonObject } from './strict-json.js';

/** How token representations become one: their mean, the first, the largest per dimension, or the last. */
export type Pooling = 'mean' | 'cls' | 'max' | 'last';

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
  readonly pooling: Pooling;
  readonly dense: readonly DenseLayer[];
  readonly normalize: boolean;
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

/**
 * Reads modules.json and the folders of the modules it lists: a Transformer, a Pooling, any number of Dense, at most
 * one Normalize, in this order.
 *
 * @returns undefined where the folder has no modules.json
 * @throws GradCacheError `CHECKPOINT` for anything that would have to be approximated; the message says what was found.
 */
export async function readSentenceModules(folder: string): Promise<SentenceModules | undefined> {
  const path = join(folder, 'modules.json');
  const list = await readJsonFile(path);
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) throw unsupported(path, 'it is not a list of modules');
  const modules = list.map((module: unknown) => readModule(module, folder, path));
  const order = modules.map(({ kind }) => kind).join(', ');
  if (!/^Transformer, Pooling(, Dense)*(, Normalize)?$/.test(order)) {
    throw unsupported(
      path,
      `its modules are ${order}; supported are Transformer, Pooling, then any Dense, then at most one Normalize`,
    );
  }
  const dense: DenseLayer[] = [];
  for (const module of modules) if (module.kind === 'Dense') dense.push(await readDense(module.folder));
  const normalizes = modules.find(({ kind }) => kind === 'Normalize');
  if (normalizes) {
    const configPath = join(normalizes.folder, 'config.json');
    requireSentenceEmbedding((await readJsonObject(configPath)) ?? {}, configPath);
  }
  return {
    transformerFolder: modules[0]!.folder,
    pooling: await readPooling(modules[1]!.folder),
    dense,
    normalize: normalizes !== undefined,
  };
}

function readModule(module: unknown, folder: string, path: string): { kind: string; folder: string } {
  if (!isJsonObject(module) || typeof module.type !== 'string' || typeof module.path !== 'string') {
    throw unsupported(path, `every module needs a "type" and a "path"; found ${JSON.stringify(module)}`);
  }
  const inside = normalize(module.path === '' ? '.' : module.path);
  if (inside.startsWith('..') || inside.startsWith('/')) {
    throw unsupported(path, `the module path ${JSON.stringify(module.path)} leads out of the folder`);
  }
  if (!module.type.startsWith('sentence_transformers.')) {
    throw unsupported(
      path,
      `the module ${JSON.stringify(module.type)} is code of its own; only those of sentence-transformers are known`,
    );
  }
  const { kwargs } = module;
  if (Array.isArray(kwargs) ? kwargs.length > 0 : kwargs !== undefined) {
    throw unsupported(
      path,
      `the module ${module.type} takes "kwargs" ${JSON.stringify(kwargs)} at encoding time`,
    );
  }
  return { kind: module.type.slice(module.type.lastIndexOf('.') + 1), folder: join(folder, inside) };
}

async function readPooling(folder: string): Promise<Pooling> {
  const path = join(folder, 'config.json');
  const config = await readJsonObject(path);
  if (config === undefined) throw unsupported(path, 'it is missing');
  if (config.include_prompt === false) {
    throw unsupported(
      path,
      'include_prompt is false; pooling that leaves out the tokens of the prompt is not supported',
    );
  }
  const modes = poolingModes(config);
  const pooling = modes.length === 1 ? POOLINGS.get(modes[0]) : undefined;
  if (pooling === undefined) {
    throw unsupported(
      path,
      `its pooling is ${modes.join(' + ') || 'none'}; exactly one of ${[...POOLINGS.keys()].join(', ')} is supported`,
    );
  }
  return pooling;
}

function poolingModes(config: Readonly<Record<string, unknown>>): unknown[] {
  if (config.pooling_mode !== undefined) return [config.pooling_mode].flat();
  const active = [...POOLING_FLAGS].flatMap(([flag, mode]) => (config[flag] === true ? [mode] : []));
  return active.length > 0 ? active : ['mean'];
}

async function readDense(folder: string): Promise<DenseLayer> {
  const path = join(folder, 'config.json');
  const config = await readJsonObject(path);
  if (config === undefined) throw unsupported(path, 'it is missing');
  requireSentenceEmbedding(config, path);
  if (config.use_residual === true)
    throw unsupported(path, 'use_residual is true; a dense layer with a residual is not supported');
  const {
    in_features: inFeatures,
    out_features: outFeatures,
    activation_function: name = 'torch.nn.modules.activation.Tanh',
  } = config;
  const activation = ACTIVATIONS.get(name);
  if (activation === undefined) {
    throw unsupported(
      path,
      `its activation is ${String(name)}; supported are ${[...ACTIVATIONS.keys()].join(', ')}`,
    );
  }
  const tensors = await readWeights(folder);
  const weight = tensors.get('linear.weight');
  const bias = tensors.get('linear.bias') ?? null;
  const expected = [`linear.weight [${String(outFeatures)},${String(inFeatures)}]`];
  if (config.bias !== false) expected.push(`linear.bias [${String(outFeatures)}]`);
  const found = [...tensors].map(([key, { shape }]) => `${key} [${shape.join(',')}]`);
  if (weight === undefined || expected.sort().join() !== found.sort().join()) {
    throw unsupported(
      path,
      `it calls for the tensors ${expected.join(', ')}; the weights beside it are ${found.join(', ') || 'none'}`,
    );
  }
  return { inFeatures: weight.shape[1]!, outFeatures: weight.shape[0]!, activation, weight, bias };
}

function requireSentenceEmbedding(config: Readonly<Record<string, unknown>>, path: string): void {
  for (const key of ['module_input_name', 'module_output_name']) {
    const name = config[key] ?? 'sentence_embedding';
    if (name !== 'sentence_embedding') {
      throw unsupported(path, `${key} is ${JSON.stringify(name)}; only "sentence_embedding" is supported`);
    }
  }
}

function unsupported(path: string, reason: string): GradCacheError {
  return new GradCacheError('CHECKPOINT', `${path}: ${reason}.`);
}
