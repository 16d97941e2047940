/*
 * The program that decodes a Parquet file, in a process of its own: hyparquet ends its process for some damaged files, and
 * goes on for ever for others. It answers the requests that read-parquet.ts sends.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
import type { AsyncBuffer, Compressors, FileMetaData, SchemaElement, SchemaTree } from 'hyparquet';
import type { ChildMessage } from '../../processes/child-program.js';
import { endWithParent } from '../../processes/end-with-parent.js';
import { readInto } from '../../files/file-handle.js';
import type { TypedColumn } from '../typed-columns.js';

/** First the columns are asked for, then one block of their values after the other; or how many rows each of several files has. */
export type DecoderRequest =
  | { readonly ask: 'rows'; readonly path: string }
  | { readonly ask: 'columns'; readonly path: string }
  | { readonly ask: 'block'; readonly columns: readonly string[] };

/** What is wrong is sent, since errors do not keep their code on the way. */
export type DecoderReply =
  | { readonly rows: number }
  | { readonly columns: readonly TypedColumn[] }
  | { readonly block: ParquetBlock | undefined }
  | { readonly failed: { readonly message: string; readonly code?: string } };

/**
 * Values column by column, in the order asked for; null where there is none. A text that is not UTF-8 holds half of a
 * surrogate pair, and whole numbers are bigint. A list has plain numbers.
 */
export type ParquetBlock = readonly (readonly ParquetValue[])[];

type ParquetValue = string | number | bigint | null | readonly (string | number | null)[];

const BLOCK_ROWS = 8192;
/** Rows decoded at a time where the file has an index of its pages. Pages at both ends, and dictionaries, are decoded twice. */
const ROWS_AT_A_TIME = 4 * BLOCK_ROWS;
/** At most one sign of life in so many milliseconds. */
const SIGN_OF_LIFE = 1000;

let handle: FileHandle | undefined;
let file: AsyncBuffer;
let metadata: FileMetaData;
let blocks: AsyncGenerator<ParquetBlock, void, undefined> | undefined;

async function answer(request: DecoderRequest): Promise<DecoderReply> {
  try {
    if (request.ask !== 'block') {
      await handle?.close();
      file = await openFile(request.path);
      metadata = await parquetMetadataAsync(file, { geoparquet: false });
      checkCounts();
      if (request.ask === 'rows') return { rows: Number(metadata.num_rows) };
      return { columns: parquetSchema(metadata).children.map(columnOf) };
    }
    blocks ??= readBlocks(request.columns);
    const { value } = await blocks.next();
    return { block: value ?? undefined };
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    return { failed: { message, code } };
  }
}

function topColumns(): SchemaElement[] {
  return parquetSchema(metadata).children.map(({ element, children }) =>
    children.length === 0 ? element : { ...element, type: undefined, converted_type: undefined },
  );
}

function columnOf({ element, children }: SchemaTree): TypedColumn {
  const { name, type, converted_type: converted } = element;
  if (children.length === 0) {
    const kind = scalarOf(element);
    return { name, kind, label: `${name} (${converted ?? type ?? 'nested'})` };
  }
  const inside = elementOfList(element, children);
  const kind = inside === undefined ? undefined : scalarOf(inside);
  const label = kind === undefined ? 'nested' : `list of ${kind}s`;
  return { name, kind: kind && `${kind}s`, label: `${name} (${label})` };
}

function scalarOf(element: SchemaElement): 'text' | 'number' | undefined {
  return isText(element) ? 'text' : isNumber(element) ? 'number' : undefined;
}

/** What a list holds: a column of lists is a group with one repeated group, which has one element. Undefined for other groups. */
function elementOfList(element: SchemaElement, children: readonly SchemaTree[]): SchemaElement | undefined {
  const isList = element.converted_type === 'LIST' || element.logical_type?.type === 'LIST';
  const [repeated, other] = children;
  if (!isList || repeated === undefined || other !== undefined) return undefined;
  if (repeated.element.repetition_type !== 'REPEATED' || repeated.children.length !== 1) return undefined;
  const [inner] = repeated.children;
  return inner!.children.length === 0 ? inner!.element : undefined;
}

/** Text, or bytes of no stated kind: some writers leave out that they are text. */
function isText({ type, repetition_type, converted_type, logical_type }: SchemaElement): boolean {
  if (type !== 'BYTE_ARRAY' || repetition_type === 'REPEATED') return false;
  const plain = converted_type === undefined && logical_type === undefined;
  return plain || converted_type === 'UTF8' || logical_type?.type === 'STRING';
}

function isNumber({ type, repetition_type, converted_type, logical_type }: SchemaElement): boolean {
  if (repetition_type === 'REPEATED') return false;
  if (type === 'FLOAT' || type === 'DOUBLE') return true;
  const plain = converted_type === undefined && logical_type === undefined;
  const whole = /^U?INT_/.test(converted_type ?? '') || logical_type?.type === 'INTEGER';
  return isWhole(type) && (plain || whole);
}

function isWhole(type: SchemaElement['type']): boolean {
  return type === 'INT32' || type === 'INT64';
}

/** Counts that contradict each other would lose rows, or be taken for rows without end. */
function checkCounts(): void {
  const names = new Set(topColumns().flatMap((element) => (scalarOf(element) ? [element.name] : [])));
  let rows = 0n;
  for (const group of metadata.row_groups) {
    rows += group.num_rows;
    for (const { meta_data: column } of group.columns) {
      const [name, ...inner] = column?.path_in_schema ?? [];
      if (name === undefined || inner.length > 0 || !names.has(name)) continue;
      if (column!.num_values !== group.num_rows)
        throw new Error(
          `the column ${name} has ${column!.num_values} values in a row group of ${group.num_rows} rows`,
        );
    }
  }
  if (rows !== metadata.num_rows)
    throw new Error(`its row groups have ${rows} rows, and its metadata says ${metadata.num_rows}`);
}

/** Blocks of rows. A row group is decoded as a whole, or in parts where the file has an index of its pages. */
async function* readBlocks(columns: readonly string[]): AsyncGenerator<ParquetBlock, void, undefined> {
  const compressors = await neededCompressors();
  const whole = topColumns().flatMap(({ name, type }) => (isWhole(type) ? [name] : []));
  let lifeShown = performance.now();
  const onPage = () => {
    if (performance.now() - lifeShown < SIGN_OF_LIFE) return;
    lifeShown = performance.now();
    send({ kind: 'alive' });
  };
  let groupStart = 0;
  for (const group of metadata.row_groups) {
    const groupEnd = groupStart + Number(group.num_rows);
    const indexed = group.columns.every((column) => column.offset_index_length);
    const step = indexed ? ROWS_AT_A_TIME : Math.max(groupEnd - groupStart, 1);
    for (let rowStart = groupStart; rowStart < groupEnd; rowStart += step) {
      const rows: Record<string, unknown>[] = await parquetReadObjects({
        file,
        metadata,
        columns: [...new Set(columns)],
        compressors,
        parsers: { stringFromBytes: decodeText },
        rowStart,
        rowEnd: Math.min(rowStart + step, groupEnd),
        useOffsetIndex: indexed,
        onPage,
      });
      for (let at = 0; at < rows.length; at += BLOCK_ROWS) {
        const some = rows.slice(at, at + BLOCK_ROWS);
        yield columns.map((name) => some.map((row) => checkedValue(row[name], name, whole.includes(name))));
      }
    }
    groupStart = groupEnd;
  }
}

function checkedValue(value: unknown, column: string, whole: boolean): ParquetValue {
  if (value === undefined)
    throw new Error(`the column ${column} has fewer values than its metadata says, or names one it has not`);
  if (Array.isArray(value))
    return value.map(
      (item: unknown) => (typeof item === 'bigint' ? Number(item) : (item as string | number)) ?? null,
    );
  return whole && typeof value === 'number' ? BigInt(value) : (value as ParquetValue);
}

/** The package for compressions is loaded only for a file that has them. */
async function neededCompressors(): Promise<Compressors | undefined> {
  const codecs = metadata.row_groups.flatMap((group) => group.columns.map((each) => each.meta_data?.codec));
  if (codecs.every((codec) => codec === 'UNCOMPRESSED')) return undefined;
  return (await import('hyparquet-compressors')).compressors;
}

const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeText(bytes: Uint8Array | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (!text.includes('\ufffd')) return text;
  try {
    return strictDecoder.decode(bytes);
  } catch {
    return '\udc80';
  }
}

/** What the Parquet reader asks for, checked against the size of the file before any memory is taken. */
async function openFile(path: string): Promise<AsyncBuffer> {
  const opened = await open(path, 'r');
  handle = opened;
  const { size: byteLength } = await opened.stat();
  if (byteLength === 0) throw new Error('it is empty');
  if (byteLength < 12) throw new Error(`it has only ${byteLength} bytes`);
  return {
    byteLength,
    async slice(start, end = byteLength) {
      if (!(start >= 0 && start <= end && end <= byteLength))
        throw new RangeError(`bytes ${start} to ${end} are asked for, the file has ${byteLength}`);
      const bytes = new Uint8Array(end - start);
      if ((await readInto(opened, bytes, start)) < bytes.length)
        throw new RangeError('the file became shorter while it was being read');
      return bytes.buffer;
    },
  };
}

function send(message: ChildMessage<DecoderReply>): void {
  process.send?.(message);
}

endWithParent();
process.on('message', (request: DecoderRequest) => {
  void answer(request).then((reply) => send({ kind: 'reply', reply }));
});
send({ kind: 'started' });
