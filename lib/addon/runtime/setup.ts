import { existsSync, statSync } from 'node:fs';
import {
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { GradCacheError } from '../../errors.js';
import { isThere, onFiles } from '../../files/file-error.js';
import { makeFolders } from '../../files/make-folders.js';
import { isAlive } from '../../processes/process-alive.js';
import { findBuilds } from './builds.js';
import { extractArchive, installWithPip } from './fetch-libtorch.js';
import { inspectLibtorch } from './libtorch-folder.js';
import { installedFolder, NO_CACHE } from './libtorch.js';
import { DEFAULT_LIBTORCH_VERSION, PROJECT_LIBTORCH, projectFolder, SUPPORTED_MINORS } from './paths.js';

/** Options of {@link setup}. */
export interface SetupOptions {
  /** Version to install with pip, for example `2.13.0` or `2.13.0+cu130`. */
  readonly version?: string | undefined;
  /** A libtorch already on this machine, instead of pip: a folder (used where it is), or an archive (.zip, .whl, .tar.*). */
  readonly from?: string | undefined;
  /** Into the project's `.libtorch` instead of the user's cache folder. */
  readonly project?: boolean | undefined;
  /** Further arguments of `pip install`, for example `['--index-url', …]`. */
  readonly pipArguments?: readonly string[] | undefined;
  /** Called with every line of output of the tools that run. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** Environment of the search and the tools; the process's own unless given. */
  readonly environment?: NodeJS.ProcessEnv | undefined;
  /** Where to look for the project; the process's working folder unless given. */
  readonly workingFolder?: string | undefined;
}

/** What {@link setup} did. */
export interface SetupResult {
  /** The folder of the libtorch that gradcache finds from now on. */
  readonly folder: string;
  /** False where everything was already as asked. */
  readonly installed: boolean;
}

/** File in an installed folder that says what it was installed from, so that a second run can tell. */
const RECORD = 'gradcache-setup.json';

/**
 * Puts a libtorch where gradcache finds it: installed by pip, unpacked from an archive, or linked where it lies. It is
 * installed beside its place and renamed into it, so an interrupted run leaves nothing that would be found. When what is
 * asked for is there already, nothing is done.
 *
 * @throws GradCacheError `LIBTORCH_VERSION` for an unsupported version, `SETUP` when a tool is missing or fails or the
 * folder or archive holds no libtorch
 */
export async function setup(options: SetupOptions = {}): Promise<SetupResult> {
  const environment = options.environment ?? process.env;
  const link = options.project
    ? join(projectFolder(options.workingFolder), PROJECT_LIBTORCH)
    : installedFolder(environment);
  if (link === null) throw new GradCacheError('SETUP', `There is nowhere to install libtorch: ${NO_CACHE}.`);
  if (options.from === undefined) {
    const version = options.version ?? defaultVersion();
    assertSupported(version);
    const pipArguments = options.pipArguments ?? [];
    const target = options.project ? link : join(dirname(link), version);
    return place(link, target, { version, pipArguments }, (folder) =>
      installWithPip(folder, version, pipArguments, environment, options.onLine),
    );
  }
  if (options.version !== undefined || options.pipArguments?.length) {
    throw new GradCacheError(
      'SETUP',
      'A version and pip options do not go together with a folder or archive.',
    );
  }
  const from = resolve(options.workingFolder ?? '.', options.from);
  if (!existsSync(from))
    throw new GradCacheError('SETUP', `${from} does not exist: give a folder or an archive of libtorch.`);
  if (statSync(from).isDirectory()) {
    const folder = checked(from, from);
    if (await isInside(from, link)) return { folder, installed: false };
    return { folder, installed: await pointAt(link, folder) };
  }
  const { size, mtimeMs } = statSync(from);
  const target = options.project ? link : join(dirname(link), basename(from));
  if (await isInside(from, target))
    throw new GradCacheError(
      'SETUP',
      `${from} lies where it would be unpacked to, and would be written over. Move the archive to another folder.`,
    );
  return place(link, target, { archive: from, size, mtimeMs }, (folder) =>
    extractArchive(from, folder, environment, options.onLine),
  );
}

/** The default, unless this package holds addons only for other minors: then the newest of those. */
function defaultVersion(): string {
  const minors = findBuilds().map((build) => build.minor);
  const fits =
    minors.length === 0 || minors.some((minor) => DEFAULT_LIBTORCH_VERSION.startsWith(`${minor}.`));
  return fits ? DEFAULT_LIBTORCH_VERSION : `${minors[0]}.0`;
}

function assertSupported(version: string): void {
  const minor = /^(\d+\.\d+)\.\d+(\+[\w.]+)?$/.exec(version)?.[1];
  if (minor !== undefined && SUPPORTED_MINORS.includes(minor)) return;
  const example = `${SUPPORTED_MINORS.at(-1)}.0`;
  throw new GradCacheError(
    'LIBTORCH_VERSION',
    `libtorch ${version} cannot be set up: give a whole version of ${SUPPORTED_MINORS.join(', ')}, such as ${example}.`,
  );
}

/** Fills `target` by way of a folder beside it, unless its record says that it already holds what is asked for. */
async function place(
  link: string,
  target: string,
  record: object,
  fill: (folder: string) => Promise<void>,
): Promise<SetupResult> {
  const wanted = JSON.stringify(record);
  if ((await readRecord(target)) === wanted && inspectLibtorch(target).libtorch !== null) {
    const moved = link === target ? false : await pointAt(link, target);
    return { folder: checked(target, target), installed: moved };
  }
  await onFiles('SETUP', target, 'written', async () => {
    await makeFolders(dirname(target));
    await removeAbandoned(dirname(target));
    const beside = temporary(target);
    try {
      await mkdir(beside);
      await fill(beside);
      checked(beside, target);
      await writeFile(join(beside, RECORD), wanted);
      await swapIn(beside, target);
    } finally {
      await rm(beside, { recursive: true, force: true });
    }
  });
  if (link !== target) await pointAt(link, target);
  return { folder: checked(target, target), installed: true };
}

async function readRecord(folder: string): Promise<string | null> {
  return readFile(join(folder, RECORD), 'utf8').catch(() => null);
}

/** The libtorch's own folder in `path`; `name` is how a message calls it. */
function checked(path: string, name: string): string {
  const inspection = inspectLibtorch(path);
  if (inspection.libtorch !== null) return inspection.libtorch.folder;
  const code = inspection.version === null ? 'SETUP' : 'LIBTORCH_VERSION';
  throw new GradCacheError(code, `${name} ${inspection.reason}. Nothing was changed.`);
}

function temporary(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
}

/** Renames a finished folder into place; a folder or link that was there goes only once the new one stands. */
async function swapIn(beside: string, target: string): Promise<void> {
  const old = `${temporary(target)}.old`;
  if (await isThere(target)) await rename(target, old);
  await rename(beside, target);
  await rm(old, { recursive: true, force: true });
}

/** Makes `link` point at `folder`. Returns whether that changed anything. */
async function pointAt(link: string, folder: string): Promise<boolean> {
  if ((await readlink(link).catch(() => null)) === folder) return false;
  await onFiles('SETUP', link, 'written', async () => {
    await makeFolders(dirname(link));
    const beside = temporary(link);
    await rm(beside, { force: true });
    await symlink(folder, beside);
    await swapIn(beside, link);
  });
  return true;
}

/** Whether a path is a folder or file that is there, or lies in it; links are followed. */
async function isInside(path: string, outer: string): Promise<boolean> {
  const [inner, around] = await Promise.all(
    [path, outer].map((each) => realpath(each).catch(() => undefined)),
  );
  return inner !== undefined && around !== undefined && (inner === around || inner.startsWith(around + sep));
}

/** Removes what runs that were killed left behind; folders of runs still alive stay. */
async function removeAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const pid = /^\..+\.(\d+)\.tmp(\.old)?$/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(join(folder, name), { recursive: true, force: true });
  }
}
