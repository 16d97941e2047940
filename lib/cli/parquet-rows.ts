import type { SchemaElement } from 'hyparquet';
import type { MinedNegatives } from '../mining/mine.js';
import type { MinedColumn, MinedRow } from '../mining/mined-rows.js';
import type { OutputFile } from './output-file.js';

/** Rows, each with the same columns. */
export type Rows = Pick<MinedNegatives, 'types' | 'rows'>;

/** Rows of a row group. A reader takes one group at a time; so does memory here. */
const GROUP = 10_000;

/**
 * Writes rows as Parquet, group after group, compressed with Snappy. No value is null.
 *
 * @param check called before each group
 */
export async function writeParquet(
  file: OutputFile,
  { types, rows }: Rows,
  check: () => void,
): Promise<void> {
  const { ByteWriter, ParquetWriter } = await import('hyparquet-writer');
  const bytes = new ByteWriter();
  const parquet = new ParquetWriter({ writer: bytes, schema: schemaOf(types), createdBy: 'gradcache' });
  let group: MinedRow[] = [];
  for (const row of rows) {
    group.push(row);
    if (group.length < GROUP) continue;
    await writeGroup();
    group = [];
  }
  if (group.length > 0) await writeGroup();
  await parquet.finish();
  await passOn();

  async function writeGroup(): Promise<void> {
    check();
    const columnData = types.map(({ name }) => ({ name, data: group.map((row) => row[name]) }));
    await parquet.write({ columnData, rowGroupSize: group.length });
    await passOn();
  }

  /** Writes what is there, and begins anew at the front of the buffer; the place in the file goes on. */
  async function passOn(): Promise<void> {
    await file.write(Buffer.from(bytes.getBytes()));
    bytes.index = 0;
  }
}

/** The schema with its root first, as parquet.thrift has it: a list is a group of a repeated group of elements. */
function schemaOf(columns: readonly MinedColumn[]): SchemaElement[] {
  const fields = columns.flatMap(({ name, type, list }): SchemaElement[] => {
    if (!list) return [{ name, ...TYPES[type], repetition_type: 'REQUIRED' }];
    return [
      { name, converted_type: 'LIST', repetition_type: 'REQUIRED', num_children: 1 },
      { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
      { name: 'element', ...TYPES[type], repetition_type: 'REQUIRED' },
    ];
  });
  return [{ name: 'schema', num_children: columns.length }, ...fields];
}

const TYPES = {
  text: { type: 'BYTE_ARRAY', converted_type: 'UTF8' },
  integer: { type: 'INT32' },
  number: { type: 'DOUBLE' },
} as const;
