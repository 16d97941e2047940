/**
 * Parses JSON like `JSON.parse`, but refuses objects that name a key twice: `JSON.parse` keeps the last one in silence,
 * and two readers of one file that keep different ones can be made to disagree.
 *
 * @throws SyntaxError for text that is not JSON, or with a duplicate key. Callers add the file's name.
 */
export function parseStrictJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  refuseDuplicateKeys(text);
  return value;
}

const STRING_OR_BRACKET = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}]/g;

/** Walks over valid JSON: every string followed by a colon is a key of the innermost open object. */
function refuseDuplicateKeys(text: string): void {
  const open: Set<string>[] = [];
  for (const [token, colon] of text.matchAll(STRING_OR_BRACKET)) {
    if (token === '{') {
      open.push(new Set());
    } else if (token === '}') {
      open.pop();
    } else if (colon !== undefined) {
      const key = JSON.parse(token.slice(0, token.length - colon.length)) as string;
      const keys = open[open.length - 1]!;
      if (keys.has(key)) throw new SyntaxError(`the name ${JSON.stringify(key)} occurs twice`);
      keys.add(key);
    }
  }
}

/** True for `{…}`: neither null nor an array. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
