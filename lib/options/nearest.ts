/**
 * The name that a mistyped one was probably meant to be, for messages that say `did you mean …?`.
 *
 * @returns undefined where none is near
 */
export function nearest(given: string, known: Iterable<string>): string | undefined {
  const typed = plain(given);
  let best: string | undefined;
  let least = Infinity;
  for (const name of known) {
    const distance = distanceOf(plain(name), typed);
    if (distance < least) [best, least] = [name, distance];
  }
  return least <= 1 + Math.floor(typed.length / 8) ? best : undefined;
}

/** The end of a message that refuses a name: the one that was probably meant, behind a blank. Empty where none is near. */
export function didYouMean(given: unknown, known: Iterable<string>): string {
  const near = typeof given === 'string' ? nearest(given, known) : undefined;
  return near === undefined ? '' : ` Did you mean ${near}?`;
}

/** Case and dashes are no difference. */
function plain(name: string): string {
  return name.toLowerCase().replace(/[-_]/g, '');
}

/** Letters to add, take away, change, or swap with their neighbour; a beginning of three letters or more counts as one. */
function distanceOf(a: string, b: string): number {
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  const edits = editsBetween(a, b);
  return short.length >= 3 && long.startsWith(short) ? Math.min(edits, 1) : edits;
}

function editsBetween(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row[j] = Math.min(changed, last[j]! + 1, row[j - 1]! + 1, swapped ? beforeLast[j - 2]! + 1 : Infinity);
    }
    [beforeLast, last] = [last, row];
  }
  return last[b.length]!;
}
