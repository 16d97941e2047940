/*
 * Columns can be named by their numbers, counted from 1, as `cut` counts fields: where a file has names, a column that is
 * called so comes first.
 */

/** Whether the name of a column can be the number of one. */
export function isColumnNumber(name: string): boolean {
  return /^[1-9]\d{0,5}$/.test(name);
}

/** Whether a column is among those of a file, by its name or its number. */
export function isAmong(column: string, names: readonly string[]): boolean {
  return names.includes(column) || (isColumnNumber(column) && Number(column) <= names.length);
}
