import { guarded, native, type AdapterSettings, type EncoderSettings } from '../addon/native.js';
import type { Architecture } from '../architectures/architecture.js';
import { GradCacheError } from '../errors.js';
import type { AdapterConfig } from '../model-folder/adapter-config.js';
import { isOfModule } from '../model-folder/head-modules.js';
import { adapterOf, isSaved, isTarget } from '../model-folder/target-modules.js';
import { refuse } from '../options/fields.js';
import { show } from '../options/option-values.js';
import { escaped } from '../options/patterns.js';

/** Which weights of a native encoder are trained, as its constructor takes it. */
export interface TrainedWeights {
  /** The names of parameters that are not. */
  readonly frozen: readonly string[];
  readonly adapters: readonly AdapterSettings[];
}

/** What a model says of its weights. */
interface Model {
  readonly architecture: Architecture;
  /** Null: it is not adapted. */
  readonly adapter: AdapterConfig | null;
  /** Whether the adapter is new: then each name that it gives must be that of something. */
  readonly isNew?: boolean;
  /** The name that a parameter has in the model of transformers. */
  readonly moduleName: (parameter: string) => string;
}

/** A parameter as an encoder declares it. */
interface Declared {
  readonly name: string;
  readonly linear: boolean;
}

/**
 * Chooses the weights that are trained. Of an adapted model these are the adapters, the biases and modules that the adapter
 * names, and the layers behind the pooling.
 *
 * @param given names of parameters, beginnings of names up to a dot, both with `*` for any characters; `embeddings`, and
 * `layers.0-5` for the first six layers
 * @throws SettingError for an entry of `frozen` that names no parameter; GradCacheError `INPUT` for an adapter of no layer
 */
export function trainedWeights(
  settings: EncoderSettings,
  given: readonly string[],
  { architecture, adapter, moduleName, isNew = false }: Model,
): TrainedWeights {
  if (given.length === 0 && adapter === null) return { frozen: [], adapters: [] };
  const base = declared(settings, []);
  if (adapter !== null && isNew) requireNames(base, adapter, moduleName);
  const adapters = adapter === null ? [] : adaptersOf(base, adapter, moduleName);
  const all = adapters.length === 0 ? base : declared(settings, adapters);
  const frozen = new Set<string>();
  for (const [index, entry] of given.entries()) {
    const isMeant = matcherOf(entry, architecture);
    const named = all.filter(({ name }) => isMeant(name));
    if (named.length === 0)
      throw refuse(
        `frozen[${index}]`,
        entry,
        "the name of a parameter, or its beginning up to a dot, with * for any characters; 'embeddings' or 'layers.0-5'",
      );
    for (const { name } of named) frozen.add(name);
  }
  if (adapter !== null) {
    const adapted = new Set(adapters.map(({ layer }) => layer));
    for (const { name } of base) if (!staysTrained(name, adapter, adapted, moduleName)) frozen.add(name);
  }
  return { frozen: [...frozen], adapters };
}

function declared(settings: EncoderSettings, adapters: readonly AdapterSettings[]): Declared[] {
  const handle = guarded(() => new (native().EncoderHandle)(settings, 'float32', null, [], adapters));
  try {
    return handle.parameters().map(({ name, linear, tensor }) => {
      tensor.dispose();
      return { name, linear };
    });
  } finally {
    handle.dispose();
  }
}

function adaptersOf(
  base: readonly Declared[],
  config: AdapterConfig,
  moduleName: (parameter: string) => string,
): AdapterSettings[] {
  const layers = base.filter(({ linear }) => linear).map(({ name }) => layerOf(name));
  const adapters = layers
    .filter((layer) => isTarget(config, moduleName(layer)))
    .map((layer) => ({ layer, ...adapterOf(config, moduleName(layer)), dropout: config.dropout }));
  if (adapters.length > 0) return adapters;
  const layersAsked = config.layers === null ? '' : `, layers ${show(config.layers)}`;
  throw noTarget(base, `no linear layer is a target (targetModules ${show(config.targets)}${layersAsked})`);
}

/** @throws GradCacheError `INPUT` for a name that is none of a layer or module */
function requireNames(
  base: readonly Declared[],
  config: AdapterConfig,
  moduleName: (parameter: string) => string,
): void {
  const layers = base.filter(({ linear }) => linear).map(({ name }) => moduleName(layerOf(name)));
  const everything = { ...config, excluded: [], modulesToSave: [], layers: null };
  for (const targets of typeof config.targets === 'string' ? [] : config.targets)
    if (!layers.some((layer) => isTarget({ ...everything, targets: [targets] }, layer)))
      throw noTarget(base, `no linear layer is called ${show(targets)}`);
  const modules = base.map(({ name }) => moduleName(layerOf(name)));
  for (const name of config.modulesToSave)
    if (!modules.some((module) => isSaved({ ...config, modulesToSave: [name] }, module)))
      throw new GradCacheError(
        'INPUT',
        `lora.modulesToSave has ${show(name)}, which is no module of the model.`,
      );
}

/** The error for an adapter that fits no layer. */
function noTarget(base: readonly Declared[], problem: string): GradCacheError {
  const layers = base.filter(({ linear }) => linear).map(({ name }) => layerOf(name));
  const ends = new Set(layers.map((layer) => layer.slice(layer.lastIndexOf('.') + 1)));
  return new GradCacheError(
    'INPUT',
    `Of the adapter, ${problem}. Linear layers are called ${[...ends].join(', ')}.`,
  );
}

const layerOf = (parameter: string): string => parameter.slice(0, parameter.lastIndexOf('.'));

/** Whether training changes a weight of an adapted model itself. */
function staysTrained(
  name: string,
  config: AdapterConfig,
  adapted: ReadonlySet<string>,
  moduleName: (parameter: string) => string,
): boolean {
  const layer = layerOf(name);
  if (isOfModule(name) || isSaved(config, moduleName(layer))) return true;
  if (!name.endsWith('.bias')) return false;
  return config.bias === 'all' || (config.bias === 'lora_only' && adapted.has(layer));
}

/** What an entry of `frozen` means. */
function matcherOf(entry: string, { sizes }: Architecture): (name: string) => boolean {
  const layers = /^layers\.(\d+)-(\d+)$/.exec(entry);
  if (layers !== null) {
    const [from, to] = [Number(layers[1]), Number(layers[2])];
    const weights = sizes.layers?.weights;
    const pattern = weights !== undefined && 'layers' in weights ? weights.layers : undefined;
    return (name) => {
      const number = pattern?.exec(name)?.[1];
      return number !== undefined && Number(number) >= from && Number(number) <= to;
    };
  }
  const words = sizes.vocabulary.weights;
  const beginning = new RegExp(`^${entry.split('*').map(escaped).join('.*')}(\\.|$)`);
  return (name) =>
    entry !== '' &&
    (beginning.test(name) ||
      (entry === 'embeddings' && words !== undefined && 'tensor' in words && name === words.tensor));
}
