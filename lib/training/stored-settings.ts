import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { replaceFile } from '../files/replace-file.js';

/** Where a run keeps its settings, filled in: a configuration file that makes the same run again. */
export function settingsFile(output: string): string {
  return join(output, 'settings.json');
}

/** Writes the settings of a run, whole or not at all. @throws GradCacheError `INPUT` */
export async function writeSettings(
  output: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<void> {
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  await replaceFile(settingsFile(output), (file) => file.writeFile(text));
}

/**
 * The settings of the run that an output folder belongs to, or null where it has none.
 *
 * @throws GradCacheError `CHECKPOINT` for a damaged file, `INPUT` where the system refuses it
 */
export async function readSettings(output: string): Promise<Readonly<Record<string, unknown>> | null> {
  const path = settingsFile(output);
  const text = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent(null)));
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // Told below, with what is no object.
  }
  throw new GradCacheError(
    'CHECKPOINT',
    `${path} is damaged: it does not hold the settings of a run. Remove it, and give the settings of the run again.`,
  );
}
