import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireTexts } from '../options/option-values.js';
import { Random } from './random.js';

/** How {@link rankingPairs} draws negatives. */
export interface RankingPairsOptions {
  /** Negatives drawn for each anchor, or `'all'`; also all where there are not so many. Default: 4, as in sentence-transformers. */
  readonly negatives?: number | 'all';
  /** The same seed draws the same negatives. Default: 0. */
  readonly seed?: number;
}

/** Pairs for `crossEncoderRanking`. */
export interface RankingPairs {
  /** Anchor after anchor: each with its positive, then drawn negatives, then its own hard negatives. */
  readonly pairs: (readonly [string, string])[];
  /** The number of pairs of each anchor: the keyword argument `lists` of the loss. */
  readonly lists: number[];
}

/**
 * Pairs each anchor with its positive, with negatives drawn without repetition from the positives and hard negatives of the
 * other rows, and with its own hard negatives. Both passes of a step then see the same pairs.
 *
 * @param columns anchors, positives, and any hard negatives, as long as each other
 * @throws GradCacheError `INPUT`, `SHAPE` for columns of different lengths
 * @example
 * ```ts
 * const { pairs, lists } = rankingPairs([queries, answers], { negatives: 4, seed: 1 });
 * await gradcache.step([reranker.tokenize(pairs)], { loss: { lists } });
 * ```
 */
export function rankingPairs(
  columns: readonly (readonly string[])[],
  options: RankingPairsOptions = {},
): RankingPairs {
  checkKnown('rankingPairs', options, ['negatives', 'seed']);
  const { negatives = 4, seed = 0 } = options;
  if (negatives !== 'all') requireCount('negatives', negatives, 0);
  requireColumns(columns);
  const random = new Random(seed);
  const [anchors, ...candidates] = columns as [readonly string[], ...(readonly string[])[]];
  const others = anchors.length - 1;
  const available = candidates.length * others;
  const pairs: [string, string][] = [];
  for (const [row, anchor] of anchors.entries()) {
    const drawn = draw(random, available, negatives === 'all' ? available : negatives).map(
      (place) => candidates[Math.floor(place / others)]![besides(row, place % others)]!,
    );
    const [positive, ...own] = candidates.map((column) => column[row]!) as [string, ...string[]];
    for (const text of [positive, ...drawn, ...own]) pairs.push([anchor, text]);
  }
  const each = anchors.length === 0 ? 0 : pairs.length / anchors.length;
  return { pairs, lists: anchors.map(() => each) };
}

/** The row that a place among all other rows stands for. */
const besides = (row: number, place: number): number => (place < row ? place : place + 1);

/** So many different numbers below `limit`, each set of them equally likely (Floyd's way); all where there are not more. */
function draw(random: Random, limit: number, count: number): number[] {
  if (count >= limit) return Array.from({ length: limit }, (_, number) => number);
  const drawn = new Set<number>();
  for (let last = limit - count; last < limit; last++) {
    const number = random.below(last + 1);
    drawn.add(drawn.has(number) ? last : number);
  }
  return [...drawn];
}

function requireColumns(columns: unknown): asserts columns is readonly (readonly string[])[] {
  if (!Array.isArray(columns) || columns.length < 2)
    throw refused('columns', columns, 'a list of anchors, positives, and any hard negatives');
  for (const [place, column] of columns.entries()) requireTexts(`columns[${place}]`, column);
  const lengths = (columns as readonly string[][]).map(({ length }) => length);
  if (new Set(lengths).size > 1)
    throw new GradCacheError(
      'SHAPE',
      `The columns have ${lengths.join(', ')} texts; as many in each are needed.`,
    );
}
