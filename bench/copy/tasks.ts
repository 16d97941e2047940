import type { Random } from '../../lib/data/random.js';
import type { Segment } from '../../lib/index.js';

/** Symbols to copy; behind them in the vocabulary the blank, the end of what is read, and the numbers of repeats. */
export const SYMBOLS = 4;
const BLANK = SYMBOLS;
const END = SYMBOLS + 1;
const MOST_REPEATS = 64;
export const VOCABULARY = SYMBOLS + 2 + MOST_REPEATS;

export type TaskName = 'copy' | 'repeat-copy';

/** How hard an episode is. */
export interface Level {
  readonly symbols: number;
  readonly repeats: number;
}

export const FIRST_LEVEL: Level = { symbols: 1, repeats: 1 };

/** The next level: one symbol more. Repeat Copy gets one symbol and one repeat more in turn. */
export function harder(task: TaskName, { symbols, repeats }: Level): Level {
  if (task === 'copy' || (symbols <= repeats && symbols < 64)) return { symbols: symbols + 1, repeats };
  return { symbols, repeats: Math.min(repeats + 1, MOST_REPEATS) };
}

/** Time steps of an episode. */
export function stepsOf({ symbols, repeats }: Level): number {
  return symbols + 1 + symbols * repeats;
}

/**
 * A batch of episodes, cut into segments of `length` tokens: symbols are read, then an end (which says how often in Repeat
 * Copy), then blanks, while the symbols are to be written once or several times.
 */
export function episode(
  task: TaskName,
  level: Level,
  rows: number,
  length: number,
  random: Random,
): Segment[] {
  const steps = stepsOf(level);
  const inputs = new Int32Array(rows * steps).fill(BLANK);
  const targets = new Int32Array(rows * steps).fill(-1);
  for (let row = 0; row < rows; row++) {
    const at = row * steps;
    for (let place = 0; place < level.symbols; place++) inputs[at + place] = random.below(SYMBOLS);
    inputs[at + level.symbols] = task === 'copy' ? END : END + level.repeats;
    for (let place = 0; place < level.symbols * level.repeats; place++)
      targets[at + level.symbols + 1 + place] = inputs[at + (place % level.symbols)]!;
  }
  const starts = Array.from({ length: Math.ceil(steps / length) }, (_, index) => index * length);
  return starts.map((start) => {
    const size = Math.min(length, steps - start);
    const part = (tokens: Int32Array) => {
      const cut = new Int32Array(rows * size);
      for (let row = 0; row < rows; row++)
        cut.set(tokens.subarray(row * steps + start, row * steps + start + size), row * size);
      return cut;
    };
    const last = start + size === steps;
    const ends = last ? Array.from({ length: rows }, (_, row) => row) : [];
    return { rows, inputs: part(inputs), targets: part(targets), ends };
  });
}
