import { countField, structField, structsField, ThriftReader } from './thrift.js';
import type { ThriftStruct } from './thrift.js';

/** Physical types by number, as the format counts them. */
export const TYPES = [
  'BOOLEAN',
  'INT32',
  'INT64',
  'INT96',
  'FLOAT',
  'DOUBLE',
  'BYTE_ARRAY',
  'FIXED_LEN_BYTE_ARRAY',
] as const;

export type ParquetType = (typeof TYPES)[number];

/** A column at the top of the schema. */
export interface ParquetColumn {
  readonly name: string;
  /** Undefined where the column is nested. */
  readonly type?: ParquetType;
  readonly repetition: 'required' | 'optional' | 'repeated';
  /** Text or, where `numbers`, a number; undefined for what is read as neither. */
  readonly kind?: 'text' | 'number';
  /** Of whole numbers. */
  readonly unsigned: boolean;
  /** As messages name it. */
  readonly label: string;
  /** Its place among the chunks of a row group. */
  readonly chunk: number;
}

/** The values of one column in one row group. */
export interface ColumnChunk {
  readonly codec: number;
  readonly values: number;
  readonly uncompressedBytes: number;
  /** Bytes of its pages in the file. */
  readonly begin: number;
  readonly end: number;
}

export interface RowGroup {
  readonly rows: number;
  readonly struct: ThriftStruct;
}

export interface Footer {
  readonly columns: readonly ParquetColumn[];
  readonly groups: readonly RowGroup[];
}

const REPETITIONS = ['required', 'optional', 'repeated'] as const;

/** UTF8, and whole numbers of 8 to 64 bits without and with a sign. */
const CONVERTED_TEXT = 0;
const CONVERTED_UNSIGNED: readonly unknown[] = [11, 12, 13, 14];
const CONVERTED_SIGNED: readonly unknown[] = [15, 16, 17, 18];
const LOGICAL_TEXT = 1;
const LOGICAL_WHOLE_NUMBER = 10;

/** Reads the metadata at a Parquet file's end. @throws Error where it makes no sense */
export function readFooter(bytes: Uint8Array): Footer {
  const file = new ThriftReader(bytes).struct();
  const schema = structsField(file, 2, 'schema');
  const columns: ParquetColumn[] = [];
  let chunk = 0;
  for (let at = 1; at < schema.length;) {
    const element = schema[at]!;
    let leaves = 0;
    let open = 1; // elements that still belong to this column
    const first = at;
    for (; open > 0; at++) {
      const inner = schema[at];
      if (inner === undefined) throw new Error('its schema ends early');
      const children = inner.has(5) ? countField(inner, 5, 'number of children') : 0;
      if (children === 0) leaves++;
      open += children - 1;
    }
    columns.push(columnOf(element, chunk, at - first > 1));
    chunk += leaves;
  }
  const groups = structsField(file, 4, 'row groups').map((struct) => ({
    rows: countField(struct, 3, 'number of rows'),
    struct,
  }));
  const rows = groups.reduce((sum, group) => sum + group.rows, 0);
  if (rows !== countField(file, 3, 'number of rows'))
    throw new Error(`its row groups have ${rows} rows, not as many as its metadata says`);
  return { columns, groups };
}

function columnOf(element: ThriftStruct, chunk: number, nested: boolean): ParquetColumn {
  const rawName = element.get(4);
  const name = ArrayBuffer.isView(rawName) ? Buffer.from(rawName).toString() : '';
  const type = nested ? undefined : TYPES[countField(element, 1, 'type of a column')];
  const repetition = REPETITIONS[countField(element, 3, 'repetition of a column')];
  if (repetition === undefined || (type === undefined && !nested))
    throw new Error(`its schema says nothing valid of the column ${JSON.stringify(name)}`);
  const converted = element.get(6);
  const logical = structField(element, 10);
  const isText = converted === CONVERTED_TEXT || logical?.has(LOGICAL_TEXT) === true;
  const unsigned = CONVERTED_UNSIGNED.includes(converted);
  const kind = repetition === 'repeated' ? undefined : kindOf(type, isText, converted, logical);
  const label = `${name} (${isText ? 'UTF8' : (type ?? 'nested')})`;
  return { name, type, repetition, kind, unsigned, label, chunk };
}

function kindOf(
  type: ParquetType | undefined,
  isText: boolean,
  converted: unknown,
  logical: ThriftStruct | undefined,
): ParquetColumn['kind'] {
  const plain = converted === undefined && logical === undefined;
  // Some writers leave out that bytes are text.
  if (type === 'BYTE_ARRAY') return isText || plain ? 'text' : undefined;
  if (type === 'FLOAT' || type === 'DOUBLE') return 'number';
  if (type !== 'INT32' && type !== 'INT64') return undefined;
  const whole =
    CONVERTED_UNSIGNED.includes(converted) ||
    CONVERTED_SIGNED.includes(converted) ||
    logical?.has(LOGICAL_WHOLE_NUMBER) === true;
  return plain || whole ? 'number' : undefined;
}

/**
 * Where the values of a column are that is not nested.
 *
 * @param dataEnd where the file's data ends and its metadata begins
 * @throws Error where the metadata makes no sense
 */
export function chunkOf(group: RowGroup, column: ParquetColumn, dataEnd: number): ColumnChunk {
  const struct = structsField(group.struct, 1, 'list of columns')[column.chunk];
  const meta = struct && structField(struct, 3);
  if (struct === undefined || meta === undefined || struct.has(8))
    throw new Error(`the column ${column.name} is missing or encrypted`);
  if (struct.has(1)) throw new Error(`the column ${column.name} is in another file`);
  if (TYPES[countField(meta, 1, 'type of a column')] !== column.type)
    throw new Error(`the column ${column.name} has two types`);
  const values = countField(meta, 5, 'number of values');
  if (values !== group.rows)
    throw new Error(`the column ${column.name} has ${values} values in ${group.rows} rows`);
  const data = countField(meta, 9, 'place of a column');
  const dictionary = meta.has(11) ? countField(meta, 11, 'place of a dictionary') : 0;
  const begin = dictionary > 0 && dictionary < data ? dictionary : data;
  const end = begin + countField(meta, 7, 'size of a column');
  if (end > dataEnd) throw new Error(`the column ${column.name} reaches beyond the data`);
  return {
    codec: countField(meta, 4, 'compression'),
    values,
    uncompressedBytes: countField(meta, 6, 'size of a column'),
    begin,
    end,
  };
}
