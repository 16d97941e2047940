import { encoderSettings, parameterName } from '../architectures/architecture.js';
import { countIn } from '../architectures/config-values.js';
import { architectureOf } from '../architectures/architectures.js';
import type { EncoderSettings } from '../addon/native.js';
import { NoHead } from '../model-folder/no-head.js';
import { classifierOf, type CrossEncoderFolder } from '../model-folder/cross-encoder-folder.js';
import type { TextEncoderOptions } from './text-encoder-options.js';

/** The native settings of a model with its head. @throws GradCacheError `CHECKPOINT` */
export function settingsOf(
  { modelType, config, labels }: CrossEncoderFolder,
  { dropout, drophead }: TextEncoderOptions,
): EncoderSettings {
  const architecture = architectureOf(modelType);
  const { layers, pooling, perToken } = classifierOf(modelType);
  const own = architecture.own?.(config) ?? config;
  const { key, otherwise } = architecture.sizes['hidden']!;
  const hidden = countIn(own, key, otherwise);
  const modules = layers.map((layer, place): EncoderSettings => {
    const { name } = layer;
    const bias = layer.bias?.(own) ?? true;
    if ('epsilon' in layer) return { kind: 'norm', name, bias, epsilon: layer.epsilon(own) };
    return {
      kind: 'dense',
      ...{ name, bias },
      inFeatures: hidden,
      outFeatures: place === layers.length - 1 ? labels : hidden,
      activation: layer.activation?.(own) ?? 'identity',
      dropout: layer.dropout === undefined ? 0 : (dropout ?? layer.dropout(own)),
    };
  });
  const first = perToken?.(own) ?? 0;
  const head = { pooling: pooling?.(own) ?? 'cls', modules: modules.slice(first) };
  return {
    ...encoderSettings(architecture, config, head, dropout, drophead),
    ...(first > 0 && { tokenModules: modules.slice(0, first) }),
  };
}

/** The layer that a parameter is of. */
export const layerOf = (parameter: string): string => parameter.replace(/\.[^.]*$/, '');

/** The name of a parameter in the class of transformers. */
export function storedName(modelType: string, parameter: string): string {
  const layer = classifierOf(modelType).layers.find(({ name }) => name === layerOf(parameter));
  const outside = layer !== undefined && layer.prefixed !== true;
  return outside ? parameter : architectureOf(modelType).prefix + parameter;
}

/** The names of the tensors of a folder, as parameters. */
function storedParameters({ modelType, tensors }: CrossEncoderFolder): Set<string> {
  const architecture = architectureOf(modelType);
  return new Set([...tensors.keys()].map((name) => parameterName(architecture, name)));
}

/** The layers of a head. */
export const headLayers = (modelType: string): Set<string> =>
  new Set(classifierOf(modelType).layers.map(({ name }) => name));

/** The layers of a new head that begin with random weights. */
export function freshLayers(folder: CrossEncoderFolder): Set<string> {
  const { layers } = classifierOf(folder.modelType);
  const present = storedParameters(folder);
  const fresh = layers.filter(
    ({ name }, place) => place === layers.length - 1 || !present.has(`${name}.weight`),
  );
  return new Set(fresh.map(({ name }) => name));
}

/** @param path of the folder @throws NoHead for a folder without the head, other than its fresh layers */
export function requireHead(path: string, folder: CrossEncoderFolder, fresh: ReadonlySet<string>): void {
  const present = storedParameters(folder);
  const absent = classifierOf(folder.modelType).layers.filter(
    ({ name }) => !fresh.has(name) && !present.has(`${name}.weight`),
  );
  if (absent.length === 0) return;
  throw new NoHead(
    `${path}: The model has no head for pairs: ${absent.map(({ name }) => name).join(', ')} is missing. Give the option newHead ` +
      '({ labels, seed }) to train one.',
  );
}

/** The folder without the tensors of some layers. */
export function without(folder: CrossEncoderFolder, layers: ReadonlySet<string>): CrossEncoderFolder {
  const architecture = architectureOf(folder.modelType);
  const kept = [...folder.tensors].filter(
    ([name]) => !layers.has(layerOf(parameterName(architecture, name))),
  );
  return { ...folder, tensors: new Map(kept) };
}
