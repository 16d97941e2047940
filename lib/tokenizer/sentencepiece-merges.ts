/** What the squares of all lengths may add up to: with a quarter of a million tokens, 32 characters each. */
const MOST_WORK = 2 ** 28;

/**
 * The merges of a vocabulary of byte pairs, which a model of sentencepiece does not store: every way to make a token of two others,
 * in the order of the tokens' ids, and of one token those with the shorter first half before others, as transformers orders them.
 *
 * @param ids the id of every token
 * @throws Error for tokens so long that their merges, which grow with the square of a length, would fill the memory
 */
export function mergesOf(ids: ReadonlyMap<string, number>): [string, string][] {
  let work = 0;
  for (const { length } of ids.keys()) work += length ** 2;
  if (work > MOST_WORK)
    throw new Error(
      `its ${ids.size} tokens are too long to find the merges of: the squares of their lengths add up to ${work}, and at most ` +
        `${MOST_WORK} is taken`,
    );
  const merges: [string, string][] = [];
  // The order in the vocabulary is that of the ids.
  for (const token of ids.keys()) {
    let cut = 0;
    for (const character of token) {
      cut += character.length;
      const [left, right] = [token.slice(0, cut), token.slice(cut)];
      if (ids.has(left) && ids.has(right)) merges.push([left, right]);
    }
  }
  return merges;
}
