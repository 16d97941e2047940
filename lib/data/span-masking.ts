import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireString } from '../options/option-values.js';
import { Random } from './random.js';

/** How {@link spanMasking} masks. */
export interface SpanMaskingOptions {
  /** What a span is replaced by: the text of the tokenizer's mask token, such as `[MASK]` or `<mask>`. */
  readonly mask: string;
  /** Characters of a span. Default 5. */
  readonly characters?: number;
  /** Texts of fewer characters stay as they are. Default 30. */
  readonly least?: number;
  /** The same seed masks the same spans. Default 0. */
  readonly seed?: number;
}

/**
 * The random span masking of Mirror-BERT (Liu et al. 2021): a span of a text is replaced by the mask token, before the text is
 * tokenised. Mask one view of each example alone: the other keeps the whole text. Characters are Unicode code points, so that
 * none is cut in half.
 *
 * @returns a function of texts; each call draws spans anew
 * @throws GradCacheError `INPUT` for a wrong option
 * @example
 * ```ts
 * const mask = spanMasking({ mask: '[MASK]', characters: 5, seed: 1 });
 * const other = texts.map(mask); // a second view of each text, with a few characters hidden
 * ```
 */
export function spanMasking(options: SpanMaskingOptions): (text: string) => string {
  checkKnown('spanMasking', options, ['mask', 'characters', 'least', 'seed']);
  const { mask, characters = 5, least = 30, seed = 0 } = options;
  requireString('mask', mask);
  if (mask === '') throw refused('mask', mask, 'the text of a mask token');
  requireCount('characters', characters, 1);
  requireCount('least', least, characters);
  const random = new Random(seed);
  return (text) => {
    requireString('the text', text);
    const all = Array.from(text);
    if (all.length < least) return text;
    const begin = random.below(all.length - characters + 1);
    return [all.slice(0, begin), [` ${mask} `], all.slice(begin + characters)].flat().join('').trim();
  };
}
