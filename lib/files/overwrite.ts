import { readdir, realpath, stat } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { GradCacheError } from '../errors.js';

/** A file or folder that a run reads or writes, and what the run calls it. */
export interface NamedPath {
  /** `--input`, `data`, … */
  readonly name: string;
  readonly path: string;
}

/**
 * Throws where an output is one of the files that the same run reads, or one of the files of a folder that it reads: by the
 * same path, through a link, or as a second name of the same file.
 *
 * @throws GradCacheError `INPUT`
 */
export async function refuseOverwriting(output: NamedPath, inputs: readonly NamedPath[]): Promise<void> {
  const written = await identityOf(output.path);
  if (written === undefined) return; // there is nothing yet
  for (const input of inputs) {
    for (const file of await filesOf(input.path)) {
      if ((await identityOf(file)) === written) throw overwritten(output, { ...input, path: file });
    }
  }
}

/**
 * Throws where an input is or lies in a folder that the same run replaces.
 *
 * @throws GradCacheError `INPUT`
 */
export async function refuseReplacing(folder: NamedPath, inputs: readonly NamedPath[]): Promise<void> {
  const replaced = await placeOf(folder.path);
  for (const input of inputs) {
    const place = await placeOf(input.path);
    if (place === replaced || place.startsWith(replaced + sep)) throw overwritten(folder, input);
  }
}

function overwritten(output: NamedPath, input: NamedPath): GradCacheError {
  const same = resolve(output.path) === resolve(input.path);
  return new GradCacheError(
    'INPUT',
    `${output.name} ${output.path} would overwrite ${same ? 'what' : `${input.path}, which`} ${input.name} reads. Name another place.`,
  );
}

/** What a file has in common with its other names and the links to it. */
async function identityOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined); // what cannot be read is reported where it is
  return found?.isFile() ? `${found.dev}:${found.ino}` : undefined;
}

async function filesOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => undefined);
  if (entries === undefined) return [path];
  const files: string[] = [];
  // A model has its files in its folder and in those of its modules.
  for (const entry of entries) {
    const inside = join(path, entry.name);
    if (!entry.isDirectory()) files.push(inside);
    else for (const name of await readdir(inside).catch(() => [])) files.push(join(inside, name));
  }
  return files;
}

async function placeOf(path: string): Promise<string> {
  return realpath(path).catch(() => resolve(path));
}
