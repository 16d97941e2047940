import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { GradCacheError } from '../errors.js';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { isJsonObject } from '../files/strict-json.js';
import { readHardest } from '../training/hardest-file.js';
import { metricsFile } from '../training/metrics.js';
import { numberOf, RunRecord } from './run-record.js';

/**
 * Reads what a run has left in its output folder, while it runs or after.
 *
 * @param upTo the last step to read: a run that goes on from a checkpoint makes later ones again
 * @throws GradCacheError `INPUT` where the folder has no metrics of a run, or they cannot be read
 */
export async function readRecord(output: string, upTo = Infinity): Promise<RunRecord> {
  const path = metricsFile(output);
  const found = await onFiles('INPUT', path, 'read', () => stat(path).catch(ifAbsent(undefined)));
  if (found === undefined)
    throw new GradCacheError(
      'INPUT',
      `${output} has no ${basename(path)}. Give the output folder of a run of gradcache train.`,
    );
  const record = new RunRecord(basename(resolve(output)));
  let lines = 0;
  await onFiles('INPUT', path, 'read', async () => {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Infinity })) {
      const event = objectIn(line);
      if (event === undefined) continue; // half a line, which a killed run leaves
      if ((numberOf(event.step) ?? numberOf(event.done) ?? 0) > upTo) continue;
      lines++;
      const time = typeof event.time === 'string' ? Date.parse(event.time) : NaN;
      record.add(event, Number.isNaN(time) ? undefined : time);
    }
  });
  if (lines === 0) throw new GradCacheError('INPUT', `${path} has no event of a run yet.`);
  record.hardest = await readHardest(output);
  return record;
}

function objectIn(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
