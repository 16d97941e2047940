import { types } from 'node:util';

/**
 * Representations of which few columns are not 0, without the others: row k has the entries `offsets[k]` to
 * `offsets[k + 1] - 1`, by column.
 */
export interface SparseRows {
  /** The values that are not 0, row after row. */
  readonly values: Float32Array | Float64Array;
  /** The column of each value: for a SPLADE encoder a token's number in the vocabulary. */
  readonly columns: Int32Array;
  /** [rows + 1]. */
  readonly offsets: Int32Array;
  /** Columns of a row, zeros included. */
  readonly dimension: number;
}

/** Entries of some rows, row after row. */
export interface Entries {
  /** [entries, 2]: each a value and its column. */
  readonly numbers: Float32Array | Float64Array;
  /** The entries of each row. A row of zeros has one, of 0. */
  readonly counts: Int32Array;
}

/** The rows of several chunks in their order in the batch. */
export function joinedRows(
  chunks: readonly { readonly rows: Int32Array; readonly entries: Entries }[],
  rows: number,
  dimension: number,
): SparseRows {
  const offsets = new Int32Array(rows + 1);
  for (const chunk of chunks) eachRow(chunk, (row, begin, end) => (offsets[row + 1] = end - begin));
  for (let row = 0; row < rows; row++) offsets[row + 1]! += offsets[row]!;
  const count = offsets[rows]!;
  const wide = chunks.some(({ entries }) => types.isFloat64Array(entries.numbers));
  const values = wide ? new Float64Array(count) : new Float32Array(count);
  const columns = new Int32Array(count);
  for (const chunk of chunks)
    eachRow(chunk, (row, begin, end) => {
      const { numbers } = chunk.entries;
      const at = offsets[row]! - begin;
      for (let entry = begin; entry < end; entry++) {
        values[at + entry] = numbers[2 * entry]!;
        columns[at + entry] = numbers[2 * entry + 1]!;
      }
    });
  return { values, columns, offsets, dimension };
}

/** Calls `visit` with each row of a chunk and where its entries that are not 0 begin and end. */
function eachRow(
  { rows, entries: { numbers, counts } }: { readonly rows: Int32Array; readonly entries: Entries },
  visit: (row: number, begin: number, end: number) => void,
): void {
  let begin = 0;
  for (const [k, row] of rows.entries()) {
    const end = begin + counts[k]!;
    visit(row, begin, counts[k] === 1 && numbers[2 * begin] === 0 ? begin : end);
    begin = end;
  }
}
