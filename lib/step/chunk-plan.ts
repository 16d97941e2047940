import { types } from 'node:util';
import { refused } from '../options/option-values.js';

/** A number of rows or of tokens. */
export type FixedChunkSize =
  | {
      /** Rows of a chunk. */
      readonly sequences: number;
    }
  | {
      /** Tokens of a chunk. */
      readonly tokens: number;
    };

/** How much is encoded at once: a number of rows, a number of tokens, or `'auto'`. */
export type ChunkSize = FixedChunkSize | 'auto';

/** The rows of one chunk and the sum of their lengths. */
export interface PlannedChunk {
  /** Numbers of the rows, longest first. */
  readonly rows: Int32Array;
  /** The sum of their lengths. */
  readonly tokens: number;
}

/**
 * Cuts a batch into chunks, longest rows first: the rows of a chunk have similar lengths, and a chunk that does not fit
 * into memory fails early. The order is free, since representations go back to their rows' places before the loss.
 *
 * With `sequences`, each chunk but the last has that many rows. With `tokens`, a chunk's lengths add up to at most that
 * number, and the chunks share the tokens evenly; a longer row is a chunk by itself.
 *
 * @throws GradCacheError `INPUT` for a size or a length that is not a positive integer
 * @example
 * ```ts
 * const chunks = planChunks(Int32Array.from([12, 3, 40, 7]), { tokens: 48 }); // rows by length, 48 tokens in each
 * ```
 */
export function planChunks(lengths: Int32Array, size: FixedChunkSize): PlannedChunk[] {
  if (!types.isInt32Array(lengths) || lengths.some((length) => length < 0))
    throw refused('the lengths', lengths, 'an Int32Array of numbers from 0');
  const limit = requireChunkSize(size);
  const order = longestFirst(lengths);
  const chunks: PlannedChunk[] = [];
  let begin = 0;
  let tokens = 0;
  let used = 0;
  let left = lengths.reduce((sum, length) => sum + length, 0);
  // The rest is shared evenly among as few chunks as the size allows, so that no chunk is tiny.
  const share = (): number => ('tokens' in size ? left / Math.ceil(left / limit) : Infinity);
  let fair = share();
  const close = (end: number): void => {
    if (end > begin) chunks.push({ rows: order.slice(begin, end), tokens });
    begin = end;
    left -= tokens;
    fair = share();
    tokens = 0;
    used = 0;
  };
  for (let k = 0; k < order.length; k++) {
    const length = lengths[order[k] ?? 0] ?? 0;
    const cost = 'tokens' in size ? length : 1;
    if (used + cost > limit || (tokens >= fair && left > tokens)) close(k);
    used += cost;
    tokens += length;
  }
  close(order.length);
  return chunks;
}

/** The number in a chunk size. @throws GradCacheError `INPUT` when there is none, or it is not a positive integer */
export function requireChunkSize(size: unknown): number {
  if (isChunkSize(size)) return 'tokens' in size ? size.tokens : size.sequences;
  throw refused('chunk', size, "'auto', { sequences } or { tokens } of at least 1");
}

export function isChunkSize(size: unknown): size is FixedChunkSize {
  const { tokens, sequences } = (size ?? {}) as { tokens?: unknown; sequences?: unknown };
  const limit = tokens === undefined ? sequences : tokens;
  return Number.isSafeInteger(limit) && (limit as number) >= 1 && Object.keys(size as object).length === 1;
}

/** With rows longer than this, the counts of a counting sort would need more memory than the rows. */
const LONGEST_COUNTED = 2 ** 20;

/** Row numbers by falling length; rows of equal length keep their order. A counting sort, unless a length is huge. */
function longestFirst(lengths: Int32Array): Int32Array {
  let longest = 0;
  for (const length of lengths) longest = Math.max(longest, length);
  if (longest > LONGEST_COUNTED)
    return Int32Array.from(lengths, (_, row) => row).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const begins = new Int32Array(longest + 2);
  for (const length of lengths) begins[longest - length + 1]!++;
  for (let k = 1; k < begins.length; k++) begins[k]! += begins[k - 1]!;
  const order = new Int32Array(lengths.length);
  for (let row = 0; row < lengths.length; row++) order[begins[longest - lengths[row]!]!++] = row;
  return order;
}
