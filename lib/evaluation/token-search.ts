import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import type { TokenRepresentations } from '../encoders/text-encoder.js';
import { plural } from '../options/plural.js';
import { refused } from '../options/option-values.js';
import type { TokenSimilarity } from '../options/similarity.js';
import { Tensor } from '../tensor/tensor.js';
import { bestOf, merge, type Best } from './best.js';
import { toRanking, type Ranking } from './exact-search.js';
import { callNumber, disposeAll, inWorkspace, type Workspace } from './workspace.js';

/** Products of tokens at once, in float64. */
const AT_ONCE = 2 ** 23;

/**
 * The best documents of each query by late interaction: the sum over a query's tokens of the largest inner product with a
 * token of the document, or their mean. Exact, tile by tile; documents with equal scores are listed in their order.
 *
 * @param documents blocks of documents, which are disposed after use
 * @throws GradCacheError `INPUT` where there is nothing to search, `SHAPE`, `NON_FINITE`
 */
export async function searchTokens(
  queries: TokenRepresentations,
  documents: AsyncIterable<TokenRepresentations>,
  { k, similarity }: { readonly k: number; readonly similarity: TokenSimilarity },
): Promise<Ranking> {
  const rows = queries.offsets.length - 1;
  const tiles = cut(queries.offsets, AT_ONCE / 4096);
  const best: (Best | null)[] = tiles.map(() => null);
  let seen = 0;
  try {
    for await (const block of documents) {
      try {
        for (const tile of cut(block.offsets, 4096)) {
          await compareTile(block, tile);
          seen += tile.end - tile.begin;
        }
      } finally {
        block.representations.dispose();
      }
    }
    if (seen === 0) throw new GradCacheError('INPUT', 'A search needs at least one document.');
    return await toRanking(best as Best[], rows, Math.min(k, seen));
  } finally {
    disposeAll(best);
  }

  async function compareTile(block: TokenRepresentations, tile: Texts): Promise<void> {
    await inWorkspace(async (space) => {
      const side = await padded(block, tile, space);
      for (const [index, some] of tiles.entries())
        await inWorkspace(async (inner) => {
          const scores = await scoresOf(queries, some, side, similarity, inner);
          await requireFinite(scores, some.begin, seen);
          best[index] = await merge(best[index] ?? null, await bestOf(scores, seen, k), k);
        });
    });
  }
}

/** Some texts by their numbers, the last excluded. */
interface Texts {
  readonly begin: number;
  readonly end: number;
}

/** Cuts texts into parts in each of which the number of texts, times the length of the longest, is at most `tokens`. */
function cut(offsets: Int32Array, tokens: number): Texts[] {
  const parts: Texts[] = [];
  let [begin, longest] = [0, 0];
  for (let text = 0; text + 1 < offsets.length; text++) {
    const length = offsets[text + 1]! - offsets[text]!;
    if (text > begin && (text + 1 - begin) * Math.max(longest, length) > tokens) {
      parts.push({ begin, end: text });
      [begin, longest] = [text, 0];
    }
    longest = Math.max(longest, length);
  }
  if (begin + 1 < offsets.length) parts.push({ begin, end: offsets.length - 1 });
  return parts;
}

/** Documents of one length: a shorter one repeats its first token, which changes no largest product. */
interface Padded {
  /** [documents * length, dimension], float64. */
  readonly tokens: Tensor;
  readonly documents: number;
  readonly length: number;
}

async function padded(
  { representations, offsets }: TokenRepresentations,
  { begin, end }: Texts,
  space: Workspace,
): Promise<Padded> {
  const documents = end - begin;
  let length = 0;
  for (let text = begin; text < end; text++) length = Math.max(length, offsets[text + 1]! - offsets[text]!);
  const places = new Int32Array(documents * length);
  for (let text = begin; text < end; text++)
    for (let token = 0; token < length; token++) {
      const place = offsets[text]! + token;
      places[(text - begin) * length + token] = place < offsets[text + 1]! ? place : offsets[text]!;
    }
  const index = space.note(Tensor.from(places, { device: representations.device }));
  const rows = await space.call('aten::index_select', representations, 0, index);
  return { tokens: await space.call('aten::to.dtype', rows, 'float64'), documents, length };
}

/** [queries, documents], float64. */
async function scoresOf(
  { representations, offsets }: TokenRepresentations,
  { begin, end }: Texts,
  { tokens, documents, length }: Padded,
  similarity: TokenSimilarity,
  space: Workspace,
): Promise<Tensor> {
  const [first, count] = [offsets[begin]!, offsets[end]! - offsets[begin]!];
  const part = space.view('aten::narrow', representations, 0, first, count);
  const rows = await space.call('aten::to.dtype', part, 'float64');
  const products = await space.call('aten::mm', rows, space.view('aten::t', tokens));
  const byDocument = space.view('aten::view', products, [count, documents, length]);
  const largest = await space.call('aten::amax', byDocument, [2]);
  // A row for each query, with a number other than 0 for each of its tokens.
  const members = new Float64Array((end - begin) * count);
  for (let query = begin; query < end; query++) {
    const [from, to] = [offsets[query]! - first, offsets[query + 1]! - first];
    const row = (query - begin) * count;
    members.fill(similarity === 'maxsim' ? 1 : 1 / (to - from), row + from, row + to);
  }
  const { device } = representations;
  const sums = space.note(Tensor.from(members, { shape: [end - begin, count], device }));
  const scores = await space.call('aten::mm', sums, largest);
  // Products are rounded as their tile has it. Equal documents tie nevertheless.
  const rounded = await space.call('aten::to.dtype', scores, 'float32');
  return space.call('aten::to.dtype', rounded, 'float64');
}

async function requireFinite(scores: Tensor, firstQuery: number, firstDocument: number): Promise<void> {
  if (Number.isFinite(await callNumber('aten::sum', scores))) return;
  const values = (await scores.values()) as Float64Array;
  const place = values.findIndex((score) => !Number.isFinite(score));
  if (place < 0) return;
  const columns = scores.shape[1]!;
  throw new GradCacheError(
    'NON_FINITE',
    `The score of query ${firstQuery + Math.floor(place / columns)} and document ${firstDocument + (place % columns)} is ` +
      `${values[place]}: a representation is not finite.`,
  );
}

/**
 * What an encoder of the caller's own gave, if it has representations for the tokens of as many texts.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function requireTokenRepresentations(given: unknown, texts: number): TokenRepresentations {
  const { representations, offsets } = (given ?? {}) as Partial<TokenRepresentations>;
  if (!(representations instanceof Tensor) || !types.isInt32Array(offsets))
    throw refused('what encodeTokens() returned', given, '{ representations: Tensor, offsets: Int32Array }');
  const fits =
    representations.shape.length === 2 &&
    offsets.length === texts + 1 &&
    offsets[0] === 0 &&
    offsets[texts] === representations.shape[0] &&
    offsets.every((offset, text) => text === 0 || offset > offsets[text - 1]!);
  if (fits) return { representations, offsets };
  const shape = representations.shape.join();
  representations.dispose();
  throw new GradCacheError(
    'SHAPE',
    `encodeTokens() returned ${plural(offsets.length, 'offset')} and shape [${shape}] for ${plural(texts, 'text')}; each text ` +
      'needs a row or more of its own.',
  );
}
