import { openOutputFile, type OutputFile } from './output-file.js';
import { type Rows, writeParquet } from './parquet-rows.js';

/** Formats that rows can be written in. */
export const ROW_FORMATS = ['jsonl', 'csv', 'parquet'] as const;

/** One of {@link ROW_FORMATS}. */
export type RowFormat = (typeof ROW_FORMATS)[number];

/** Characters that are written at once. */
const AT_ONCE = 1 << 20;

/**
 * Writes rows to a file, which is at its place only when it is complete, or to a pipe.
 *
 * @param check called now and then; where it throws, nothing is left
 * @throws GradCacheError `INPUT` where the file cannot be written
 */
export async function writeRowFile(
  path: string,
  format: RowFormat,
  rows: Rows,
  check: () => void,
): Promise<void> {
  const file = await openOutputFile(path);
  try {
    await (format === 'parquet' ? writeParquet(file, rows, check) : writeText(file, format, rows, check));
    await file.finish();
  } catch (error) {
    await file.abandon();
    throw error;
  }
}

async function writeText(
  file: OutputFile,
  format: 'jsonl' | 'csv',
  { types, rows }: Rows,
  check: () => void,
): Promise<void> {
  const columns = types.map(({ name }) => name);
  let text = format === 'csv' ? csvLine(columns) : '';
  for (const row of rows) {
    text += format === 'csv' ? csvLine(columns.map((name) => row[name])) : `${JSON.stringify(row)}\n`;
    if (text.length < AT_ONCE) continue;
    check();
    await file.write(Buffer.from(text));
    text = '';
  }
  await file.write(Buffer.from(text));
}

/** A field is in quotes where it would be read as something else without. */
function csvLine(values: readonly unknown[]): string {
  const fields = values.map((value) => {
    const text = String(value);
    return text === '' || /[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  });
  return `${fields.join(',')}\n`;
}
