/*
 * Where the pictures of a run lie. A path in a data file begins in the folder of that file. Rows of several files have theirs from
 * the folder of the first one, so that they are the same rows wherever the data lies.
 */
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import type { Row, RowSource } from '../data/row.js';
import { OBJECT } from './objects.js';

/** The folder that the paths of a run's rows begin in: that of its first file; the current one for rows without a file. */
export function folderOfPictures([first]: readonly string[]): string {
  return first === undefined || first === OBJECT || first === '-' ? process.cwd() : dirname(resolve(first));
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
