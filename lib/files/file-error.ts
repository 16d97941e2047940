import { lstat } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { withoutWriters } from './names-beside.js';
import { isError, reasonOf } from '../options/realms.js';

type Code = 'INPUT' | 'CHECKPOINT' | 'SETUP';

/** What the user can do about what the system says. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  ENOSPC: 'The disk is full: free some of it, or name a place on another disk',
  EDQUOT: 'The quota of this user is used up: free some of it, or name a place on another disk',
  EFBIG: 'It is larger than the file system, or the limit of this process (ulimit -f), allows',
  EACCES: 'This user lacks the right: grant it, or name another place',
  EPERM: 'This user lacks the right: grant it, or name another place',
  EROFS: 'The file system is mounted read-only: name another place',
  ENOTDIR: 'A part of the path is a file where a folder is needed',
  EISDIR: 'It is a folder where a file is needed',
  EMFILE: 'This process has too many files open: raise the limit (ulimit -n)',
  ENFILE: 'The system has too many files open: close some programs',
  ENAMETOOLONG: 'Give a shorter name',
  ELOOP: 'Its links point in a circle',
  EBUSY: 'Something else holds it, such as a mount: name another place',
  EIO: 'The disk or its driver reports a fault: check it, or name a place on another disk',
  ESTALE: 'The network file system has lost it: mount it anew',
  ERR_ACCESS_DENIED:
    "Node's permission model forbids it: give --allow-fs-read and --allow-fs-write for what is read and written",
};

const NO_FOLDER = 'The folder that it would be in is not there: make it, or name another place';

const NOTHING_THERE = 'It does not exist: check the path';

/** What is thrown where the system refuses a file: `PATH cannot be WHAT`, its reason, and the way out. */
export function fileError(code: Code, path: string, what: string, error: unknown): GradCacheError {
  const system = (error as NodeJS.ErrnoException | null)?.code ?? '';
  const absent = what === 'written' ? NO_FOLDER : what.startsWith('read') ? NOTHING_THERE : undefined;
  const wayOut = system === 'ENOENT' ? absent : WAYS_OUT[system];
  const reason = `${path} cannot be ${what}: ${reasonOf(error)}.`;
  const message = `${withoutWriters(reason)}${wayOut === undefined ? '' : ` ${wayOut}.`}`;
  return new GradCacheError(code, message, { cause: error });
}

/**
 * Whether the operating system refused (`ENOSPC` and the like), or Node refused a path with a null byte. Any other error is
 * a fault of a program.
 */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  if (!isError(error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  return (
    typeof code === 'string' &&
    /^(E(?!RR_)[A-Z0-9]+|ERR_FS_\w+|ERR_INVALID_ARG_VALUE|ERR_ACCESS_DENIED)$/.test(code)
  );
}

/** A handler that gives `otherwise` for errors with these codes. It throws any other error again. */
export function onCode<T>(codes: Iterable<string>, otherwise: T): (error: unknown) => T {
  return (error) => {
    for (const code of codes) if (code === (error as NodeJS.ErrnoException | null)?.code) return otherwise;
    throw error;
  };
}

/** The codes of rename for a folder to replace that is not empty. */
export const NOT_EMPTY = ['EEXIST', 'ENOTEMPTY'];

/** A handler that gives `otherwise` for a file or folder that does not exist. */
export function ifAbsent<T>(otherwise: T): (error: unknown) => T {
  return onCode(['ENOENT'], otherwise);
}

/** Whether something has this name, even a link to nothing. */
export function isThere(path: string): Promise<boolean> {
  return succeeds(lstat(path));
}

/** Whether the work succeeds. */
export function succeeds(work: Promise<unknown>): Promise<boolean> {
  return work.then(
    () => true,
    () => false,
  );
}

/** Runs work on files. It throws a {@link fileError} if the system refuses; other errors pass. */
export async function onFiles<T>(code: Code, path: string, what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw isSystemError(error) ? fileError(code, path, what, error) : error;
  }
}
