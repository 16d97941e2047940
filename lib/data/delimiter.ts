/** What a delimiter must be, where a text is none; undefined: it is one. */
export function delimiterProblem(delimiter: unknown): string | undefined {
  const good = typeof delimiter === 'string' && delimiter !== '' && !/["\n\r]/.test(delimiter);
  return good ? undefined : 'one or more characters, none of which is a quote or ends a line,';
}

/** A delimiter as it is typed in a shell: `\\t` stands for a tab. */
export function typedDelimiter(typed: string): string {
  return typed.replaceAll('\\t', '\t');
}
