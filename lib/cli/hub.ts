/*
 * Models and data of the Hugging Face hub, for the commands that take a model or a file.
 */
import { existsSync } from 'node:fs';
import { GradCacheError } from '../errors.js';
import { dataName, isHubName, isRepositoryName, type HubData } from '../hub/hub-name.js';
import { pullData, pullModel, type HubProgress, type Pulled } from '../hub/pull.js';
import { SettingError } from '../options/fields.js';
import { plural } from '../options/plural.js';
import { UsageError, type Arguments } from './flags.js';
import { formatBytes, type ProgressLine } from './terminal.js';

/**
 * Where a model is: a folder, or in the cache, into which `owner/name` and `hf:owner/name` are fetched. A folder of that name
 * wins over the hub.
 */
export async function locateModel(
  given: string,
  progress: ProgressLine,
  signal: AbortSignal | undefined,
): Promise<string> {
  const name = hubNameOf(given, progress);
  return name === undefined ? given : (await fetchModel(given, name, progress, signal)).folder;
}

/**
 * What a model is called on the hub; undefined for a folder, which is said if it could be either, and for what is no such
 * name.
 */
export function hubNameOf(given: string, progress: ProgressLine): string | undefined {
  if (isHubName(given)) return given;
  if (!isRepositoryName(given)) return undefined;
  if (!existsSync(given)) return `hf:${given}`;
  progress.say(`${given} is a folder here; hf:${given} would be that of the hub`);
  return undefined;
}

async function fetchModel(
  given: string,
  name: string,
  progress: ProgressLine,
  signal: AbortSignal | undefined,
): Promise<Pulled> {
  try {
    const pulled = await pullModel('--model', name, { signal, ...watching(progress) });
    sayPulled(name, pulled, progress);
    return pulled;
  } catch (error) {
    if (error instanceof SettingError) throw new UsageError(error.message);
    if (given === name || !(error instanceof GradCacheError) || error.code !== 'HUB') throw error;
    throw new GradCacheError('HUB', `There is no folder ${given}. ${error.message}`, { cause: error });
  }
}

/** The arguments with files in the place of names of the hub's data sets (`hf:owner/name/part:split`). */
export async function locateData(
  args: Arguments,
  flags: readonly string[],
  progress: ProgressLine,
  signal: AbortSignal | undefined,
): Promise<Arguments> {
  const located = new Map<string, string>();
  for (const flag of flags) {
    const given = args.text(flag);
    if (given === undefined || !isHubName(given)) continue;
    const pulled = await pullData(nameIn(`--${flag}`, given), null, { signal, ...watching(progress) });
    const [file, ...others] = pulled.files;
    if (file === undefined || others.length > 0)
      throw new GradCacheError(
        'INPUT',
        `--${flag} is ${given}, which has ${plural(pulled.files.length, 'file')}; one is needed: name it, as hf:OWNER/NAME/FILE.`,
      );
    sayPulled(given, pulled, progress);
    located.set(flag, file);
  }
  return located.size === 0 ? args : args.with(located);
}

function nameIn(flag: string, given: string): HubData {
  return readOperand(() => dataName(flag, given));
}

/** Reads a name that stands in a call. @throws UsageError for what is no name */
export function readOperand<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof SettingError ? new UsageError(error.message) : error;
  }
}

/** How a download is shown. */
export function watching(progress: ProgressLine): {
  onProgress: (progress: HubProgress) => void;
  onWait: (message: string) => void;
} {
  return {
    onProgress: ({ repository, bytes, totalBytes, files, totalFiles }) =>
      progress.show(
        `${repository} · ${formatBytes(bytes)} of ${formatBytes(totalBytes)} · ${files} of ${plural(totalFiles, 'file')}`,
      ),
    onWait: (message) => progress.say(message),
  };
}

/** Says what was taken, and whether it had to be fetched. */
export function sayPulled(name: string, { folder, commit, fetched }: Pulled, progress: ProgressLine): void {
  const how = fetched === 0 ? 'from the cache' : `${formatBytes(fetched)} fetched`;
  progress.say(`${name} at ${commit.slice(0, 12)}, ${how}: ${folder}`);
}
