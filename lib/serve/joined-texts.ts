import type { TokenBatch } from '../tokenizer/tokenizer.js';

/** One text as tokens. */
export interface TokenText {
  readonly ids: Int32Array;
  readonly types?: Int32Array | undefined;
  /** {@link TokenBatch.skipped}, the same of all texts that are joined. */
  readonly skipped?: number | undefined;
}

/** One batch of several texts, of which all have types or none. */
export function joinedTexts(texts: readonly TokenText[]): TokenBatch {
  const offsets = new Int32Array(texts.length + 1);
  for (const [row, { ids }] of texts.entries()) offsets[row + 1] = offsets[row]! + ids.length;
  const ids = new Int32Array(offsets[texts.length]!);
  const types = texts[0]?.types === undefined ? undefined : new Int32Array(ids.length);
  for (const [row, text] of texts.entries()) {
    ids.set(text.ids, offsets[row]);
    if (text.types !== undefined) types?.set(text.types, offsets[row]);
  }
  const skipped = texts[0]?.skipped;
  return {
    ids,
    offsets,
    truncated: 0,
    ...(types && { types }),
    ...(skipped !== undefined && { skipped }),
  };
}

/** The texts of a batch. */
export function textsOf({ ids, types, offsets, skipped }: TokenBatch): TokenText[] {
  return Array.from({ length: offsets.length - 1 }, (_, row) => {
    const [from, to] = [offsets[row]!, offsets[row + 1]!];
    return { ids: ids.subarray(from, to), types: types?.subarray(from, to), skipped };
  });
}
