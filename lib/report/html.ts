/** HTML that may stand in a page as it is. Only {@link html} makes it. */
export class Html {
  constructor(readonly text: string) {}
}

/** What can be put into HTML: text is escaped, lists are joined, and what is null, undefined or false leaves nothing. */
export type Part = Html | string | number | null | undefined | false | readonly Part[];

/** A template whose values are escaped, in elements and in quoted attributes. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.reduce((text, string, place) => text + written(parts[place - 1]) + string));
}

/** Text of this package that goes into a page as it is: a style or a script. */
export function asIs(text: string): Html {
  return new Html(text);
}

/** A value as JSON that can stand in a script element: nothing in it can end the element. */
export function jsonIn(value: unknown): Html {
  return new Html(JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, codeOf));
}

function codeOf(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function written(part: Part): string {
  if (part === null || part === undefined || part === false) return '';
  if (typeof part === 'string') return escaped(part);
  if (typeof part === 'number') return String(part);
  return part instanceof Html ? part.text : part.map(written).join('');
}

/** Text with references for what has a meaning in HTML. A NUL is no character of HTML. */
function escaped(text: string): string {
  return text.replace(/[&<>"'\0]/g, (character) =>
    character === '\0' ? '\ufffd' : `&#${character.charCodeAt(0)};`,
  );
}
