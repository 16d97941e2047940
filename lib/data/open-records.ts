import { readSeparatedValues } from './csv.js';
import { readArrow } from './arrow.js';
import { readJson } from './json.js';
import { readJsonLines } from './jsonl.js';
import { readSmart } from './smart.js';
import { readParquet } from './parquet/read-parquet.js';
import { formatOf } from './formats.js';
import type { RecordOptions } from './record-options.js';
import { refuseStandIn } from './source.js';
import type { RecordBlocks } from './row.js';
import { DATA_SETTINGS } from './setting-names.js';

export type { DataFormat, RecordOptions } from './record-options.js';

/** The records of a file, whatever its format. */
export async function* openRecords(file: string, options: RecordOptions = {}): RecordBlocks {
  const { names = DATA_SETTINGS, quoting, delimiter } = options;
  const { format = formatOf(file, names, delimiter) } = options;
  const how = { ...options, names };
  await refuseStandIn(file, 'data');
  switch (format) {
    case 'jsonl':
      yield* readJsonLines(file, options.signal);
      break;
    case 'json':
      yield* readJson(file, options.signal);
      break;
    case 'csv':
    case 'tsv': {
      const separator = delimiter ?? (format === 'csv' ? ',' : '\t');
      const usual = format === 'csv' && [',', ';'].includes(separator) ? 'csv' : 'auto';
      yield* readSeparatedValues(file, { ...how, separator, quoting: quoting ?? usual });
      break;
    }
    case 'smart':
      yield* readSmart(file, options.signal);
      break;
    case 'arrow':
      yield* readArrow(file, how);
      break;
    case 'parquet':
      yield* readParquet(file, how);
  }
}
