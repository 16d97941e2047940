import { replaceFile } from './replace-file.js';

/** Writes a JSON file whole: as {@link replaceFile}. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await replaceFile(path, (file) => file.writeFile(`${JSON.stringify(value, null, 2)}\n`));
}
