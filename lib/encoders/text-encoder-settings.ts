import type { EncoderSettings } from '../addon/native.js';
import { encoderSettings } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import { moduleNames, type HeadModule } from '../model-folder/head-modules.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import { poolingsOf } from '../model-folder/pooling.js';
import { refused } from '../options/option-values.js';
import { layersOf } from './inner-layers.js';
import { isNamedAsModules } from './model-state.js';
import type { LoadOptions } from './text-encoder-options.js';

/**
 * The settings of the native encoder of a model, and the layers whose representations training takes.
 *
 * @throws GradCacheError `CHECKPOINT`, `INPUT`
 */
export function settingsOf(
  folder: ModelFolder,
  { dropout, drophead, layers: asked }: Pick<LoadOptions, 'dropout' | 'drophead' | 'layers'>,
): { readonly settings: EncoderSettings; readonly layers: readonly number[] } {
  const head = {
    pooling: poolingsOf(folder.pooling).join('+'),
    splade: folder.splade ?? null,
    modules: moduleSettings(folder.modules, dropout),
  };
  const architecture = architectureOf(folder.modelType);
  const settings: EncoderSettings = {
    ...encoderSettings(architecture, folder.config, head, dropout, drophead),
    ...(isNamedAsModules(folder) && { namedAsModules: true }),
  };
  const layers = layersOf(asked, typeof settings.layers === 'number' ? settings.layers : 0);
  const [, ...innerLayers] = layers;
  if (innerLayers.length === 0) return { settings, layers };
  if (folder.pooling === 'splade')
    throw refused(
      'layers',
      asked,
      'no such option: a sparse encoder has its vocabulary behind the last layer, so it',
    );
  return { settings: { ...settings, innerLayers }, layers };
}

function moduleSettings(modules: readonly HeadModule[], dropout: number | undefined): EncoderSettings[] {
  const names = moduleNames(modules);
  return modules.map((module, place): EncoderSettings => {
    const name = names[place]!;
    switch (module.kind) {
      case 'Dense': {
        const { inFeatures, outFeatures, activation, bias, residual = false } = module;
        return { kind: 'dense', name, inFeatures, outFeatures, activation, bias: bias !== null, residual };
      }
      case 'LayerNorm':
        return { kind: 'norm', name };
      case 'Dropout':
        return { kind: 'dropout', probability: dropout ?? module.probability };
      case 'Normalize':
        return { kind: 'normalize' };
    }
  });
}
