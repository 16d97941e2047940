/**
 * The merges of a vocabulary of byte pairs, which a model of sentencepiece does not store: every way to make a token of two others,
 * in the order of the tokens' ids, and of one token those with the shorter first half before others, as transformers orders them.
 *
 * @param ids the id of every token
 */
export function mergesOf(ids: ReadonlyMap<string, number>): [string, string][] {
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
