import type { TrainResult } from '../training/events.js';

/**
 * The scores of a run as a table: before the first update, after the last, and of the best model, as far as they were measured.
 * Empty for a run without held-out data.
 */
export function scoreTable({
  before,
  scores,
  best,
}: Pick<TrainResult, 'before' | 'scores' | 'best'>): string[] {
  const columns = [
    { name: 'before', scores: before },
    { name: 'after', scores },
    { name: best === null ? '' : `best (step ${best.step})`, scores: best?.scores ?? null },
  ].flatMap(({ name, scores }) => (scores === null ? [] : [{ name, scores }]));
  // A run that was resumed may measure what it did not before.
  const names = [...new Set(columns.flatMap(({ scores }) => Object.keys(scores)))];
  const rows = [
    ['', ...columns.map(({ name }) => name)],
    ...names.map((name) => [name, ...columns.map(({ scores }) => format(scores[name]))]),
  ];
  if (names.length === 0 || columns.length < 2) return [];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join('  '),
  );
}

const format = (score: number | undefined): string => (score === undefined ? '' : score.toFixed(4));
