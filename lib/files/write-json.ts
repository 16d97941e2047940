import { replaceFile } from './replace-file.js';

/**
 * Writes a JSON file whole: as {@link replaceFile}.
 *
 * @param floats matches the keys whose numbers keep a decimal point, for readers that take `2.0` and refuse `2`
 */
export async function writeJson(path: string, value: unknown, floats?: RegExp): Promise<void> {
  const text = JSON.stringify(value, null, 2);
  const written = floats === undefined ? text : withPoints(text, floats);
  await replaceFile(path, (file) => file.writeFile(`${written}\n`));
}

/** A line of indented JSON has at most one key, and a line break is never inside a string. */
const withPoints = (text: string, floats: RegExp): string =>
  text.replace(/^( *"([^"\\]+)": -?\d+)(?=,?$)/gm, (line: string, _: string, key: string) =>
    floats.test(key) ? `${line}.0` : line,
  );
