import type { RowSource } from '../data/row.js';
import { DistinctTexts } from '../evaluation/distinct-texts.js';
import { GradCacheError } from '../errors.js';
import { refused, requireIterable, requireTextIterable } from '../options/option-values.js';
import { throwIfAborted } from '../options/abort.js';

/** Pairs of anchors and positives, each different text once, and the documents among which negatives are looked for. */
export interface PairSet {
  readonly anchors: readonly string[];
  /** The further documents first, then the positives, in their order. */
  readonly documents: readonly string[];
  /** For each anchor the numbers of its different positives, in their order. */
  readonly positives: readonly (readonly number[])[];
  /** For each anchor the number of the document that has the same text and is no positive of it, or -1. */
  readonly same: Int32Array;
  /** Rows of the data. */
  readonly rows: number;
  /** The most rows that one anchor is in. */
  readonly mostRows: number;
}

/** Where pairs come from. */
interface PairSource {
  readonly pairs: RowSource;
  /** The columns of anchor and positive. */
  readonly columns: readonly [string, string];
  /** Documents to look for negatives in, beside the positives. */
  readonly corpus: Iterable<string> | AsyncIterable<string>;
  readonly signal: AbortSignal | undefined;
}

/** Reads all pairs. @throws GradCacheError `INPUT` for a row without its texts, and where there is no row */
export async function readPairSet({ pairs, columns, corpus, signal }: PairSource): Promise<PairSet> {
  requireIterable('pairs', pairs);
  requireTextIterable('corpus', corpus);
  const documents = new DistinctTexts();
  for await (const text of corpus) {
    throwIfAborted(signal);
    if (typeof text !== 'string') throw refused('corpus', text, 'a text for each document');
    documents.of(text);
  }
  const anchors = new DistinctTexts();
  const positives: Set<number>[] = [];
  const rowsOf: number[] = [];
  let rows = 0;
  for await (const row of pairs) {
    throwIfAborted(signal);
    const [anchor, positive] = columns.map((column) => textIn(row, column, rows)) as [string, string];
    const number = anchors.of(anchor);
    (positives[number] ??= new Set()).add(documents.of(positive));
    rowsOf[number] = (rowsOf[number] ?? 0) + 1;
    rows++;
  }
  if (rows === 0) throw new GradCacheError('INPUT', 'There are no pairs to mine negatives for.');
  return {
    anchors: anchors.list,
    documents: documents.list,
    positives: positives.map((numbers) => [...numbers]),
    same: Int32Array.from(anchors.list, (text, anchor) => {
      const document = documents.find(text);
      return document === undefined || positives[anchor]!.has(document) ? -1 : document;
    }),
    rows,
    mostRows: rowsOf.reduce((most, count) => Math.max(most, count), 0),
  };
}

function textIn(row: unknown, column: string, number: number): string {
  const value = (row as Readonly<Record<string, unknown>> | null)?.[column];
  if (typeof value === 'string') return value;
  throw refused(`${column} of pair ${number}`, value, 'a text');
}
