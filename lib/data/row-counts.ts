import { countArrow } from './arrow.js';
import { formatTold } from './formats.js';
import { countParquet } from './parquet/read-parquet.js';
import type { DataFormat } from './record-options.js';
import { kindOfSource } from './source.js';

/**
 * How many rows files have together, where all say so without being read through: Parquet and Arrow do. Null where one does not, as a pipe.
 *
 * @param format of all of them; undefined: as their names tell
 * @throws GradCacheError `INPUT`, naming the file; `SETUP` where Arrow is not installed; `ABORTED` when the signal fires
 */
export async function rowsTold(
  files: readonly string[],
  format: DataFormat | undefined,
  signal: AbortSignal | undefined,
): Promise<number | null> {
  const formats = files.map((file) => format ?? formatTold(file));
  if (!formats.every((each) => each === 'parquet' || each === 'arrow')) return null;
  for (const file of files) if ((await kindOfSource(file)) === 'pipe') return null;
  const counts = await countParquet(
    files.filter((_, place) => formats[place] === 'parquet'),
    { signal },
  );
  for (const [place, file] of files.entries())
    if (formats[place] === 'arrow') counts.push(await countArrow(file, signal));
  return counts.reduce((sum, count) => sum + count, 0);
}
