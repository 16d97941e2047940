/** What is read of an encoding of two texts. */
interface EncodedPair {
  getIds(): number[];
  getTypeIds(): number[];
  /** For each token the text that it is of, 0 or 1; nothing for special tokens. */
  getSequenceIds(): (number | null | undefined)[];
}

/**
 * The tokens of a pair that is cut to a length as `longest_first` of transformers does it: tokens of the longer text are dropped
 * until both are as long, then of both in turn. Special tokens stay. The package's own way is not used: it differs between its
 * releases where both texts are longer than the limit.
 *
 * @param side the end of a text at which tokens are dropped
 */
export function cutPair(
  encoding: EncodedPair,
  maxLength: number,
  side: 'left' | 'right',
): { ids: number[]; types: number[] } {
  const texts = encoding.getSequenceIds();
  const { lengths, left } = pairShares(texts, maxLength);
  const seen = [0, 0];
  const kept = texts.map((text) => {
    if (text !== 0 && text !== 1) return true;
    const place = seen[text]!++;
    return side === 'right' ? place < left[text] : place >= lengths[text] - left[text];
  });
  const isKept = (_: number, token: number): boolean => kept[token]!;
  return { ids: encoding.getIds().filter(isKept), types: encoding.getTypeIds().filter(isKept) };
}

/**
 * How many tokens two texts have that are too long together, and how many are left of each.
 *
 * @param texts for each token the text that it is of
 */
export function pairShares(
  texts: readonly (number | null | undefined)[],
  maxLength: number,
): { lengths: readonly [number, number]; left: readonly [number, number] } {
  const lengths = [0, 1].map((text) => texts.filter((of) => of === text).length) as [number, number];
  const room = maxLength - (texts.length - lengths[0] - lengths[1]);
  return { lengths, left: keptOf(lengths, room) };
}

/** How many tokens are left of each of two texts that are too long together. Of two that are cut to one length and a token, the longer text has the
 * token; of two that are as long, the second. */
function keptOf([first, second]: readonly [number, number], room: number): readonly [number, number] {
  const shorter = Math.min(first, second, Math.floor(room / 2));
  const longer = room - shorter;
  return first > second ? [longer, shorter] : [shorter, longer];
}
