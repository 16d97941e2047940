import { GradCacheError } from '../errors.js';
import { numberIn, type Config } from '../architectures/config-values.js';
import { fromStored } from '../safetensors/stored-tensor.js';
import { readPictureFolder, type PictureFolder } from './picture-folder.js';

/** What the scores of CLIP and SigLIP are made of beside cosines. */
export interface NumbersOfScores {
  /** Cosines are divided by it: 1 / exp(`logit_scale`). */
  readonly temperature: number;
  /** SigLIP adds it to every score; null for CLIP. */
  readonly bias: number | null;
}

/** @throws GradCacheError `CHECKPOINT` for a folder without them */
export function scoreNumbersOf(folder: PictureFolder): NumbersOfScores {
  return {
    temperature: Math.exp(-numberOf(folder, 'logit_scale')),
    bias: folder.kind === 'siglip' ? numberOf(folder, 'logit_bias') : null,
  };
}

/** {@link scoreNumbersOf} of a folder on disk. */
export async function scoreNumbersIn(folder: string): Promise<NumbersOfScores> {
  return scoreNumbersOf(await readPictureFolder(folder));
}

/** What a model with random weights begins with, as in the papers of both. */
export function usualScoreNumbers(config: Config): NumbersOfScores {
  if (config['model_type'] === 'siglip') return { temperature: 0.1, bias: -10 };
  return { temperature: Math.exp(-numberIn(config, 'logit_scale_init_value', 2.6592)), bias: null };
}

function numberOf({ folder, tensors }: PictureFolder, name: string): number {
  const stored = tensors.get(name);
  if (stored === undefined || stored.shape.some((extent) => extent !== 1))
    throw new GradCacheError('CHECKPOINT', `${folder}: the weights have no number ${name}.`);
  const tensor = fromStored(stored);
  try {
    return tensor.item();
  } finally {
    tensor.dispose();
  }
}
