import { hasColumns, readTexts } from '../evaluation/file-texts.js';
import { readColumns } from '../evaluation/records.js';
import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import type { TextRow } from '../vectors/vector-format.js';
import { type Arguments, UsageError } from './flags.js';
import { unlessAborted } from './interrupt.js';
import { FILE_FLAGS, howToRead, TABLE_FLAGS } from './table-flags.js';

/** The texts of the input, one after the other, with the columns that are kept. @throws UsageError */
export function openRows(args: Arguments, input: string): AsyncGenerator<TextRow, void, undefined> {
  const column = args.text('column');
  const keep = args.list('keep') ?? [];
  if (column !== undefined) {
    if (input === '-' && args.text('input-format') === undefined)
      throw new UsageError(
        '--column with --input - needs --input-format: standard input has no name that tells it.',
      );
    const how = howToRead(args, input, 'input-format');
    return keep.length === 0
      ? withoutColumns(readTexts(input, column, { ...how, names: FILE_FLAGS.input }))
      : withColumns(input === '-' ? '/dev/stdin' : input, column, requireKept(keep, args), how);
  }
  const useless = ['input-format', 'keep', ...Object.keys(TABLE_FLAGS)].find(
    (name) => args.get(name) !== undefined,
  );
  if (useless !== undefined)
    throw new UsageError(
      `--${useless} is for a file with columns: name the column of the texts with --column.`,
    );
  if (hasColumns(input))
    throw new UsageError(`${input} has columns: say which holds the texts with --column NAME.`);
  return withoutColumns(readTexts(input, undefined, { names: FILE_FLAGS.input }));
}

/** JSON lines have the text and the vector under names of their own. */
function requireKept(keep: readonly string[], args: Arguments): readonly string[] {
  const twice = keep.find((name, place) => keep.indexOf(name) !== place);
  if (twice !== undefined) throw new UsageError(`--keep names ${show(twice)} twice.`);
  const wrong = keep.find((name) => name === '' || name === '__proto__' || name === 'vector');
  if (wrong !== undefined)
    throw new UsageError(`--keep names ${show(wrong)}, which the output cannot have; leave it out.`);
  if (keep.includes('text') && args.text('column') !== 'text')
    throw new UsageError(
      '--keep names "text", under which JSON lines have the text that is embedded; rename the column.',
    );
  return keep;
}

async function* withoutColumns(texts: AsyncIterable<string>): AsyncGenerator<TextRow, void, undefined> {
  for await (const text of texts) yield { text, kept: {} };
}

/** A row without a column that is kept has null there; a column that none of the first rows has is a mistake. */
async function* withColumns(
  path: string,
  column: string,
  keep: readonly string[],
  how: ReturnType<typeof howToRead>,
): AsyncGenerator<TextRow, void, undefined> {
  const optional = keep.filter((name) => name !== column);
  const missing = new Set(optional);
  let rows = 0;
  const options = { ...how, names: FILE_FLAGS.input, emptyTexts: true, optional };
  for await (const row of readColumns(path, [column], options)) {
    const kept: Record<string, string | null> = {};
    for (const name of keep) {
      kept[name] = Object.hasOwn(row, name) ? row[name]! : null;
      if (kept[name] !== null) missing.delete(name);
    }
    if (++rows === LOOKED_AT) requireNone(missing, path);
    yield { text: row[column]!, kept };
  }
  requireNone(missing, path);
}

/** Rows in which a column that is kept must occur. */
const LOOKED_AT = 1000;

function requireNone(missing: ReadonlySet<string>, path: string): void {
  const [name] = missing;
  if (name === undefined) return;
  throw new GradCacheError(
    'INPUT',
    `${path} has no column ${show(name)}, or nothing in it in its first ${LOOKED_AT} rows. Name other columns (--keep).`,
  );
}

/**
 * Gives the rows in lists of `size`. Waiting for a row ends when the signal fires.
 *
 * @param first the first row, if it has been read already
 */
export async function* inBlocks(
  rows: AsyncGenerator<TextRow, void, undefined>,
  first: IteratorResult<TextRow, void> | undefined,
  size: number,
  signal: AbortSignal,
): AsyncGenerator<TextRow[], void, undefined> {
  let block: TextRow[] = [];
  let ahead = first;
  for (;;) {
    const { done, value } = ahead ?? (await unlessAborted(rows.next(), signal));
    ahead = undefined;
    if (done === true) break;
    block.push(value);
    if (block.length < size) continue;
    yield block;
    block = [];
  }
  if (block.length > 0) yield block;
}
