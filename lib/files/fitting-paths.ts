import { escaped } from '../options/patterns.js';

/** Whether a path has characters that stand for others. */
export function isPattern(path: string): boolean {
  return /[*?[]/.test(path);
}

/** The paths that are a pattern, lie in a folder of its name, or fit it: `*`, `?` and `[a-z]` stop at a slash, `**` does not. */
export function fitting(pattern: string, paths: readonly string[]): string[] {
  const plain = pattern.replace(/^\.\//, '').replace(/\/$/, '');
  if (plain === '') return [...paths];
  if (paths.includes(plain)) return [plain];
  const source = plain
    .split(/(\*\*\/?|\*|\?|\[[^\]]*\])/)
    .map((piece, place) => (place % 2 === 0 ? escaped(piece) : wildcard(piece)))
    .join('');
  const expression = new RegExp(`^${source}(/.*)?$`);
  return paths.filter((path) => expression.test(path));
}

function wildcard(piece: string): string {
  if (piece === '**/') return '(?:.*/)?';
  if (piece === '**') return '.*';
  if (piece === '*') return '[^/]*';
  if (piece === '?') return '[^/]';
  const inside = piece.slice(1, -1).replace(/^!/, '^');
  if (inside === '' || inside === '^' || isBackwards(inside)) return escaped(piece);
  return `(?!/)[${inside.replaceAll(/[\\\]]/g, '\\$&')}]`;
}

/** Whether a range goes from a character to one before it, as in `z-a`, which no regular expression has. */
function isBackwards(inside: string): boolean {
  return Array.from(inside.replace(/^\^/, '').matchAll(/(.)-(.)/gs)).some(([, from, to]) => from! > to!);
}
