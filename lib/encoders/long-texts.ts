import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber } from '../options/option-values.js';
import { isPlainObject } from '../options/realms.js';
import type { SparseRows } from './sparse-rows.js';

/**
 * What becomes of a text that is longer than the model's limit: with `true` it is read in windows, each as a text of its own with the
 * prompt and the special tokens. With `false`, the default everywhere, it is cut.
 */
export type Windows =
  | boolean
  | {
      /** Tokens that a window repeats of the one before it. Default: 0. */
      readonly overlap?: number;
    };

/** @returns how many tokens windows share; undefined: texts are cut. @throws GradCacheError `INPUT` */
export function overlapOf(windows: Windows | undefined): number | undefined {
  if (windows === undefined || windows === false) return undefined;
  if (windows === true) return 0;
  if (!isPlainObject(windows)) throw refused('windows', windows, 'true, false or { overlap }');
  checkKnown('windows', windows, ['overlap']);
  const { overlap = 0 } = windows;
  requireNumber('windows.overlap', overlap, { from: 0, whole: true });
  return overlap;
}

/** @throws GradCacheError `INPUT` where windows are asked for of a method that gives one dense vector for a text */
export function refuseWindows(options: object): void {
  // Whether these are options at all is seen later, where they are read.
  const windows = (options as { readonly windows?: unknown } | null)?.windows;
  if (windows === undefined || windows === false) return;
  throw new GradCacheError(
    'INPUT',
    'windows is given, and one dense representation of several windows has no meaning that models are trained for: cut long texts ' +
      'into texts of their own and encode those. encodeSparse, encodeTokens and CrossEncoder take windows.',
  );
}

/** The rows of texts, from those of their windows: each column has the greatest value, or the sum, of all windows of a text. */
export function joinedWindows(
  { values, columns, offsets, dimension }: SparseRows,
  counts: Int32Array,
  how: 'max' | 'sum',
): SparseRows {
  const ends = new Int32Array(counts.length + 1);
  const [joinedColumns, joinedValues]: [number[], number[]] = [[], []];
  let window = 0;
  for (const [text, count] of counts.entries()) {
    const [begin, end] = [offsets[window]!, offsets[window + count]!];
    const row = new Map<number, number>();
    for (let entry = begin; entry < end; entry++) {
      const [column, value] = [columns[entry]!, values[entry]!];
      const before = row.get(column) ?? 0;
      row.set(column, how === 'max' ? Math.max(before, value) : before + value);
    }
    for (const [column, value] of [...row].sort(([a], [b]) => a - b)) {
      joinedColumns.push(column);
      joinedValues.push(value);
    }
    window += count;
    ends[text + 1] = joinedColumns.length;
  }
  const Values = types.isFloat64Array(values) ? Float64Array : Float32Array;
  return {
    values: Values.from(joinedValues),
    columns: Int32Array.from(joinedColumns),
    offsets: ends,
    dimension,
  };
}

/** The greatest score of each text's windows. */
export function bestOfWindows<T extends Float32Array | Float64Array>(scores: T, counts: Int32Array): T {
  const best = scores.slice(0, counts.length) as T;
  let window = 0;
  for (const [text, count] of counts.entries()) {
    best[text] = scores[window++]!;
    for (let more = 1; more < count; more++) best[text] = Math.max(best[text], scores[window++]!);
  }
  return best;
}
