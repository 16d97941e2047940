import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';
import { Tensor } from '../tensor/tensor.js';
import type { EncodesTexts } from './retrieval.js';

/**
 * Representations of texts, [texts, dimension]. The encoder may be the caller's own: one that leaves a text out would shift
 * all that follow, in silence.
 *
 * @throws GradCacheError `INPUT` where it gives no tensor, `SHAPE` where it gives another number of rows
 */
export async function encodeTexts(
  encoder: EncodesTexts,
  texts: readonly string[],
  options: Parameters<EncodesTexts['encode']>[1],
): Promise<Tensor> {
  const representations: unknown = await encoder.encode(texts, options);
  if (!(representations instanceof Tensor))
    throw refused('what encode() returned', representations, 'a Tensor [texts, dimension]');
  const { shape } = representations;
  if (shape.length === 2 && shape[0] === texts.length) return representations;
  representations.dispose();
  throw new GradCacheError(
    'SHAPE',
    `encode() returned shape [${shape.join()}] for ${texts.length} texts, expected [${texts.length}, dimension].`,
  );
}
