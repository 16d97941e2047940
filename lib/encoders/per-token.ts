import { GradCacheError } from '../errors.js';
import { PLAIN_INTERACTION, type LateInteraction } from '../model-folder/late-interaction.js';
import { NORMALIZE, widthBehind, type DenseLayer } from '../model-folder/head-modules.js';
import type { ModelFolder } from '../model-folder/model-folder.js';
import { hiddenSizeOf } from '../model-folder/hidden-size.js';
import { toStored } from '../safetensors/stored-tensor.js';
import { noGrad, withSeed } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { PerTokenOptions } from './text-encoder-options.js';

/**
 * A model that does not pool, of one that may: dense layers work on its tokens, which are scaled to length one.
 *
 * @param seed of a new projection's weights
 * @throws GradCacheError `INPUT` for a projection where the model has no pooling already, and for a model whose modules work
 * on one representation of a text alone
 */
export async function perToken(
  folder: ModelFolder,
  { projection, lateInteraction }: PerTokenOptions,
  seed: number,
): Promise<ModelFolder> {
  if (folder.pooling === 'none' && projection !== undefined)
    throw new GradCacheError(
      'INPUT',
      `projection is ${projection}, but the model has a representation for each token already: leave it out`,
    );
  const interaction = interactionOf(folder.lateInteraction, lateInteraction);
  if (folder.pooling === 'none') return { ...folder, lateInteraction: interaction };
  const dense = folder.modules.filter((each) => each.kind === 'Dense');
  const other = folder.layout
    ? 'a StaticEmbedding'
    : folder.modules.find(({ kind }) => kind !== 'Dense' && kind !== 'Normalize')?.kind;
  if (other !== undefined || typeof folder.pooling !== 'string')
    throw new GradCacheError(
      'INPUT',
      `pooling is 'none', and the model has ${other ?? 'several poolings side by side'}, which needs pooled texts; a model with ` +
        'one pooling and no modules but dense layers and normalisation is needed.',
    );
  const layer = projection === undefined ? [] : [await projectionTo(projection, folder, seed)];
  return {
    ...folder,
    pooling: 'none',
    modules: [...dense, ...layer, NORMALIZE],
    taskLengths: null,
    truncateDimension: null,
    similarity: 'maxsim',
    lateInteraction: interaction,
  };
}

/** How a model reads queries and documents, with what is asked for in place of its own. */
export function interactionOf(
  own: LateInteraction | null | undefined,
  asked: Partial<LateInteraction> = {},
): LateInteraction {
  const merged = { ...PLAIN_INTERACTION, ...own, ...asked };
  const { queryExpansion } = merged;
  if (queryExpansion === null) return merged;
  return { ...merged, queryExpansion: { attend: false, token: null, ...queryExpansion } };
}

/** A layer whose weights are filled in later. */
export function emptyProjection(outFeatures: number, inFeatures: number): DenseLayer {
  const weight = { dtype: 'float32', shape: [outFeatures, inFeatures], bytes: new Uint8Array() } as const;
  return { kind: 'Dense', inFeatures, outFeatures, activation: 'identity', weight, bias: null };
}

/** A linear layer without bias, from -1/sqrt(width) to 1/sqrt(width) as PyTorch begins it. */
async function projectionTo(
  outFeatures: number,
  { modules, config }: Pick<ModelFolder, 'modules' | 'config'>,
  seed: number,
): Promise<DenseLayer> {
  const inFeatures = widthBehind(modules, hiddenSizeOf(config));
  const bound = 1 / Math.sqrt(inFeatures);
  const weight: Tensor = untracked(() => call('aten::empty.memory_format', [outFeatures, inFeatures]));
  try {
    withSeed(seed, () => {
      noGrad(() => {
        call('aten::uniform_', weight, -bound, bound).dispose();
      });
    });
    return { ...emptyProjection(outFeatures, inFeatures), weight: await toStored(weight) };
  } finally {
    weight.dispose();
  }
}
