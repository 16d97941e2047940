import { readJsonLines } from '../data/jsonl.js';
import { readPairs } from '../data/read-pairs.js';
import type { ReadOptions } from '../data/read-pairs.js';
import { GradCacheError } from '../errors.js';

/** How a file is read: as in `readPairs`, except that JSON numbers count as texts and bad lines are always errors. */
export type TaskOptions = Pick<ReadOptions, 'columns' | 'format' | 'header'>;

/**
 * Columns of a file, row by row. In JSON lines, unlike `readPairs`, a number is taken as its text: scores and ids are
 * often written so; and a column named in `optional` may be missing or empty.
 *
 * @throws GradCacheError `INPUT` naming file and line
 */
export async function* readColumns(
  path: string,
  columns: readonly string[],
  how: Pick<TaskOptions, 'format' | 'header'> & { optional?: readonly string[] } = {},
): AsyncGenerator<Record<string, string>, void, undefined> {
  const { optional = [], format, header } = how;
  const isJson = format === 'jsonl' || (format === undefined && /\.(jsonl|ndjson)(\.gz)?$/i.test(path));
  if (!isJson) {
    yield* readPairs(path, { columns, format, header });
    return;
  }
  for await (const block of readJsonLines(path)) {
    for (const record of block) {
      const fail = (reason: string): GradCacheError =>
        new GradCacheError('INPUT', `${path}, line ${record.line}: ${reason}.`);
      if ('problem' in record) throw fail(record.problem);
      const { values } = record;
      const row: Record<string, string> = {};
      for (const [place, column] of [...columns, ...optional].entries()) {
        const value: unknown = Array.isArray(values)
          ? (values as readonly unknown[])[place]
          : (values as Readonly<Record<string, unknown>>)[column];
        const text = typeof value === 'number' ? String(value) : value;
        if (typeof text === 'string' && text.trim() !== '') row[column] = text;
        else if (!optional.includes(column)) {
          throw fail(
            value === undefined
              ? `it has no "${column}"`
              : `"${column}" is ${JSON.stringify(value)}, not a text or number`,
          );
        }
      }
      yield row;
    }
  }
}
