/**
 * The name that a mistyped one was probably meant to be, for messages that say `did you mean …?`.
 *
 * @returns undefined where none is near
 */
export function nearest(given: string, known: Iterable<string>): string | undefined {
  const typed = plain(given);
  const most = 1 + Math.floor(typed.length / 8);
  let best: string | undefined;
  let least = Infinity;
  for (const name of known) {
    const other = plain(name);
    const edits = editsBetween(other, typed);
    if (edits >= least || (edits > most && !begins(other, typed))) continue;
    [best, least] = [name, edits];
  }
  return best;
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

/** Whether one of them, of three letters or more, is the beginning of the other: however much is missing, it is near. */
function begins(a: string, b: string): boolean {
  const [short, long] = a.length < b.length ? [a, b] : [b, a];
  return short.length >= 3 && long.startsWith(short);
}

/** Letters to add, take away, change, or swap with their neighbour. */
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
