import { refused } from '../options/option-values.js';
import type { Chosen } from './choose.js';
import type { ReadMiningOptions } from './options.js';
import type { PairSet } from './pair-set.js';

/** A row of mined data: columns of texts, and labels or scores. */
export type MinedRow = Readonly<Record<string, string | number | readonly string[] | readonly number[]>>;

/** A column of mined rows. Each row has it. */
export interface MinedColumn {
  readonly name: string;
  readonly type: 'text' | 'integer' | 'number';
  /** Whether a row has a list of them. */
  readonly list: boolean;
}

/** What rows are made of. */
export interface Mined {
  readonly set: PairSet;
  readonly chosen: Chosen;
  /** Scores of the positives, in the order of the pair set. */
  readonly positives: Float64Array;
}

type Layout = Pick<ReadMiningOptions, 'format' | 'scores' | 'columns' | 'negatives'>;

/** An anchor with one of its positives, and its negatives. */
interface Group {
  readonly anchor: string;
  readonly positive: string;
  readonly positiveScore: number;
  readonly negatives: readonly string[];
  readonly negativeScores: readonly number[];
}

/**
 * Columns of the rows, in their order.
 *
 * @throws GradCacheError `INPUT` where the rows get a column with the name of the anchors' or the positives'
 */
export function minedColumns(layout: Layout): MinedColumn[] {
  const all = columnsOf(layout);
  const twice = all.slice(2).find(({ name }) => layout.columns.includes(name));
  if (twice === undefined) return all;
  throw refused('columns', layout.columns, `other names than ${twice.name}, which rows get beside them,`);
}

function columnsOf({ format, scores, columns, negatives }: Layout): MinedColumn[] {
  const [anchor, positive] = columns.map(textColumn) as [MinedColumn, MinedColumn];
  const score = { name: 'score', type: 'number', list: false } as const;
  const label = { name: 'label', type: 'integer', list: false } as const;
  const allScores = { name: 'scores', type: 'number', list: true } as const;
  const labels = { name: 'labels', type: 'integer', list: true } as const;
  if (format === 'labeled-pair') return [anchor, positive, scores ? score : label];
  if (format === 'labeled-list') return [anchor, { ...positive, list: true }, scores ? allScores : labels];
  const names =
    format === 'triplet' ? ['negative'] : Array.from({ length: negatives }, (_, place) => nameOf(place));
  return [anchor, positive, ...names.map(textColumn), ...(scores ? [allScores] : [])];
}

const textColumn = (name: string): MinedColumn => ({ name, type: 'text', list: false });

const nameOf = (place: number): string => `negative_${place + 1}`;

/** The rows, anchor by anchor in the order in which they came. */
export function* minedRows(mined: Mined, layout: Layout): Generator<MinedRow, void, undefined> {
  const { format, scores, negatives } = layout;
  const [anchorColumn, positiveColumn] = layout.columns;
  if (format === 'labeled-pair') return yield* labeledPairs(mined, layout);
  for (const { anchor, positive, positiveScore, ...found } of groups(mined)) {
    const own = { [anchorColumn]: anchor, [positiveColumn]: positive };
    if (format === 'triplet') {
      for (const [place, negative] of found.negatives.entries())
        yield { ...own, negative, ...(scores && { scores: [positiveScore, found.negativeScores[place]!] }) };
    } else if (format === 'n-tuple') {
      if (found.negatives.length < negatives) continue;
      const all = Object.fromEntries(found.negatives.map((text, place) => [nameOf(place), text]));
      yield { ...own, ...all, ...(scores && { scores: [positiveScore, ...found.negativeScores] }) };
    } else if (found.negatives.length > 0) {
      yield {
        [anchorColumn]: anchor,
        [positiveColumn]: [positive, ...found.negatives],
        ...(scores
          ? { scores: [positiveScore, ...found.negativeScores] }
          : { labels: [1, ...found.negatives.map(() => 0)] }),
      };
    }
  }
}

/** All positives of an anchor, and then its negatives once. */
function* labeledPairs(
  { set, chosen, positives }: Mined,
  { columns: [anchorColumn, documentColumn], scores }: Layout,
): Generator<MinedRow, void, undefined> {
  let at = 0;
  for (const [number, own] of set.positives.entries()) {
    const row = (document: number, score: number, label: number): MinedRow => ({
      [anchorColumn]: set.anchors[number]!,
      [documentColumn]: set.documents[document]!,
      ...(scores ? { score } : { label }),
    });
    for (const document of own) yield row(document, positives[at++]!, 1);
    for (let place = chosen.offsets[number]!; place < chosen.offsets[number + 1]!; place++)
      yield row(chosen.documents[place]!, chosen.scores[place]!, 0);
  }
}

function* groups({ set, chosen, positives }: Mined): Generator<Group, void, undefined> {
  let at = 0;
  for (const [number, own] of set.positives.entries()) {
    const [begin, end] = [chosen.offsets[number]!, chosen.offsets[number + 1]!];
    const negatives = Array.from(chosen.documents.subarray(begin, end), (each) => set.documents[each]!);
    const negativeScores = Array.from(chosen.scores.subarray(begin, end));
    for (const document of own)
      yield {
        anchor: set.anchors[number]!,
        positive: set.documents[document]!,
        positiveScore: positives[at++]!,
        negatives,
        negativeScores,
      };
  }
}
