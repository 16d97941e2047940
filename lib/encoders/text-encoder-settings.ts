import type { EncoderSettings } from '../addon/native.js';
import { encoderSettings } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import type { TextEncoderOptions } from './text-encoder-options.js';

/** The settings of the native encoder of a model. @throws GradCacheError `CHECKPOINT`, `INPUT` */
export function settingsOf(
  folder: ModelFolder,
  { dropout, drophead }: Pick<TextEncoderOptions, 'dropout' | 'drophead'>,
): EncoderSettings {
  const head = {
    pooling: folder.pooling,
    splade: folder.splade ?? null,
    normalize: folder.normalize,
    dense: folder.dense.map(({ inFeatures, outFeatures, activation, bias }) => ({
      inFeatures,
      outFeatures,
      activation,
      bias: bias !== null,
    })),
  };
  return encoderSettings(architectureOf(folder.modelType), folder.config, head, dropout, drophead);
}
