/*
 * Where the pictures of a run lie. A path in a data file begins in the folder of that file. Rows of several files have theirs from
 * the folder of the first one, so that they are the same rows wherever the data lies.
 */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { dataFiles } from '../data/data-files.js';
import type { Row, RowSource } from '../data/row.js';
import { GradCacheError } from '../errors.js';
import { OBJECT } from './objects.js';

/** The folder that the paths of a run's rows begin in: that of its first file; the current one for rows without a file. */
export function folderOfPictures([first]: readonly string[]): string {
  return first === undefined || first === OBJECT || isStream(first) ? process.cwd() : dirname(resolve(first));
}

/** Standard input and process substitution: what lies beside them is no picture. */
const isStream = (file: string): boolean => file.startsWith('/dev/');

/**
 * The folder that the paths in held-out data begin in.
 *
 * @param data a file, or a folder or pattern of files that lie together
 * @throws GradCacheError `INPUT` for files of several folders
 */
export function folderOfHeldOut(data: string): string {
  const [folder, other] = new Set(dataFiles([data]).map((file) => folderOfPictures([file])));
  if (other === undefined) return folder!;
  throw new GradCacheError(
    'INPUT',
    `${data} has files in ${folder} and in ${other}, and paths of pictures begin in the folder of their file: name files of one folder.`,
  );
}

/**
 * The rows of files, with the paths in a column from the folder of all.
 *
 * @param read reads the rows of one of the files
 */
export async function* rowsWithPictures(
  files: readonly string[],
  read: (file: string) => RowSource,
  { folder, column }: { readonly folder: string; readonly column: string },
): AsyncGenerator<Row, void, undefined> {
  for (const file of files) {
    const own = folderOfPictures([file]);
    for await (const row of read(file)) {
      const path = row[column]!;
      yield own === folder || isAbsolute(path)
        ? row
        : { ...row, [column]: relative(folder, resolve(own, path)) };
    }
  }
}
