import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { readColumns } from '../evaluation/records.js';
import { GradCacheError } from '../errors.js';
import { fileError } from '../file-error.js';

/**
 * The texts of a file, one after the other: its lines, or one column of a data file. An empty line is an empty text, so
 * that rows stay with their lines.
 *
 * @param input path of the file (lines also with .gz), or `-` for lines of standard input
 * @param column the column to read; lines where left out
 * @throws GradCacheError `INPUT` naming the file
 */
export async function* readTexts(
  input: string,
  column: string | undefined,
): AsyncGenerator<string, void, undefined> {
  if (column !== undefined) {
    for await (const row of readColumns(input, [column])) yield row[column] as string;
    return;
  }
  if (/\.(jsonl|ndjson|csv|tsv|parquet)(\.gz)?$/i.test(input)) {
    throw new GradCacheError('INPUT', `${input} has columns: say which holds the texts with --column NAME.`);
  }
  try {
    const lines = createInterface({ input: open(input), crlfDelay: Infinity });
    for await (const line of lines) yield line;
  } catch (error) {
    if (error instanceof GradCacheError) throw error;
    throw fileError('INPUT', input, 'read', error);
  }
}

function open(input: string): NodeJS.ReadableStream {
  if (input === '-') return process.stdin;
  const file = createReadStream(input);
  return input.endsWith('.gz') ? pipeline(file, createGunzip(), () => undefined) : file;
}
