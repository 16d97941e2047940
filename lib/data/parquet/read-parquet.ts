import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { GradCacheError } from '../../errors.js';
import { fileError } from '../../file-error.js';
import { readInto } from '../../file-handle.js';
import { show } from '../../option-values.js';
import type { ReadRecord, RecordBlocks } from '../row.js';
import { kindOfSource } from '../source.js';
import { isDecoded } from '../text-stream.js';
import { decompressor } from './codecs.js';
import { ColumnReader } from './column-reader.js';
import type { ParquetValue } from './column-reader.js';
import { chunkOf, readFooter } from './footer.js';
import type { Footer, ParquetColumn, RowGroup } from './footer.js';

/** Rows of a block of records. */
const BLOCK_ROWS = 8192;
const MAGIC = 'PAR1';

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
 * Reads text columns of a Parquet file, row group after row group. Of a row group, the packed bytes of its columns are in
 * memory, and one page of each.
 *
 * @throws GradCacheError `INPUT`, naming the file, where it is damaged or has no such text column.
 */
export async function* readParquet(path: string, which: ParquetColumns): RecordBlocks {
  if ((await kindOfSource(path)) !== 'file')
    throw new GradCacheError(
      'INPUT',
      `${path} is a pipe, and Parquet is read from its end: use a regular file.`,
    );
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const { footer, dataEnd } = await readEnd(handle);
    const columns = columnsOf(footer.columns, path, which);
    let line = 1;
    for (const group of footer.groups) {
      for await (const block of groupValues(handle, group, columns, dataEnd)) {
        yield toRecords(block, columns, line);
        line += block[0]!.length;
      }
    }
  } catch (error) {
    if (error instanceof GradCacheError) throw error;
    throw fileError('INPUT', path, 'read as Parquet', error);
  } finally {
    await handle?.close();
  }
}

/** The metadata, and where it begins. */
async function readEnd(handle: FileHandle): Promise<{ footer: Footer; dataEnd: number }> {
  const { size } = await handle.stat();
  if (size === 0) throw new Error('it is empty');
  if (size < 12) throw new Error(`it has only ${size} bytes`);
  const tail = await readBytes(handle, size - 8, size);
  const magic = Buffer.from(tail.subarray(4)).toString('latin1');
  if (magic === 'PARE') throw new Error('it is encrypted');
  if (magic !== MAGIC)
    throw new Error(`it does not end as a Parquet file does, with ${MAGIC}; is it complete?`);
  const length = new DataView(tail.buffer, tail.byteOffset).getUint32(0, true);
  const dataEnd = size - 8 - length;
  if (dataEnd < MAGIC.length) throw new Error(`it has no room for metadata of ${length} bytes`);
  return { footer: readFooter(await readBytes(handle, dataEnd, size - 8)), dataEnd };
}

/** The values of columns side by side, some rows at a time. */
async function* groupValues(
  handle: FileHandle,
  group: RowGroup,
  columns: readonly ParquetColumn[],
  dataEnd: number,
): AsyncGenerator<ParquetValue[][], void, undefined> {
  const readers: ColumnReader[] = [];
  for (const column of group.rows > 0 ? columns : []) {
    const chunk = chunkOf(group, column, dataEnd);
    const bytes = await readBytes(handle, chunk.begin, chunk.end);
    readers.push(new ColumnReader(column, chunk, bytes, await decompressor(chunk.codec)));
  }
  for (let done = 0; done < group.rows; done += BLOCK_ROWS) {
    const count = Math.min(BLOCK_ROWS, group.rows - done);
    yield readers.map((reader) => reader.take(count));
  }
}

function toRecords(
  block: readonly (readonly ParquetValue[])[],
  columns: readonly ParquetColumn[],
  firstLine: number,
): ReadRecord[] {
  return block[0]!.map((_, row) => {
    const line = firstLine + row;
    const values: Record<string, unknown> = {};
    for (const [place, { name }] of columns.entries()) {
      const value = block[place]![row];
      if (typeof value === 'string' && !isDecoded(value))
        return { line, problem: `${show(name)} is not UTF-8 text` };
      values[name] = value;
    }
    return { line, values };
  });
}

function columnsOf(
  columns: readonly ParquetColumn[],
  path: string,
  { wanted, optional = [], numbers = false }: ParquetColumns,
): ParquetColumn[] {
  const kinds = numbers ? ['text', 'number'] : ['text'];
  const readable = columns.filter(({ kind }) => kind !== undefined && kinds.includes(kind));
  const names = readable.map(({ name }) => name);
  const missing = wanted?.filter((name) => !names.includes(name)) ?? [];
  if (missing.length > 0 || names.length === 0) {
    const kind = numbers ? 'column of texts or numbers' : 'text column';
    const what = missing.length > 0 ? `${kind} ${missing.map(show).join(', ')}` : kind;
    const all = columns.map(({ label }) => label).join(', ') || 'none';
    throw new GradCacheError('INPUT', `${path} has no ${what}; its columns are ${all}.`);
  }
  const chosen = wanted ? [...wanted, ...optional.filter((name) => names.includes(name))] : names;
  const bad = chosen.find(
    (name) => name === '__proto__' || columns.filter((column) => column.name === name).length > 1,
  );
  if (bad !== undefined)
    throw new GradCacheError(
      'INPUT',
      `${path} has two columns ${show(bad)}, or the name is reserved; rename one.`,
    );
  return chosen.map((name) => readable.find((column) => column.name === name)!);
}

async function readBytes(handle: FileHandle, begin: number, end: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - begin);
  if ((await readInto(handle, bytes, begin)) < bytes.length)
    throw new Error('it became shorter while it was being read');
  return bytes;
}
