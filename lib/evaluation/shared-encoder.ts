import { types } from 'node:util';
import type { CrossEncoder } from '../encoders/cross-encoder.js';
import type { TextEncoder, TokenRepresentations } from '../encoders/text-encoder.js';
import { sharesOf, type Shares } from '../data/deal.js';
import { gatherRows } from '../distributed/gather-rows.js';
import type { Ranks } from '../distributed/ranks.js';
import { joinedRows, type SparseRows } from '../encoders/sparse-rows.js';
import { takeRows } from '../tensor/rows.js';
import type { Tensor } from '../tensor/tensor.js';
import type { EncodesTexts, EncodesTokens } from './encode-texts.js';
import type { ScoresPairs } from './scores-pairs.js';
import { sharedSearch } from './shared-search.js';

/**
 * An encoder whose calls are shared out over ranks: each encodes a share of the texts, dealt by length, and gets all
 * representations. A search among them is shared out too. Every rank makes the same calls in the same order. Without ranks, the
 * encoder itself.
 */
export function sharedEncoder(model: SharedModel, ranks: Ranks | null): EncodesTexts {
  if (ranks === null) return model;
  const { prompts, similarity, sparse, perToken } = model;
  const about = { prompts, similarity, sparse, perToken };
  const shared =
    (name: 'encode' | 'encodeQuery' | 'encodeDocument'): EncodesTexts['encode'] =>
    (texts, options) =>
      sharedRows(texts, ranks, (own) => model[name](own, options));
  const dense = {
    encode: shared('encode'),
    encodeQuery: shared('encodeQuery'),
    encodeDocument: shared('encodeDocument'),
  };
  const others: Pick<Required<EncodesTexts>, 'encodeSparse'> & Pick<EncodesTokens, 'encodeTokens'> = {
    encodeSparse: (texts, options) => sharedSparse(model, ranks, texts, options),
    encodeTokens: (texts, options) => sharedTokens(model, ranks, texts, options),
  };
  const search: EncodesTexts['search'] = (...what) => sharedSearch(ranks, ...what);
  return { ...about, ...others, ...dense, search };
}

/** What is shared out of an encoder. */
export type SharedModel = Pick<
  TextEncoder,
  | 'prompts'
  | 'similarity'
  | 'sparse'
  | 'perToken'
  | 'encode'
  | 'encodeQuery'
  | 'encodeDocument'
  | 'encodeSparse'
  | 'encodeTokens'
>;

/** Representations of texts, of which each rank encodes a share. Without ranks, this process encodes them all. */
export async function sharedRows(
  texts: readonly string[],
  ranks: Ranks | null,
  encode: (own: readonly string[]) => Promise<Tensor>,
): Promise<Tensor> {
  const shares = ranks === null ? null : dealt(texts, ranks);
  if (ranks === null || shares === null) return encode(texts);
  const rows = await gatherRows(ranks, 'encoding texts', () => encode(ofShare(texts, shares)));
  return inOrder(rows, orderOf(shares));
}

/** A cross-encoder whose pairs are shared out over ranks, like {@link sharedEncoder}. */
export function sharedScorer(
  model: Pick<CrossEncoder, 'predict' | 'labels'>,
  ranks: Ranks | null,
): ScoresPairs {
  if (ranks === null) return model;
  return {
    async predict(pairs, options) {
      const lengths = pairs.map(([first, second]) => first.length + second.length);
      const shares = sharesOf(lengths, ranks);
      const own = Array.from(shares.own, (pair) => pairs[pair]!);
      const scores = await ranks.agree('scoring pairs', async () =>
        own.length === 0 ? [] : Array.from(await model.predict(own, options)),
      );
      const all = await ranks.numbers(scores);
      const placed = new Float64Array(pairs.length * model.labels);
      for (const [rank, list] of shares.all.entries())
        for (const [place, pair] of list.entries())
          for (let label = 0; label < model.labels; label++)
            placed[pair * model.labels + label] = all[rank]![place * model.labels + label]!;
      return placed;
    },
  };
}

/** How texts are dealt out; null for so few that each rank encodes them all. */
function dealt(texts: readonly string[], ranks: Ranks): Shares | null {
  if (texts.length < ranks.size) return null;
  return sharesOf(
    texts.map(({ length }) => length),
    ranks,
  );
}

const ofShare = (texts: readonly string[], { own }: Shares): string[] =>
  Array.from(own, (text) => texts[text]!);

/** For each text its place among the rows of all ranks, one rank's behind the other's. */
function orderOf({ all }: Shares): Int32Array {
  const order = new Int32Array(all.reduce((sum, { length }) => sum + length, 0));
  let place = 0;
  for (const list of all) for (const text of list) order[text] = place++;
  return order;
}

/** Rows at other places; the rows given are disposed. */
function inOrder(rows: Tensor, order: Int32Array): Tensor {
  try {
    return takeRows(rows, order);
  } finally {
    rows.dispose();
  }
}

async function sharedTokens(
  model: SharedModel,
  ranks: Ranks,
  texts: readonly string[],
  options: Parameters<TextEncoder['encodeTokens']>[1],
): Promise<TokenRepresentations> {
  const shares = dealt(texts, ranks);
  if (shares === null) return model.encodeTokens(texts, options);
  let own: number[] = [];
  const rows = await gatherRows(ranks, 'encoding texts', async () => {
    const { representations, offsets } = await model.encodeTokens(ofShare(texts, shares), options);
    own = lengthsIn(offsets);
    return representations;
  });
  const lengths = (await ranks.numbers(own)).flat();
  const order = orderOf(shares);
  const begins = offsetsOf(lengths);
  const offsets = offsetsOf(Array.from(order, (place) => lengths[place]!));
  const tokens = new Int32Array(begins.at(-1)!);
  for (const [text, place] of order.entries())
    for (let token = 0; token < lengths[place]!; token++)
      tokens[offsets[text]! + token] = begins[place]! + token;
  return { representations: inOrder(rows, tokens), offsets };
}

async function sharedSparse(
  model: SharedModel,
  ranks: Ranks,
  texts: readonly string[],
  options: Parameters<TextEncoder['encodeSparse']>[1],
): Promise<SparseRows> {
  const shares = dealt(texts, ranks);
  if (shares === null) return model.encodeSparse(texts, options);
  const own = await ranks.agree('encoding texts', () => model.encodeSparse(ofShare(texts, shares), options));
  const what = 'telling representations';
  const entries = await ranks.bytes(what, new Uint8Array(numbersIn(own).buffer));
  const counts = await ranks.numbers(lengthsIn(own.offsets));
  const Numbers = types.isFloat64Array(own.values) ? Float64Array : Float32Array;
  const parts = entries.map((bytes, rank) => ({
    rows: Int32Array.from(shares.all[rank]!),
    entries: { numbers: new Numbers(bytes.slice().buffer), counts: Int32Array.from(counts[rank]!) },
  }));
  return joinedRows(parts, texts.length, own.dimension);
}

/** Each value and its column. */
function numbersIn({ values, columns }: SparseRows): Float32Array | Float64Array {
  const numbers = new (types.isFloat64Array(values) ? Float64Array : Float32Array)(2 * values.length);
  for (let entry = 0; entry < values.length; entry++) {
    numbers[2 * entry] = values[entry]!;
    numbers[2 * entry + 1] = columns[entry]!;
  }
  return numbers;
}

const lengthsIn = (offsets: Int32Array): number[] =>
  Array.from({ length: offsets.length - 1 }, (_, row) => offsets[row + 1]! - offsets[row]!);

function offsetsOf(lengths: readonly number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  for (const [row, length] of lengths.entries()) offsets[row + 1] = offsets[row]! + length;
  return offsets;
}
