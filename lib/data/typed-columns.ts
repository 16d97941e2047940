import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';
import { isColumnNumber } from './column-numbers.js';
import type { RecordOptions } from './record-options.js';
import { DATA_SETTINGS, namingColumns } from './setting-names.js';

/** A column of a file whose columns have types. */
export interface TypedColumn {
  readonly name: string;
  /** What its values are read as: `texts` and `numbers` are lists. Undefined: it is not read. */
  readonly kind?: 'text' | 'number' | 'texts' | 'numbers' | undefined;
  /** Its name in messages. */
  readonly label: string;
}

/** A column that is read, and what a row calls it: its name, or the number by which it was asked for. */
export interface ChosenColumn {
  readonly name: string;
  readonly as: string;
}

/**
 * The columns that are read of a file.
 *
 * @throws GradCacheError `INPUT` where one is not there, or holds something else
 */
export function chooseColumns(
  columns: readonly TypedColumn[],
  path: string,
  options: RecordOptions,
): ChosenColumn[] {
  const {
    columns: wanted,
    optional = [],
    numbers = false,
    lists = [],
    names: settings = DATA_SETTINGS,
    namedBy,
  } = options;
  const all = columns.map(({ name }) => name);
  /** The place of a column, by its name or its number; -1 for none. */
  const placeOf = (asked: string): number =>
    all.includes(asked) || !isColumnNumber(asked) ? all.indexOf(asked) : Number(asked) - 1;
  const isRead = ({ name, kind }: TypedColumn, place: number): boolean =>
    kind === 'text' ||
    (numbers && (kind === 'number' || kind === 'numbers')) ||
    (kind === 'texts' && (lists === 'all' || lists.some((list) => list === name || placeOf(list) === place)));
  const readable = columns.map(isRead);
  const isThere = (asked: string): boolean => readable[placeOf(asked)] === true;
  const missing = wanted?.filter((asked) => !isThere(asked)) ?? [];
  if (missing.length > 0 || !readable.includes(true)) {
    const kind = numbers ? 'column of texts or numbers' : 'text column';
    const what = missing.length > 0 ? `${kind} ${missing.map(show).join(', ')}` : kind;
    const there = columns.map(({ label }) => label).join(', ') || 'none';
    const wayOut =
      missing.length > 0 ? ` Name other columns (${namingColumns(missing, settings, namedBy).columns}).` : '';
    throw new GradCacheError('INPUT', `${path} has no ${what}; its columns are ${there}.${wayOut}`);
  }
  const asked = wanted ? [...wanted, ...optional.filter(isThere)] : all.filter((_, place) => readable[place]);
  const chosen = asked.map((as) => ({ as, name: all[placeOf(as)]! }));
  const bad = chosen.find(({ name }) => name === '__proto__' || all.indexOf(name) !== all.lastIndexOf(name));
  if (bad !== undefined)
    throw new GradCacheError(
      'INPUT',
      `${path} has two columns ${show(bad.name)}, or the name is reserved; rename one.`,
    );
  return chosen;
}
