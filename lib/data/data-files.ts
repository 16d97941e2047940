import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { fitting, isPattern } from '../files/fitting-paths.js';
import { formatTold, isAboutData } from './formats.js';
import { STANDARD_INPUT } from './source.js';
import { splitsByName, type Split } from './splits.js';

/**
 * The files that paths name: `-` is standard input, a pattern (`*`, `?`, `**`, `[a-z]`) stands for the files that fit it, and a
 * folder for those in it, in the order of their names. A folder may be one of `save_to_disk` of Python's datasets.
 *
 * @param usual the split that is taken of a folder that has several; undefined: one must be named
 * @throws GradCacheError `INPUT` for a pattern or a folder without a file of data, and for one with several splits or formats
 */
export function dataFiles(paths: readonly string[], usual?: string): string[] {
  return paths.flatMap((path) => {
    if (path === '-') return [STANDARD_INPUT];
    const isFolder = statOf(path)?.isDirectory();
    if (isFolder === true) return inFolder(path, usual);
    return isFolder === undefined && isPattern(path) ? thatFit(path) : [path];
  });
}

/** Whether a path names one file by itself. */
export function isOneFile(path: string): boolean {
  const found = statOf(path);
  return path !== '-' && (found === undefined ? !isPattern(path) : !found.isDirectory());
}

function statOf(path: string) {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return undefined; // why a file cannot be read is reported by reading it
  }
}

function inFolder(folder: string, usual: string | undefined): string[] {
  const splits = splitsSaved(folder);
  if (splits !== undefined) {
    const [only, other] = splits;
    const split = other === undefined ? only : splits.find((name) => name === usual);
    if (split !== undefined) return inDataset(join(folder, split), usual);
    throw fault(
      folder,
      `has the splits ${splits.join(', ')}: name one, as ${join(folder, splits[0] ?? 'train')}`,
    );
  }
  return inDataset(folder, usual);
}

/** The files of one data set. A split is none of several again: a damaged folder could name itself. */
function inDataset(folder: string, usual: string | undefined): string[] {
  return savedIn(folder) ?? dataIn(folder, usual);
}

/** The splits of a `DatasetDict` that `save_to_disk` wrote. */
function splitsSaved(folder: string): string[] | undefined {
  const { splits } = jsonIn(join(folder, 'dataset_dict.json')) ?? {};
  return Array.isArray(splits) ? splits.filter((name) => typeof name === 'string') : undefined;
}

/** The files of a `Dataset` that `save_to_disk` wrote, in its order. */
function savedIn(folder: string): string[] | undefined {
  const { _data_files: files } = jsonIn(join(folder, 'state.json')) ?? {};
  if (!Array.isArray(files)) return undefined;
  return files.map((file: { readonly filename?: unknown } | null) => {
    const name = file?.filename;
    if (typeof name !== 'string' || basename(name) !== name)
      throw fault(folder, 'is no folder of save_to_disk: its state.json names no files in it');
    return join(folder, name);
  });
}

function jsonIn(path: string): Readonly<Record<string, unknown>> | undefined {
  if (statOf(path)?.isFile() !== true) return undefined;
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch (error) {
    throw fileError('INPUT', path, 'read as JSON', error);
  }
}

function dataIn(folder: string, usual: string | undefined): string[] {
  const found = entriesIn(folder).filter((path) => formatTold(path) !== undefined && !isAboutData(path));
  if (found.length === 0)
    throw fault(folder, 'is a folder without a file of data (.parquet, .jsonl, .json, .csv, .tsv or .arrow)');
  const files = ofSplit(folder, splitsByName(found), usual);
  const formats = [...new Set(files.map((path) => formatTold(path)))];
  if (formats.length > 1)
    throw fault(
      folder,
      `has files in several formats (${formats.join(', ')}): name those that are meant, as ${join(folder, `*.${formats[0]}`)}`,
    );
  return files.map((path) => join(folder, path));
}

function ofSplit(folder: string, splits: readonly Split[], usual: string | undefined): readonly string[] {
  const [first, second] = splits;
  const split = second === undefined ? first : splits.find(({ name }) => name === usual);
  if (split !== undefined) return split.files;
  const names = splits.map(({ name }) => name).join(', ');
  throw fault(
    folder,
    `has files of the splits ${names}: name the files of one, as ${join(folder, `*${names.split(', ')[0]}*`)}`,
  );
}

/** The files in a folder and in those below it, by their paths in it, in the order of these. Hidden ones are left out. */
function entriesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((path) => !path.split(sep).some((part) => /^[._]/.test(part)))
      .filter((path) => statOf(join(folder, path))?.isFile() === true)
      .sort();
  } catch (error) {
    throw fileError('INPUT', folder, 'read', error);
  }
}

/** The files that fit a pattern. It is looked for from the last folder that is named without one. */
function thatFit(pattern: string): string[] {
  const parts = pattern.split('/');
  const fixed = parts.slice(0, parts.findIndex(isPattern)).join('/');
  const root = fixed === '' ? (pattern.startsWith('/') ? '/' : '.') : fixed;
  const rest = pattern.slice(fixed === '' ? (pattern.startsWith('/') ? 1 : 0) : fixed.length + 1);
  const deep = rest.includes('/');
  const paths = statOf(root)?.isDirectory() !== true ? [] : deep ? entriesIn(root) : namesIn(root);
  const found = fitting(rest, paths);
  if (found.length === 0) throw fault(pattern, 'fits no file: check the pattern, and quote it for the shell');
  return found.map((path) => (root === '.' ? path : join(root, path)));
}

/** The files right in a folder. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => !name.startsWith('.') && statOf(join(folder, name))?.isFile() === true)
      .sort();
  } catch (error) {
    throw fileError('INPUT', folder, 'read', error);
  }
}

function fault(path: string, problem: string): GradCacheError {
  return new GradCacheError('INPUT', `${path} ${problem}.`);
}
