import { replaceFile } from '../files/replace-file.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireString } from '../options/option-values.js';
import { pageOf } from './page.js';
import { readPageParts } from './page-parts.js';
import { readRecord } from './read-record.js';

/** Settings of {@link writeReport}. */
export interface ReportOptions {
  /** The heading of the page. Default: the name of the run, or how many there are. */
  readonly title?: string | undefined;
}

/**
 * Writes a page about one run or several as one HTML file that needs nothing else: loss, learning rate, throughput, memory,
 * scores on held-out data, settings, and what the last evaluation found hardest.
 *
 * @param runs output folders of runs, finished or not
 * @param path the file to write
 * @throws GradCacheError `INPUT` for a folder without metrics, and where the page cannot be written
 * @example
 * ```ts
 * await writeReport(['runs/a', 'runs/b'], 'report.html');
 * ```
 */
export async function writeReport(
  runs: readonly string[],
  path: string,
  options: ReportOptions = {},
): Promise<void> {
  checkKnown('writeReport', options, ['title']);
  const { title } = options;
  if (
    !Array.isArray(runs) ||
    runs.length === 0 ||
    !runs.every((run) => typeof run === 'string' && run !== '')
  )
    throw refused('runs', runs, 'a list of the output folders of runs');
  requireString('path', path);
  if (title !== undefined) requireString('title', title);
  const records = [];
  for (const run of runs) records.push(await readRecord(run as string));
  const page = pageOf(records, await readPageParts(), { isLive: false, title });
  await replaceFile(path, (file) => file.writeFile(page));
}
