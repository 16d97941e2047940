import type { RowSource } from '../data/row.js';
import type { EncodesTexts } from '../evaluation/encode-texts.js';
import type { Ranking } from '../evaluation/exact-search.js';
import { findCandidates, type Candidates } from './candidates.js';
import { chooseNegatives, LIMITS, type Listed } from './choose.js';
import { judge } from './judge.js';
import { minedColumns, minedRows, type Mined, type MinedColumn, type MinedRow } from './mined-rows.js';
import { promptsFor } from '../evaluation/task-prompts.js';
import { readMiningOptions, requireDense, type MiningOptions, type ReadMiningOptions } from './options.js';
import { PairScores } from '../evaluation/pair-scores.js';
import { readPairSet, type PairSet } from './pair-set.js';
import { statisticsOf, type MiningStatistics } from './statistics.js';

/** What {@link mineHardNegatives} found. */
export interface MinedNegatives {
  /** The columns of the rows, in their order. */
  readonly columns: readonly string[];
  /** What each column holds. */
  readonly types: readonly MinedColumn[];
  /** The rows, made as they are gone over, any number of times. */
  readonly rows: Iterable<MinedRow>;
  /** Counts, and how scores are spread. */
  readonly statistics: MiningStatistics;
}

/**
 * Finds hard negatives: for each anchor of some pairs, documents that the encoder takes for near and that are not its
 * positives. The rows are those of sentence-transformers' `mine_hard_negatives`, option by option.
 *
 * The search is exact. Of the documents, one block of representations is in memory at a time, of the anchors all. An anchor
 * in several pairs has several positives, none of which is mined for it, and neither is a document with the anchor's own
 * text. (sentence-transformers mines the latter.) Equal scores are ranked in the order of the documents. A judge scores all
 * candidates whenever there is one. (sentence-transformers leaves it unused where no setting takes candidates away.)
 *
 * ```ts
 * const model = await TextEncoder.load('sentence-transformers/all-MiniLM-L6-v2');
 * const { rows } = await mineHardNegatives(model, readPairs('pairs.jsonl'), { negatives: 5, relativeMargin: 0.05 });
 * for (const { anchor, positive, negative } of rows) console.log(anchor, positive, negative);
 * ```
 *
 * @param pairs rows with the columns of anchor and positive, as `readPairs` gives them
 * @throws GradCacheError `INPUT` for a wrong option, for rows without their texts and where there are none, `NON_FINITE` for a
 * score that is NaN or infinite, `SHAPE` for a judge that gives other than a score a pair, `ABORTED`
 */
export async function mineHardNegatives(
  encoder: EncodesTexts,
  pairs: RowSource,
  options: MiningOptions = {},
): Promise<MinedNegatives> {
  const read = readMiningOptions(options);
  const types = minedColumns(read);
  requireDense('encoder', encoder);
  const { columns, corpus, signal } = read;
  const set = await readPairSet({ pairs, columns, corpus, signal });
  const settings = {
    ...read,
    rangeMax: read.rangeMax ?? usualRange(set, read),
    prompts: promptsFor(encoder, read.prompts),
  };
  // The positives are among the best as a rule, and so is a document with the anchor's own text.
  const perAnchor = settings.rangeMax + set.mostRows;
  const own = set.same.some((document) => document >= 0) ? 1 : 0;
  const found = await findCandidates(encoder, set, perAnchor + own, settings);
  const { candidates, positives } = await judged(set, found, perAnchor, settings);
  const chosen = chooseNegatives(set, candidates, positives, settings);
  const mined: Mined = { set, chosen, positives };
  return {
    columns: types.map(({ name }) => name),
    types,
    rows: { [Symbol.iterator]: () => minedRows(mined, settings) },
    statistics: statisticsOf(mined, settings, perAnchor),
  };
}

/** Ranks to look at where it is not said: many where settings take some away. */
function usualRange({ mostRows }: PairSet, options: ReadMiningOptions): number {
  const { rangeMin, negatives, judge, minScore } = options;
  // Without a judge the best candidates are those that the least score leaves.
  const takes = LIMITS.filter((limit) => limit !== 'minScore').some((limit) => options[limit] !== undefined);
  const many = takes || (judge !== undefined && minScore !== undefined);
  return rangeMin + negatives * (many ? 10 : 1) + mostRows;
}

/** What can be a negative of each anchor, and the positives, with the scores that count. */
async function judged(
  set: PairSet,
  { ranking, positives }: Candidates,
  perAnchor: number,
  options: ReadMiningOptions,
): Promise<{ candidates: Listed; positives: Float64Array }> {
  const candidates = withoutPositives(set, ranking, perAnchor, options.includePositives);
  if (options.judge === undefined) return { candidates, positives };
  const anchors: number[] = [];
  for (const anchor of set.anchors.keys())
    for (let at = candidates.offsets[anchor]!; at < candidates.offsets[anchor + 1]!; at++)
      anchors.push(anchor);
  const found = anchors.length;
  for (const [anchor, own] of set.positives.entries()) for (const _ of own) anchors.push(anchor);
  const documents = Int32Array.from([...candidates.documents, ...set.positives.flat()]);
  const pairs = new PairScores(Int32Array.from(anchors), documents);
  const scores = await judge(options.judge, set, pairs, options);
  return {
    candidates: { ...candidates, scores: scores.subarray(0, found) },
    positives: scores.subarray(found),
  };
}

function withoutPositives(
  set: PairSet,
  { k, documents, scores }: Ranking,
  perAnchor: number,
  includePositives: boolean,
): Listed {
  const offsets = new Int32Array(set.anchors.length + 1);
  const kept: number[] = [];
  for (const [anchor, own] of set.positives.entries()) {
    const positives = new Set(includePositives ? [] : own);
    let looked = 0;
    for (let at = anchor * k; at < (anchor + 1) * k && looked < perAnchor; at++) {
      if (documents[at] === set.same[anchor]) continue;
      looked++;
      if (!positives.has(documents[at]!)) kept.push(at);
    }
    offsets[anchor + 1] = kept.length;
  }
  return {
    offsets,
    documents: Int32Array.from(kept, (at) => documents[at]!),
    scores: Float64Array.from(kept, (at) => scores[at]!),
  };
}
