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

/**
 * Rows of texts, made of those of their windows as these come: each column has the greatest value, or the sum, of all windows of a
 * text. Of the windows nothing is kept.
 */
export class JoinedWindows {
  readonly #how: 'max' | 'sum';
  readonly #dimension: number;
  readonly #texts: { readonly columns: Int32Array; readonly values: Float32Array | Float64Array }[] = [];
  #offsets: Int32Array;
  #wide = false;
  /** The text whose windows come now, and what they come to. */
  #text = -1;
  #row = new Map<number, number>();

  /** @param texts how many there are; each gets at least one window */
  constructor(texts: number, how: 'max' | 'sum', dimension: number) {
    this.#how = how;
    this.#dimension = dimension;
    this.#offsets = new Int32Array(texts + 1);
  }

  /** Adds windows. @param texts the text that each is of; they come in order */
  add({ values, columns, offsets }: SparseRows, texts: Int32Array): void {
    this.#wide ||= types.isFloat64Array(values);
    for (const [window, text] of texts.entries()) {
      if (text !== this.#text) this.#end();
      this.#text = text;
      for (let entry = offsets[window]!; entry < offsets[window + 1]!; entry++) {
        const [column, value] = [columns[entry]!, values[entry]!];
        const before = this.#row.get(column) ?? 0;
        this.#row.set(column, this.#how === 'max' ? Math.max(before, value) : before + value);
      }
    }
  }

  finish(): SparseRows {
    this.#end();
    for (let text = 1; text < this.#offsets.length; text++) this.#offsets[text]! += this.#offsets[text - 1]!;
    const count = this.#offsets.at(-1)!;
    const values = this.#wide ? new Float64Array(count) : new Float32Array(count);
    const columns = new Int32Array(count);
    let at = 0;
    for (const text of this.#texts) {
      values.set(text.values, at);
      columns.set(text.columns, at);
      at += text.columns.length;
    }
    return { values, columns, offsets: this.#offsets, dimension: this.#dimension };
  }

  #end(): void {
    if (this.#text < 0) return;
    const columns = Int32Array.from(this.#row.keys()).sort();
    const values = this.#wide ? new Float64Array(columns.length) : new Float32Array(columns.length);
    for (const [place, column] of columns.entries()) values[place] = this.#row.get(column)!;
    this.#texts.push({ columns, values });
    this.#offsets[this.#text + 1] = columns.length;
    this.#row.clear();
  }
}

/** Takes the scores of windows for their texts: each keeps the greatest. @param texts the text that each score is of */
export function keepBest(best: Float64Array, scores: ArrayLike<number>, texts: ArrayLike<number>): void {
  for (let window = 0; window < texts.length; window++)
    best[texts[window]!] = Math.max(best[texts[window]!]!, scores[window]!);
}
