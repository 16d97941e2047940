import type { EncoderSettings } from '../addon/native.js';
import { encoderSettings } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import { moduleNames, type HeadModule } from '../model-folder/head-modules.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import { poolingsOf } from '../model-folder/pooling.js';
import type { TextEncoderOptions } from './text-encoder-options.js';

/** The settings of the native encoder of a model. @throws GradCacheError `CHECKPOINT`, `INPUT` */
export function settingsOf(
  folder: ModelFolder,
  { dropout, drophead }: Pick<TextEncoderOptions, 'dropout' | 'drophead'>,
): EncoderSettings {
  const head = {
    pooling: poolingsOf(folder.pooling).join('+'),
    splade: folder.splade ?? null,
    modules: moduleSettings(folder.modules, dropout),
  };
  return encoderSettings(architectureOf(folder.modelType), folder.config, head, dropout, drophead);
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
