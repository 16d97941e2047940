import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { throwIfAborted } from '../options/abort.js';
import { GradCacheError } from '../errors.js';
import { fileError, onFiles } from '../files/file-error.js';
import { readInto } from '../files/file-handle.js';
import { reasonOf } from '../options/realms.js';
import { chooseColumns, type ChosenColumn, type TypedColumn } from './typed-columns.js';
import type { RecordOptions } from './record-options.js';
import type { ReadRecord, RecordBlocks } from './row.js';
import { kindOfSource } from './source.js';

/** What is used of the package apache-arrow: it is installed by those who read such files. */
interface Arrow {
  readonly RecordBatchReader: { from(source: AsyncIterable<Uint8Array>): Promise<BatchReader> };
  readonly DataType: Readonly<Record<`is${string}`, (type: ArrowType) => boolean>>;
  readonly Message: { decode(bytes: Uint8Array): ArrowMessage };
}

/** What stands before the values of a record batch, and before whatever else a file holds. */
interface ArrowMessage {
  /** Bytes of what it is about, which follow it. */
  readonly bodyLength: number;
  isRecordBatch(): boolean;
  header(): { readonly length: number | bigint };
}

interface BatchReader extends AsyncIterable<ArrowBatch> {
  open(): Promise<BatchReader>;
  readonly schema: { readonly fields: readonly ArrowField[] };
}

interface ArrowField {
  readonly name: string;
  readonly type: ArrowType;
}

interface ArrowType {
  readonly children?: readonly ArrowField[] | null;
  readonly dictionary?: ArrowType;
  toString(): string;
}

interface ArrowBatch {
  readonly numRows: number;
  getChild(name: string): { get(row: number): unknown } | null;
}

const PACKAGE: string = 'apache-arrow';

/**
 * Reads text columns of an Arrow file, as `save_to_disk` of Python's datasets writes: a stream of record batches, one of which is
 * in memory at a time. Arrow's own files, which Feather 2 is, are read too.
 *
 * @throws GradCacheError `SETUP` where the package apache-arrow is not installed; `INPUT`, naming the file, where it is damaged or
 * has no such column; `ABORTED` when the signal fires
 */
export async function* readArrow(path: string, options: RecordOptions): RecordBlocks {
  if ((await kindOfSource(path)) !== 'file')
    throw new GradCacheError('INPUT', `${path} is a pipe; Arrow is read from a regular file.`);
  const { signal } = options;
  throwIfAborted(signal);
  const arrow = await loadArrow();
  const bytes = createReadStream(path, { signal });
  try {
    const reader = await (await arrow.RecordBatchReader.from(bytes)).open();
    const { fields } = reader.schema;
    const columns = chooseColumns(
      fields.map((field) => columnOf(field, arrow)),
      path,
      options,
    );
    let line = 1;
    for await (const batch of reader) {
      throwIfAborted(signal);
      yield recordsIn(batch, columns, line);
      line += batch.numRows;
    }
  } catch (error) {
    throwIfAborted(signal);
    if (error instanceof GradCacheError) throw error;
    throw fileError('INPUT', path, 'read as Arrow', error);
  } finally {
    bytes.destroy();
  }
}

/**
 * How many rows an Arrow file has, as what stands before each record batch says. No value is read.
 *
 * @throws GradCacheError as {@link readArrow}
 */
export async function countArrow(path: string, signal: AbortSignal | undefined): Promise<number> {
  const arrow = await loadArrow();
  const file = await onFiles('INPUT', path, 'read', () => open(path, 'r'));
  try {
    const { size } = await file.stat();
    const read = async (at: number, count: number): Promise<Buffer> => {
      throwIfAborted(signal);
      if (count > size - at) throw new Error('it ends in the middle of a record batch');
      const bytes = Buffer.alloc(count);
      await readInto(file, bytes, at);
      return bytes;
    };
    let rows = 0;
    const magic = size < MAGIC.length ? '' : (await read(0, MAGIC.length)).toString('latin1');
    for (let at = magic === MAGIC ? MAGIC.length + 2 : 0; at + 4 <= size;) {
      // Files of early versions have the length alone.
      const isMarked = (await read(at, 4)).readInt32LE() === -1;
      if (isMarked) at += 4;
      const length = (await read(at, 4)).readInt32LE();
      if (length <= 0) break; // the end, behind which a file may have a table of its record batches
      const message = arrow.Message.decode(await read(at + 4, length));
      const [own, body] = [
        message.isRecordBatch() ? Number(message.header().length) : 0,
        Number(message.bodyLength),
      ];
      if (!(own >= 0 && body >= 0)) throw new Error('it has a record batch with fewer than no rows or bytes');
      rows += own;
      at += 4 + length + body;
      if (at > size) throw new Error('it ends in the middle of a record batch');
    }
    return rows;
  } catch (error) {
    throwIfAborted(signal);
    throw fileError('INPUT', path, 'read as Arrow', error);
  } finally {
    await file.close();
  }
}

/** What a file of Arrow's own begins with, which has record batches as a stream has them, and then a table of them. */
const MAGIC = 'ARROW1';

async function loadArrow(): Promise<Arrow> {
  try {
    return (await import(PACKAGE)) as Arrow;
  } catch (error) {
    throw new GradCacheError(
      'SETUP',
      `Arrow files are read with the package ${PACKAGE}, which cannot be loaded: ${reasonOf(error).split('\n')[0]} ` +
        `Install it with \`npm install ${PACKAGE}\`, or write the data as Parquet or JSON lines.`,
      { cause: error },
    );
  }
}

function columnOf({ name, type }: ArrowField, { DataType }: Arrow): TypedColumn {
  const valueType = DataType['isDictionary']!(type) ? (type.dictionary ?? type) : type;
  const scalar = (of: ArrowType): 'text' | 'number' | undefined => {
    if (['isUtf8', 'isLargeUtf8'].some((is) => DataType[is as 'isUtf8']!(of))) return 'text';
    return ['isInt', 'isFloat'].some((is) => DataType[is as 'isInt']!(of)) ? 'number' : undefined;
  };
  const isList = ['isList', 'isLargeList', 'isFixedSizeList'].some((is) => DataType[is as 'isList']?.(type));
  const [element] = type.children ?? [];
  const inside = isList && element !== undefined ? scalar(element.type) : undefined;
  const kind = inside === undefined ? scalar(valueType) : (`${inside}s` as const);
  return { name, kind, label: `${name} (${String(type)})` };
}

function recordsIn(batch: ArrowBatch, columns: readonly ChosenColumn[], firstLine: number): ReadRecord[] {
  const vectors = columns.map(({ as, name }) => [as, batch.getChild(name)] as const);
  return Array.from({ length: batch.numRows }, (_, row) => {
    const values: Record<string, unknown> = {};
    for (const [name, vector] of vectors) values[name] = plain(vector?.get(row));
    return { line: firstLine + row, values };
  });
}

/** A value as JSON has it: a vector in a list column becomes an array. */
function plain(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !(Symbol.iterator in value)) return value ?? null;
  return Array.from(value as Iterable<unknown>, (item) => (typeof item === 'bigint' ? Number(item) : item));
}
