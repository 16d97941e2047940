import { openRecords, type RecordOptions } from '../data/open-records.js';
import { namesOfList } from '../data/read-rows.js';
import type { ReadRecord } from '../data/row.js';
import { readOnceAmong } from '../data/source.js';
import { GradCacheError } from '../errors.js';
import { SettingError } from '../options/fields.js';
import { DEFAULT_COLUMNS, NEGATIVE, type FilledTrainConfig, type ReadTrainConfig } from './read-config.js';

/** Records of a file that are looked at: a first row may lack what the others have. */
const LOOKED_AT = 100;

/**
 * Fills in the columns of a configuration that names none: the usual two, and the hard negatives that the data has: `negative`, `negative2` or
 * `negative_2`, and so on, where any of a file's first {@link LOOKED_AT} records has something in them. They get the prompt
 * of the positives, unless they have one of their own. A row without a text there is bad then, rather than all negatives left out in silence.
 */
export async function withColumns(config: ReadTrainConfig): Promise<FilledTrainConfig> {
  if (config.columns !== undefined) return { ...config, columns: config.columns };
  const negatives = await columnsInUse(config, NEGATIVE);
  const columns = [...DEFAULT_COLUMNS, ...negatives];
  for (const column of Object.keys(config.prompts)) {
    if (!columns.includes(column))
      throw new SettingError(`config.prompts.${column}`, `is for a column that the data has nothing in.`);
  }
  const { positive } = config.prompts;
  const prompts = positive === undefined ? {} : Object.fromEntries(negatives.map((name) => [name, positive]));
  return { ...config, columns, prompts: { ...prompts, ...config.prompts } };
}

async function columnsInUse(config: ReadTrainConfig, pattern: RegExp): Promise<string[]> {
  const { data, format, header, quoting } = config;
  if (header === false) return [];
  const once = readOnceAmong(data); // what a pipe has given to one reader, the next does not get
  if (once !== undefined) {
    throw new GradCacheError(
      'INPUT',
      `${once} is no regular file: which columns it has cannot be seen before it is read. Name them (columns, --columns anchor,positive).`,
    );
  }
  const names = new Set<string>();
  for (const file of data) {
    try {
      for await (const record of firstRecords(file, {
        format,
        header: header === true ? undefined : header,
        quoting,
      })) {
        for (const [name, value] of entries(record)) {
          if (value !== null && value !== '' && pattern.test(name)) names.add(name);
        }
      }
    } catch (error) {
      // What cannot be read at all is reported where the rows are.
      if (!(error instanceof GradCacheError)) throw error;
    }
  }
  return [...names];
}

async function* firstRecords(file: string, how: RecordOptions): AsyncGenerator<ReadRecord, void, undefined> {
  let count = 0;
  for await (const block of openRecords(file, how)) {
    for (const record of block) {
      yield record;
      if (++count === LOOKED_AT) return;
    }
  }
}

function entries(record: ReadRecord): [string, unknown][] {
  if ('problem' in record) return [];
  const { values } = record;
  if (!Array.isArray(values)) return Object.entries(values);
  return namesOfList(values).map((name, place) => [name, (values as readonly unknown[])[place]]);
}
