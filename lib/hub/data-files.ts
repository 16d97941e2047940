import { formatTold, isAboutData } from '../data/formats.js';
import { splitsByName, type Split } from '../data/splits.js';
import { GradCacheError } from '../errors.js';
import { fitting } from '../files/fitting-paths.js';
import { isJsonObject } from '../files/strict-json.js';
import { show } from '../options/option-values.js';
import { cardHead } from './card-head.js';
import type { Listing } from './hub-listing.js';
import { writtenName, type HubData } from './hub-name.js';
import type { ReadListed } from './model-files.js';

/**
 * The files of one split of a data set: those that its card (README.md) names for a configuration, or those that lie in a
 * folder or fit a pattern, by their names.
 *
 * @param usual the split that is taken of several if the name states none; null: none is; undefined: all of them
 * @throws GradCacheError `INPUT` where the name fits nothing, or more than one thing
 */
export async function dataFiles(
  data: HubData,
  listing: Listing,
  read: ReadListed,
  usual: string | null | undefined,
): Promise<string[]> {
  const card = listing.has('README.md') ? await read('README.md') : '';
  const splits = splitsOf(data, [...listing.keys()].sort(), card);
  const files = ofSplit(data, splits, usual);
  const formats = new Set(files.map((path) => formatTold(path)!));
  if (formats.size > 1)
    throw fault(
      data,
      `has files in several formats (${[...formats].join(', ')}): name those that are meant, as ${writtenName(data)}/*.${[...formats][0]}`,
    );
  return files;
}

function splitsOf(data: HubData, paths: readonly string[], card: string): Split[] {
  const configurations = configurationsIn(card);
  const { part } = data;
  const named = configurations.find(({ name }) => name === part);
  if (named !== undefined) return splitsNamed(named.files, paths);
  if (part === '' && configurations.length > 0) {
    const usual =
      configurations.length === 1
        ? configurations[0]
        : configurations.find(({ name, isDefault }) => isDefault || name === 'default');
    if (usual !== undefined) return splitsNamed(usual.files, paths);
    const names = configurations.map(({ name }) => name).join(', ');
    throw fault(
      data,
      `has several configurations (${names}): name one, as ${writtenName(data)}/${configurations[0]!.name}`,
    );
  }
  const inPart = dataIn(fitting(part, paths));
  if (inPart.length > 0) return splitsByName(inPart);
  const known = dataIn(paths);
  const what = part === '' ? 'no file of data' : `no configuration, folder or file of data ${show(part)}`;
  const there = known.length > 0 ? known : paths;
  throw fault(
    data,
    `has ${what} (.parquet, .jsonl, .json, .csv, .tsv or .arrow); it has ${some(there)}. ` +
      'The revision refs/convert/parquet of many data sets holds them as Parquet files',
  );
}

function ofSplit(data: HubData, splits: readonly Split[], usual: string | null | undefined): string[] {
  const { split } = data;
  const names = splits.map(({ name }) => name).join(', ');
  if (split !== undefined) {
    const found = splits.find(({ name }) => name === split);
    if (found === undefined) throw fault(data, `has no split ${show(split)}; it has ${names}`);
    return [...found.files];
  }
  if (splits.length === 1 || usual === undefined) return splits.flatMap(({ files }) => files);
  const found = splits.find(({ name }) => name === usual);
  if (found !== undefined) return [...found.files];
  throw fault(data, `has several splits (${names}): name one, as ${writtenName(data)}:${splits[0]!.name}`);
}

/** A configuration as the card of a data set names it, with the patterns of its files. */
interface Configuration {
  readonly name: string;
  readonly isDefault: boolean;
  readonly files: readonly (readonly [split: string, patterns: readonly string[]])[];
}

function splitsNamed(files: Configuration['files'], paths: readonly string[]): Split[] {
  return files.flatMap(([name, patterns]) => {
    const found = dataIn(patterns.flatMap((pattern) => fitting(pattern, paths)));
    return found.length === 0 ? [] : [{ name, files: [...new Set(found)] }];
  });
}

function configurationsIn(card: string): Configuration[] {
  const { configs } = cardHead(card);
  if (!Array.isArray(configs)) return [];
  return configs.flatMap((entry: unknown) => {
    if (!isJsonObject(entry)) return [];
    const { config_name: name = 'default', data_files: files, data_dir: folder, default: isDefault } = entry;
    if (typeof name !== 'string') return [];
    const patterns = splitPatterns(files);
    if (patterns.length === 0) return [];
    const inFolder = (pattern: string): string =>
      typeof folder === 'string' ? `${folder.replace(/\/$/, '')}/${pattern}` : pattern;
    return [
      {
        name,
        isDefault: isDefault === true,
        files: patterns.map(([split, each]) => [split, each.map(inFolder)] as const),
      },
    ];
  });
}

/** A pattern or several; or by split, as a list of `{ split, path }` or as an object. */
function splitPatterns(files: unknown): [split: string, patterns: string[]][] {
  if (typeof files === 'string') return [['train', [files]]];
  if (isJsonObject(files)) return Object.entries(files).map(([split, path]) => [split, stringsIn(path)]);
  if (!Array.isArray(files)) return [];
  const plain = stringsIn(files);
  const bySplit = (files as unknown[]).filter(isJsonObject).flatMap(({ split, path }) => {
    return typeof split === 'string' ? [[split, stringsIn(path)] as [string, string[]]] : [];
  });
  return plain.length > 0 ? [['train', plain], ...bySplit] : bySplit;
}

function stringsIn(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((item): item is string => typeof item === 'string');
}

/** The files of data among some. JSON files beside others describe them more often than they hold data. */
function dataIn(paths: readonly string[]): string[] {
  const data = paths.filter((path) => formatTold(path) !== undefined && !isAboutData(path));
  const others = data.filter((path) => formatTold(path) !== 'json');
  return others.length > 0 ? others : data;
}

function some(paths: readonly string[]): string {
  const shown = paths.slice(0, 5).join(', ');
  return paths.length > 5 ? `${shown} and ${paths.length - 5} more` : shown || 'no files';
}

function fault(data: HubData, problem: string): GradCacheError {
  return new GradCacheError('INPUT', `${writtenName(data)} ${problem}.`);
}
