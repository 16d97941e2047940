import { resolve } from 'node:path';
import { architectureOf } from '../architectures/architectures.js';
import { GradCacheError } from '../errors.js';
import { isHubName, modelName } from '../hub/hub-name.js';
import type { AdapterConfig } from '../model-folder/adapter-config.js';
import type { Adapter } from '../model-folder/adapter-folder.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import { ALL_LINEAR } from '../model-folder/target-modules.js';
import { patternProblem } from '../options/patterns.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireCount,
  requireNumber,
  requireOneOf,
  requireTexts,
  type Bounds,
} from '../options/option-values.js';
import { isPlainObject } from '../options/realms.js';

/**
 * Low-rank adapters (LoRA, Hu et al. 2021): beside the matrix W of a linear layer, which stays as it is, B A is trained, where
 * A has `rank` rows and B as many columns. The settings mean what those of PEFT's LoraConfig mean.
 */
export interface LoraOptions {
  /** `r` of PEFT. Default: 8. */
  readonly rank?: number;
  /** What an adapter adds is multiplied by alpha / rank. Default: the rank. */
  readonly alpha?: number;
  /** Probability that an element of an adapter's input is dropped in training; {@link TextEncoderOptions.dropout} does not change it. Default: 0. */
  readonly dropout?: number;
  /**
   * The layers that are adapted: their names, ends of such names behind a dot (`['query', 'value']`), a regular expression of
   * whole names, or `'all-linear'`. Default: as PEFT for the model, queries and values; else `'all-linear'`.
   */
  readonly targetModules?: string | readonly string[];
  /** Layers that are not, named in the same ways. Default: none. */
  readonly excludeModules?: string | readonly string[];
  /** The numbers of the only layers, from 0. Default: all. */
  readonly layers?: readonly number[];
  /** Another rank for layers by their names, ends of names, or regular expressions. */
  readonly rankPattern?: Readonly<Record<string, number>>;
  /** Another alpha, in the same way. */
  readonly alphaPattern?: Readonly<Record<string, number>>;
  /** Rank-stabilised (Kalajdzievski 2023): alpha / sqrt(rank) in place of alpha / rank. Default: false. */
  readonly rankStabilized?: boolean;
  /** Modules of the model that are trained as a whole, and saved with the adapter. Default: none. */
  readonly modulesToSave?: readonly string[];
  /** The biases that are trained: none (default), all, or those of adapted layers. */
  readonly bias?: 'none' | 'all' | 'lora_only';
}

/** @throws GradCacheError `INPUT` for settings that are wrong whatever the model is */
export function checkLora(lora: LoraOptions): void {
  if (isPlainObject(lora) && ['dora', 'useDora', 'use_dora'].some((name) => Object.hasOwn(lora, name)))
    throw new GradCacheError(
      'INPUT',
      'lora asks for DoRA, which is not supported: transformers and sentence-transformers lose its magnitudes when they open ' +
        'the folder. Leave it out; rankStabilized helps at high ranks.',
    );
  checkKnown('lora', lora, [
    ...['rank', 'alpha', 'dropout', 'targetModules', 'excludeModules', 'layers', 'rankPattern'],
    ...['alphaPattern', 'rankStabilized', 'modulesToSave', 'bias'],
  ]);
  const { rank = 8, alpha = rank, dropout = 0, layers, rankStabilized = false, bias = 'none' } = lora;
  const { targetModules = ALL_LINEAR, excludeModules = [], modulesToSave = [] } = lora;
  const { rankPattern = {}, alphaPattern = {} } = lora;
  requireCount('lora.rank', rank, 1);
  requireNumber('lora.alpha', alpha);
  requireNumber('lora.dropout', dropout, { from: 0, below: 1 });
  requireNames('lora.targetModules', targetModules);
  requireNames('lora.excludeModules', excludeModules);
  if (layers !== undefined) requireLayers(layers);
  requirePatterns('lora.rankPattern', rankPattern, { from: 1, whole: true });
  requirePatterns('lora.alphaPattern', alphaPattern, {});
  requireBoolean('lora.rankStabilized', rankStabilized);
  requireTexts('lora.modulesToSave', modulesToSave);
  requireOneOf('lora.bias', bias, ['none', 'all', 'lora_only']);
}

function requireLayers(layers: unknown): void {
  if (!Array.isArray(layers) || layers.length === 0)
    throw refused('lora.layers', layers, 'a list of numbers');
  for (const [place, layer] of layers.entries())
    requireNumber(`lora.layers[${place}]`, layer, { from: 0, whole: true });
}

function requireNames(name: string, names: unknown): void {
  if (typeof names !== 'string') return requireTexts(name, names);
  const problem = patternProblem(names);
  if (problem !== undefined || names === '') throw refused(name, names, problem ?? 'the name of a layer');
}

function requirePatterns(name: string, patterns: unknown, bounds: Bounds): void {
  if (!isPlainObject(patterns)) throw refused(name, patterns, 'an object');
  for (const [pattern, value] of Object.entries(patterns)) {
    const problem = patternProblem(pattern);
    if (problem !== undefined) throw refused(`a pattern of ${name}`, pattern, problem);
    requireNumber(`${name}[${JSON.stringify(pattern)}]`, value, bounds);
  }
}

/**
 * A model with adapters that are to be trained.
 *
 * @param name what the model was loaded by: a path, or `hf:owner/name`
 * @throws GradCacheError `INPUT` for a model that has some
 */
export function newAdapter(lora: LoraOptions, folder: ModelFolder, name: string): ModelFolder {
  if (folder.adapter)
    throw new GradCacheError(
      'INPUT',
      'lora is given, and the folder holds adapters already, which are trained: leave lora out.',
    );
  if (folder.transformerFolder === undefined)
    throw new GradCacheError('INPUT', 'lora is given, and the model has word vectors alone: leave lora out.');
  const usual = architectureOf(folder.modelType).adapted ?? ALL_LINEAR;
  const { rank = 8, alpha = rank, targetModules: targets = usual } = lora;
  const config: AdapterConfig = {
    rank,
    alpha,
    dropout: lora.dropout ?? 0,
    rankStabilized: lora.rankStabilized ?? false,
    targets: typeof targets !== 'string' && targets.join() === ALL_LINEAR ? ALL_LINEAR : targets,
    excluded: lora.excludeModules ?? [],
    layers: lora.layers ?? null,
    layersPattern: [],
    rankPattern: lora.rankPattern ?? {},
    alphaPattern: lora.alphaPattern ?? {},
    modulesToSave: lora.modulesToSave ?? [],
    bias: lora.bias ?? 'none',
  };
  const base = resolve(folder.transformerFolder);
  return { ...folder, adapter: { config, base, tensors: new Map(), ...statedBase(name, base) } };
}

/** How a saved adapter names its base model: as the hub does, or by the whole path. */
function statedBase(name: string, base: string): Pick<Adapter, 'baseName' | 'kept'> {
  if (!isHubName(name)) return { baseName: base, kept: {} };
  const { name: baseName, revision } = modelName('the model', name);
  return { baseName, kept: { revision: revision === 'main' ? null : revision } };
}

/** An adapter whose layers are named one by one: PEFT would also find others, such as those of a pooler. */
export function settledAdapter(adapter: Adapter, layers: readonly string[]): Adapter {
  const config = { ...adapter.config, targets: layers, excluded: [], layers: null };
  return { ...adapter, config };
}
