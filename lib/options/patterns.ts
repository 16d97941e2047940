/** What a regular expression must be, where a text is none; undefined: it is one. */
export function patternProblem(pattern: string): string | undefined {
  try {
    new RegExp(pattern);
    return undefined;
  } catch {
    return 'a regular expression that JavaScript reads too';
  }
}

/** A regular expression for these very characters. */
export function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
