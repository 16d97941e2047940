import type { TextEncoder } from '../encoders/text-encoder.js';
import type { Tensor } from '../tensor/tensor.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';
import type { CaptionEncoder } from './caption-encoder.js';
import type { ImageEncoder } from './image-encoder.js';
import { COUNTED } from './internal.js';

/** A tower of pictures and one of captions, whose representations are compared: an `ImageTextModel`, or an `ImageTextPair`. */
export interface ImageTextTowers {
  /** The tower of pictures. */
  readonly images: ImageEncoder;
  /** The tower of captions. */
  readonly captions: CaptionEncoder | TextEncoder;
}

/** Captions as their tower takes them in a step. */
export interface CountedCaptions {
  readonly batch: Tensor | TokenBatch;
  /** Without padding. */
  readonly tokens: number;
  /** Captions that were cut. */
  readonly truncated: number;
}

/** No prompt: that of a folder is for queries and documents of texts. */
const NO_PROMPT = '';

/** Tokenises captions. @throws GradCacheError `INPUT` */
export async function countedCaptions(
  captions: ImageTextTowers['captions'],
  texts: readonly string[],
): Promise<CountedCaptions> {
  if (COUNTED in captions) {
    const { ids, tokens, truncated } = await captions[COUNTED](texts);
    return { batch: ids, tokens, truncated };
  }
  const batch = await captions.tokenize(texts, { prompt: NO_PROMPT });
  return { batch, tokens: batch.ids.length, truncated: batch.truncated };
}

/** Representations of captions, without dropout. @throws GradCacheError `INPUT`, `OUT_OF_MEMORY`, `ABORTED` */
export function encodeCaptions(
  captions: ImageTextTowers['captions'],
  texts: readonly string[],
  signal?: AbortSignal,
): Promise<Tensor> {
  return COUNTED in captions
    ? captions.encode(texts, { signal })
    : captions.encode(texts, { prompt: NO_PROMPT, signal });
}
