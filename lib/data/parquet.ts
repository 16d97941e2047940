import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import type { AsyncBuffer, FileMetaData, SchemaElement } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { GradCacheError } from '../errors.js';
import { fileError } from '../file-error.js';
import { readInto } from '../file-handle.js';
import { show } from '../option-values.js';
import type { RecordBlocks } from './row.js';

/** Rows read at a time where the file has an index of its pages; without one, a row group is decoded as a whole. */
const ROWS_AT_A_TIME = 8192;

/** Which columns of a Parquet file are read. */
export interface ParquetColumns {
  /** Columns that must be there; all text columns where undefined. */
  readonly wanted?: readonly string[];
  /** Columns that are read where the file has them. */
  readonly optional?: readonly string[];
  /** Columns of numbers count as well. */
  readonly numbers?: boolean;
}

/**
 * Reads text columns of a Parquet file, row group after row group.
 *
 * @throws GradCacheError `INPUT`, naming the file, where it is damaged or has no such text column.
 */
export async function* readParquet(path: string, which: ParquetColumns): RecordBlocks {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const file = positionedReads(handle, (await handle.stat()).size);
    const metadata = await parquetMetadataAsync(file);
    const columns = columnsOf(metadata, path, which);
    let groupStart = 0;
    for (const group of metadata.row_groups) {
      const groupEnd = groupStart + Number(group.num_rows);
      const indexed = group.columns.every((column) => column.offset_index_length);
      const step = indexed ? ROWS_AT_A_TIME : Math.max(groupEnd - groupStart, 1);
      for (let rowStart = groupStart; rowStart < groupEnd; rowStart += step) {
        const rowEnd = Math.min(rowStart + step, groupEnd);
        const options = { file, metadata, columns, compressors, rowStart, rowEnd, useOffsetIndex: indexed };
        const rows: Record<string, unknown>[] = await parquetReadObjects(options);
        yield rows.map((values, index) => ({ line: rowStart + index + 1, values }));
      }
      groupStart = groupEnd;
    }
  } catch (error) {
    if (error instanceof GradCacheError) throw error;
    throw fileError('INPUT', path, 'read as Parquet', error);
  } finally {
    await handle?.close();
  }
}

function columnsOf(
  metadata: FileMetaData,
  path: string,
  { wanted, optional = [], numbers = false }: ParquetColumns,
): string[] {
  const children = parquetSchema(metadata).children;
  const readable = children.filter(
    ({ element, children: nested }) =>
      nested.length === 0 && (isText(element) || (numbers && isNumber(element))),
  );
  const names = readable.map(({ element }) => element.name);
  const missing = wanted?.filter((column) => !names.includes(column)) ?? [];
  if (missing.length > 0 || names.length === 0) {
    const all = children.map(
      ({ element }) => `${element.name} (${element.converted_type ?? element.type ?? 'nested'})`,
    );
    const kind = numbers ? 'column of texts or numbers' : 'text column';
    const what = missing.length > 0 ? `${kind} ${missing.map(show).join(', ')}` : kind;
    throw new GradCacheError('INPUT', `${path} has no ${what}; its columns are ${all.join(', ') || 'none'}.`);
  }
  const columns = wanted ? [...wanted, ...optional.filter((column) => names.includes(column))] : names;
  const twice = columns.find(
    (column) => children.filter(({ element }) => element.name === column).length > 1,
  );
  if (twice !== undefined)
    throw new GradCacheError('INPUT', `${path} has two columns with the name ${show(twice)}; rename one.`);
  return columns;
}

/** Text, or bytes of no stated kind: some writers leave out that they are text. */
function isText({
  type,
  repetition_type: repetition,
  converted_type: converted,
  logical_type: logical,
}: SchemaElement): boolean {
  if (type !== 'BYTE_ARRAY' || repetition === 'REPEATED') return false;
  return (
    converted === 'UTF8' || logical?.type === 'STRING' || (converted === undefined && logical === undefined)
  );
}

function isNumber({ type, repetition_type: repetition, converted_type: converted }: SchemaElement): boolean {
  if (repetition === 'REPEATED') return false;
  if (type === 'FLOAT' || type === 'DOUBLE') return true;
  const plain = converted === undefined || /^U?INT_/.test(converted);
  return (type === 'INT32' || type === 'INT64') && plain;
}

/** What the Parquet reader asks for, checked against the size of the file before any memory is taken. */
function positionedReads(handle: FileHandle, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      if (!(start >= 0 && start <= end && end <= byteLength)) {
        throw new RangeError(`bytes ${start} to ${end} are asked for, the file has ${byteLength}`);
      }
      const bytes = new Uint8Array(end - start);
      if ((await readInto(handle, bytes, start)) < bytes.length)
        throw new RangeError('the file became shorter while it was being read');
      return bytes.buffer;
    },
  };
}
