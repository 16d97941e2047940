import { entriesOf, type FileHeads } from '../data/file-heads.js';
import type { RecordOptions } from '../data/open-records.js';
import type { ReadRecord } from '../data/row.js';
import { readOnceAmong } from '../data/source.js';
import { GradCacheError } from '../errors.js';
import { SettingError } from '../options/fields.js';
import { kindOf, requireColumns } from '../losses/loss-kinds.js';
import { show } from '../options/option-values.js';
import { NEGATIVE, usualColumns, type FilledTrainConfig, type ReadTrainConfig } from './read-config.js';

/**
 * Fills in the column of the labels and the columns of a configuration that names none: those usual for its loss, and the hard negatives that the data has. These
 * are `negative`, `negative2` or `negative_2`, and so on, where any of a file's first records has something in them. They
 * get the prompt of the positives, unless they have one of their own. A row without a text there is then bad:
 * otherwise all negatives would be left out in silence.
 *
 * @param heads the data's files
 * @param signal ends the wait for a pipe
 */
export async function withColumns(
  config: ReadTrainConfig,
  heads: FileHeads,
  signal: AbortSignal | undefined,
): Promise<FilledTrainConfig> {
  const label = await labelOf(config, heads, signal);
  if (config.columns !== undefined) return { ...config, columns: config.columns, label };
  const usual = usualColumns(config.loss);
  const lookFor = usual.includes('positive') && config.header !== false;
  const negatives = lookFor ? await columnsInUse(config, heads, signal) : [];
  const columns = [...usual, ...negatives.filter((name) => !usual.includes(name))];
  requireColumns('config.columns', columns, config.loss);
  for (const column of Object.keys(config.prompts)) {
    if (!columns.includes(column))
      throw new SettingError(`config.prompts.${column}`, `is for a column that the data has nothing in.`);
  }
  const { positive } = config.prompts;
  const prompts =
    positive === undefined ? {} : Object.fromEntries(columns.slice(2).map((name) => [name, positive]));
  return { ...config, columns, label, prompts: { ...prompts, ...config.prompts } };
}

async function columnsInUse(
  config: ReadTrainConfig,
  heads: FileHeads,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const names = await filledColumns(config, heads, signal);
  return names.filter((name) => NEGATIVE.test(name));
}

/** What a column of labels is called where none is named: the first of these that the data has. */
const LABELS = ['label', 'labels', 'score', 'scores'];

/** The column of the labels: the one named, or found in the data if the loss needs one. @throws GradCacheError `INPUT` */
async function labelOf(
  config: ReadTrainConfig,
  heads: FileHeads,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { label, loss, columns = [] } = config;
  const kind = kindOf(loss).label;
  if (label !== undefined || kind === undefined) return label;
  const names = config.header === false ? [] : await filledColumns(config, heads, signal);
  const found = LABELS.find((name) => names.includes(name) && !columns.includes(name));
  if (found !== undefined || kind.optional === true) return found;
  throw new SettingError(
    'config.label',
    `is missing: the loss ${loss.kind} needs ${kind.needed}. Name its column (label, --label); the data has ` +
      `${names.map(show).join(', ') || 'no names of columns'}.`,
  );
}

/** The columns that any of the first records of the files has something in. */
async function filledColumns(
  { data, format, header, quoting, loss }: ReadTrainConfig,
  heads: FileHeads,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const numbers = kindOf(loss).label !== undefined;
  const how = { format, header: typeof header === 'object' ? header : undefined, quoting, signal, numbers };
  const names = new Set<string>();
  for (const file of data) {
    for (const record of await look(heads, file, how)) {
      for (const [name, value] of entriesOf(record)) if (value !== null && value !== '') names.add(name);
    }
  }
  return [...names];
}

/** The first records of a file. A file that can be read again and has a fault has none here; reading the rows tells the fault. */
async function look(heads: FileHeads, file: string, how: RecordOptions): Promise<ReadRecord[]> {
  try {
    return await heads.look(file, how);
  } catch (error) {
    if (error instanceof GradCacheError && error.code === 'INPUT' && readOnceAmong([file]) === undefined)
      return [];
    throw error;
  }
}
