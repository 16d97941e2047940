/*
 * Where a text stands that a model cannot take: commands that read whole files hold texts without their lines.
 */
import { dataFiles } from '../data/data-files.js';
import { openRecords } from '../data/open-records.js';
import type { RecordOptions } from '../data/record-options.js';
import { readOnceAmong } from '../data/source.js';
import { hasColumns, placeOf, readPlacedTexts } from '../evaluation/file-texts.js';
import { show } from '../options/option-values.js';
import { refusedText, textRefused } from '../tokenizer/text-refusal.js';
import type { TextPair } from '../tokenizer/token-batch.js';
import type { Arguments } from './flags.js';
import { FILE_FLAGS, howToRead } from './table-flags.js';

/** The flags of files that texts are read from, as `evaluate` and `mine` have them. */
const FILES = ['data', 'documents', 'queries', 'corpus'] as const;

/**
 * What `run` comes to. Where it fails by a text, the error names the file and the line: the files are read again for it.
 *
 * @throws whatever `run` throws
 */
export async function namingLines<T>(args: Arguments, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    const refusal = refusedText(error);
    if (refusal === undefined) throw error;
    const { text } = refusal;
    // The place in a list that the user does not see would name another line.
    const called = `the text ${show(text)}`;
    const place = await placeIn(args, text).catch(() => undefined);
    throw textRefused(refusal, place === undefined ? called.replace('t', 'T') : `${place}: ${called}`);
  }
}

async function placeIn(args: Arguments, text: string | TextPair): Promise<string | undefined> {
  for (const flag of FILES) {
    const path = args.text(flag);
    if (path === undefined || path === '-' || readOnceAmong([path]) !== undefined) continue;
    const format = flag === 'data' ? args.text('format') : undefined;
    const place =
      flag !== 'data' && format === undefined && !hasColumns(path)
        ? await lineOf(path, text)
        : await recordOf(path, text, flag === 'data' ? optionsOf(args, path) : {});
    if (place !== undefined) return place;
  }
  return undefined;
}

function optionsOf(args: Arguments, path: string): RecordOptions {
  const { header, ...how } = howToRead(args, path, 'format');
  return {
    ...Object.fromEntries(Object.entries(how).filter(([, value]) => value !== undefined)),
    ...(header === false && { header: 'none' as const }),
    ...(typeof header === 'object' && { header }),
  };
}

async function lineOf(path: string, text: string | TextPair): Promise<string | undefined> {
  for await (const line of readPlacedTexts(path, undefined, { names: FILE_FLAGS.documents }))
    if (line.text === text) return line.place;
  return undefined;
}

async function recordOf(
  path: string,
  text: string | TextPair,
  options: RecordOptions,
): Promise<string | undefined> {
  const wanted = typeof text === 'string' ? [text] : text;
  for (const file of dataFiles([path]))
    for await (const block of openRecords(file, { ...options, numbers: true, lists: 'all' }))
      for (const record of block)
        if ('values' in record && wanted.every((each) => holds(record.values, each)))
          return placeOf(file, record.line);
  return undefined;
}

/** Whether a text is among the values of a record, however deep, or is its title and its text together. */
function holds(value: unknown, text: string): boolean {
  if (typeof value === 'string') return value === text;
  if (typeof value === 'number' || typeof value === 'bigint') return String(value) === text;
  if (typeof value !== 'object' || value === null) return false;
  const { title, text: body } = value as Readonly<Record<string, unknown>>;
  if (typeof title === 'string' && typeof body === 'string' && `${title} ${body}`.trim() === text)
    return true;
  return Object.values(value).some((each) => holds(each, text));
}
