/*
 * A column of lists of texts: each row has the JSON of its list there, so that a row is texts by column, as any other.
 */

/** The list of texts in a value of a file, or in the JSON of one, as JSON. Undefined for what is none. Null can be an empty one. */
export function listText(value: unknown, mayBeEmpty = false): string | undefined {
  const list = typeof value === 'string' ? parsed(value) : mayBeEmpty && value === null ? [] : value;
  const good =
    Array.isArray(list) &&
    (list.length > 0 || mayBeEmpty) &&
    list.every((text) => typeof text === 'string' && text.trim() !== '');
  return good ? JSON.stringify(list) : undefined;
}

/** The texts of a list in a row. */
export function textsIn(list: string): readonly string[] {
  return JSON.parse(list) as readonly string[];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
