import { LIMITS, type Limit } from './choose.js';
import type { Mined } from './mined-rows.js';
import type { ReadMiningOptions } from './options.js';

/** How some scores are spread. All but the count are NaN where there are none, `std` where there is one. */
export interface Spread {
  /** How many there are. */
  readonly count: number;
  /** Their mean. */
  readonly mean: number;
  /** The lower of the two in the middle, as torch.median gives it. */
  readonly median: number;
  /** Their standard deviation. */
  readonly std: number;
  /** The least. */
  readonly min: number;
  /** A quarter of the scores lie below it. Between two scores it is in proportion, as `50%` and `75%` are. */
  readonly '25%': number;
  /** Half of the scores lie below it. */
  readonly '50%': number;
  /** Three quarters of the scores lie below it. */
  readonly '75%': number;
  /** The greatest. */
  readonly max: number;
}

/** What was mined. */
export interface MiningStatistics {
  /** Different anchors. */
  readonly anchors: number;
  /** Rows that the anchors were in. */
  readonly pairs: number;
  /** Different documents that were searched. */
  readonly documents: number;
  /** The last rank of a candidate. */
  readonly rangeMax: number;
  /** Candidates that were looked at; those that a search lists beyond the number of documents count as well. */
  readonly candidates: number;
  /** Candidates that each setting took away. */
  readonly skipped: Readonly<Record<Limit, number>>;
  /** Rows that there are. */
  readonly rows: number;
  /** Rows that are missing because there were too few negatives. */
  readonly missing: number;
  /** Scores of positives. */
  readonly positive: Spread;
  /** Scores of negatives. */
  readonly negative: Spread;
  /** The score of a positive less that of a negative of its anchor. */
  readonly difference: Spread;
}

/** @param perAnchor candidates that were looked at for an anchor */
export function statisticsOf(
  { set, chosen, positives }: Mined,
  { format, negatives, rangeMax }: ReadMiningOptions & { readonly rangeMax: number },
  perAnchor: number,
): MiningStatistics {
  const negative: number[] = [];
  const difference: number[] = [];
  let rows = 0;
  let at = 0;
  for (const [number, own] of set.positives.entries()) {
    const scores = chosen.scores.subarray(chosen.offsets[number], chosen.offsets[number + 1]);
    if (format === 'labeled-pair') rows += own.length + scores.length;
    for (const _ of own) {
      const positive = positives[at++]!;
      if (format === 'triplet') rows += scores.length;
      if (format === 'n-tuple' && scores.length < negatives) continue;
      if (format === 'n-tuple' || (format === 'labeled-list' && scores.length > 0)) rows++;
      for (const score of scores) {
        negative.push(score);
        difference.push(positive - score);
      }
    }
  }
  const most = {
    triplet: positives.length * negatives,
    'n-tuple': positives.length,
    'labeled-list': positives.length,
    'labeled-pair': set.anchors.length * negatives + positives.length,
  }[format];
  return {
    anchors: set.anchors.length,
    pairs: set.rows,
    documents: set.documents.length,
    rangeMax,
    candidates: set.anchors.length * perAnchor,
    skipped: chosen.skipped,
    rows,
    missing: most - rows,
    positive: spreadOf(positives),
    negative: spreadOf(negative),
    difference: spreadOf(difference),
  };
}

function spreadOf(values: ArrayLike<number>): Spread {
  const sorted = Float64Array.from(values).sort();
  const count = sorted.length;
  const mean = sorted.reduce((sum, value) => sum + value, 0) / count;
  const squares = sorted.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  const quantile = (share: number): number => {
    const place = share * (count - 1);
    const [low, high] = [sorted[Math.floor(place)] ?? NaN, sorted[Math.ceil(place)] ?? NaN];
    return low + (high - low) * (place - Math.floor(place));
  };
  return {
    count,
    mean,
    median: sorted[Math.floor((count - 1) / 2)] ?? NaN,
    std: count > 1 ? Math.sqrt(squares / (count - 1)) : NaN,
    min: sorted[0] ?? NaN,
    '25%': quantile(0.25),
    '50%': quantile(0.5),
    '75%': quantile(0.75),
    max: sorted.at(-1) ?? NaN,
  };
}

/**
 * A table of the statistics in words, as sentence-transformers prints it.
 *
 * @param limits what the settings that take candidates away are
 * @param nameOf what a setting is called where this is read
 */
export function describeMining(
  statistics: MiningStatistics,
  limits: Partial<Record<Limit, number>> = {},
  nameOf: (setting: string) => string = (setting) => setting,
): string[] {
  const { positive, negative, difference, skipped, candidates, missing, rows } = statistics;
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(6) : cell.padStart(14)))
      .join(' ')
      .trimEnd();
  const counted = (value: number): string => value.toLocaleString('en-US');
  const share = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(2)}%`;
  const measures = ['mean', 'median', 'std', 'min', '25%', '50%', '75%', 'max'] as const;
  const taken = LIMITS.filter((limit) => skipped[limit] > 0);
  return [
    line(['Metric', 'Positive', 'Negative', 'Difference']),
    line(['Count', counted(positive.count), counted(negative.count), '']),
    ...measures.map((name) =>
      line([
        name[0]!.toUpperCase() + name.slice(1),
        ...[positive, negative, difference].map((spread) => spread[name].toFixed(4)),
      ]),
    ),
    ...taken.map(
      (limit) =>
        `Skipped ${counted(skipped[limit])} candidates (${share(skipped[limit], candidates)}) by ${nameOf(limit)}` +
        `${limits[limit] === undefined ? '' : ` ${limits[limit]}`}.`,
    ),
    ...(missing > 0
      ? [
          `${counted(missing)} rows (${share(missing, missing + rows)}) have too few negatives: a greater ${nameOf('rangeMax')}` +
            `${taken.length === 0 ? '' : ` or a weaker ${taken.map(nameOf).join(' or ')}`} finds more.`,
        ]
      : []),
  ];
}
