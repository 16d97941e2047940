import { GradCacheError } from '../errors.js';
import { show } from '../options/option-values.js';

/**
 * What the settings of a file of data are called where the user gives them, in the words that follow "name it": each message
 * that has such a setting as its way out names it, and no other file's.
 */
export interface SettingNames {
  readonly columns: string;
  /** Absent, like those below, where there is no such setting for the file. */
  readonly format?: string;
  readonly header?: string;
  readonly fields?: string;
  readonly quoting?: string;
  readonly label?: string;
  readonly ids?: string;
}

/** Those of the data that is trained or evaluated on. */
export const DATA_SETTINGS: Required<SettingNames> = {
  columns: 'columns, --columns',
  format: 'format, --format',
  header: 'header: false, --no-header',
  fields: 'header: [names], --fields',
  quoting: 'quoting, --quoting',
  label: 'label, --label; of weights: weights, --weights',
  ids: 'ids, --ids',
};

/** Those of data with a column of pictures. */
export const PICTURE_SETTINGS: Required<SettingNames> = {
  ...DATA_SETTINGS,
  columns: 'columns, --columns; of pictures: images, --images',
};

/** Those of one of the data sets that a run trains on together. What it does not name for itself is that of the run. */
export function dataSetSettings(name: string): Required<SettingNames> {
  const own = (setting: string, value: string): string =>
    `${setting} of the data set ${show(name)}, --dataset-${setting} ${name}=${value}`;
  return {
    ...DATA_SETTINGS,
    columns: own('columns', 'A,B'),
    format: own('format', 'FORMAT'),
    label: `${own('label', 'COLUMN')}; of weights: weights, --weights`,
    ids: own('ids', 'A,B'),
  };
}

/** Those of the held-out data of a run. */
export const HELD_OUT_SETTINGS: Required<SettingNames> = {
  columns: 'evaluation.columns, --eval-columns',
  format: 'evaluation.format, --eval-format',
  header: 'evaluation.header: false, --no-eval-header',
  fields: 'evaluation.header: [names], --eval-fields',
  quoting: 'evaluation.quoting, --eval-quoting',
  label: 'label, --label; of weights: weights, --weights',
  ids: 'evaluation.ids, --eval-ids; --no-eval-ids where the file has none',
};

/** The names with those of the settings that name some columns, which a file lacks. */
export function namingColumns(
  missing: readonly string[],
  names: SettingNames,
  namedBy: Readonly<Record<string, string>> = {},
): SettingNames {
  const settings = new Set(
    missing.map((column) => (Object.hasOwn(namedBy, column) ? namedBy[column]! : names.columns)),
  );
  return settings.size === 0 ? names : { ...names, columns: [...settings].join('; ') };
}

/** The way out where a CSV or TSV file has no such column in its header. */
export function otherHeader({ columns, header, fields }: SettingNames): string {
  const headless =
    header === undefined
      ? ''
      : `, or say that the file has no header (${header}), or what the fields of a file without one are (${fields})`;
  return `Name other columns (${columns})${headless}.`;
}

/** The error where no field of a file without a header is called as a column. */
export function noSuchField(
  column: string,
  header: readonly string[],
  { columns, fields }: SettingNames,
): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `There is no field ${show(column)}; the fields are named ${header.map(show).join(', ')} (${fields}). Name other columns ` +
      `(${columns}), or other fields.`,
  );
}

/** The way out where a row is not as it should be. */
export function otherRow({ columns, fields }: SettingNames): string {
  const headless =
    fields === undefined ? '' : `, or the fields of a CSV or TSV file without a header (${fields})`;
  return `Correct it, or name other columns (${columns})${headless}.`;
}

/** The way out where a file does not tell whether its fields are in quotes. */
export function sayQuoting({ quoting }: SettingNames): string {
  return quoting === undefined ? 'Write it as JSON lines.' : `Say which (${quoting} csv or none).`;
}
