import { guardedAsync, type GroupHandle } from '../addon/native.js';
import { ERROR_CODES, GradCacheError, type ErrorCode } from '../errors.js';
import { reasonOf } from '../options/realms.js';

/** How a rank stands at a meeting. */
export const STANDING = {
  /** It is not done yet: the others know that it lives, and all meet again. */
  working: 0,
  fine: 1,
  /** Memory ran out, and it can try again if all do. */
  full: 2,
  failed: 3,
  /** It ended its work because another did. */
  stopped: 4,
} as const;
export type Standing = (typeof STANDING)[keyof typeof STANDING];

/** What a rank brings to a meeting. */
export interface Words {
  /** What it meets for. Ranks that meet for different things have lost each other, and all throw. */
  readonly what: string;
  readonly standing: Standing;
  readonly numbers?: readonly number[];
  readonly bytes?: Uint8Array | undefined;
}

/** What every rank brought, in the order of ranks. */
export interface Heard {
  readonly standings: readonly Standing[];
  /** None where a rank is not done yet, and so of bytes. */
  readonly numbers: readonly (readonly number[])[];
  readonly bytes: readonly Uint8Array[];
}

/*
 * The first numbers of a meeting are as many on every rank, whatever it meets for, so that ranks that have lost each other
 * find out. native/binding/rank_share.cc takes part in meetings while a loss is computed, and knows the first three. Gloo ends
 * the process where ranks exchange different amounts, so no exchange follows a meeting that some rank does not take for the last.
 */
const [WHAT, STANDS, EXCHANGES, COUNT, BYTES, HEAD] = [0, 1, 2, 3, 4, 5];
const LENGTH = 16;

/** Exchanges what each rank brings. @throws GradCacheError `DISTRIBUTED` */
export async function meet(group: GroupHandle, words: Words): Promise<Heard> {
  const { what, standing, numbers = [], bytes = new Uint8Array() } = words;
  const head = new Float64Array(LENGTH);
  [head[WHAT], head[STANDS], head[COUNT], head[BYTES]] = [
    meetingOf(what),
    standing,
    numbers.length,
    bytes.length,
  ];
  if (numbers.length <= LENGTH - HEAD) head.set(numbers, HEAD);
  const heads = await exchange(group, head, what);
  const standings = heads.map((each) => each[STANDS] as Standing);
  if (heads.some((each) => each[WHAT] !== head[WHAT])) throw await lostEachOther(group, words);
  // A rank that is not done does not wait for more.
  if (standings.includes(STANDING.working)) return { standings, numbers: [], bytes: [] };
  const counts = heads.map((each) => each[COUNT]!);
  const long = Math.max(...counts) > LENGTH - HEAD;
  const rows = long
    ? await exchange(group, padded(numbers, Math.max(...counts)), what)
    : heads.map((each) => each.subarray(HEAD));
  const sizes = heads.map((each) => each[BYTES]!);
  return {
    standings,
    numbers: rows.map((row, rank) => Array.from(row.subarray(0, counts[rank]))),
    bytes: await exchangeBytes(group, bytes, sizes, what),
  };
}

/**
 * Meets the others while a loss is computed, until all ranks have come so far. An exchange of tensors may follow. Native code
 * meets in the same way (native/binding/rank_share.cc).
 *
 * @param what what the ranks meet for when the loss is computed
 * @param own as many numbers on each rank, at most eight
 * @returns the numbers of each rank
 * @throws GradCacheError `DISTRIBUTED` if a rank does not go on with the loss
 */
export async function meetInLoss(
  group: GroupHandle,
  what: string,
  own: readonly number[] = [],
): Promise<number[][]> {
  const head = new Float64Array(LENGTH);
  [head[WHAT], head[STANDS], head[EXCHANGES]] = [meetingOf(what), STANDING.working, 1];
  head.set(own, HEAD);
  for (;;) {
    const heads = await exchange(group, head, what);
    const other = heads.findIndex((each) => each[WHAT] !== head[WHAT] || each[STANDS] !== STANDING.working);
    if (other >= 0) throw new GradCacheError('DISTRIBUTED', `rank ${other} ${STOPPED}`);
    // One that only says that it works comes later.
    if (heads.every((each) => each[EXCHANGES] === 1))
      return heads.map((each) => Array.from(each.subarray(HEAD, HEAD + own.length)));
  }
}

const STOPPED = 'stopped while the loss was computed';

/** Whether a loss was ended because another rank did not go on with it, here or in native code (native/binding/rank_share.cc). */
export function isStopped(error: unknown): boolean {
  if (!(error instanceof GradCacheError) || error.code !== 'DISTRIBUTED') return false;
  return error.message.endsWith(STOPPED);
}

/** An error as other ranks are told it. */
export function describeError(error: unknown): Uint8Array {
  const { code } = (error ?? {}) as { code?: unknown };
  const known = error instanceof GradCacheError ? (code as ErrorCode) : null;
  return new TextEncoder().encode(JSON.stringify({ code: known, message: reasonOf(error) }));
}

/** The error of another rank, with its own code. */
export function errorOfRank(rank: number, bytes: Uint8Array): GradCacheError {
  const { code, message } = readError(bytes);
  const known = ERROR_CODES.includes(code as ErrorCode) ? (code as ErrorCode) : 'DISTRIBUTED';
  return new GradCacheError(known, `rank ${rank}: ${message}`);
}

/** Reads what {@link describeError} wrote. */
function readError(bytes: Uint8Array): { code: unknown; message: string } {
  return JSON.parse(new TextDecoder().decode(bytes)) as { code: unknown; message: string };
}

async function lostEachOther(group: GroupHandle, { what, standing, bytes }: Words): Promise<GradCacheError> {
  const failed = standing === STANDING.failed && bytes !== undefined;
  const own = new TextEncoder().encode(failed ? `${what}: ${readError(bytes).message}` : what);
  const sizes = (await exchange(group, Float64Array.of(own.length), what)).map(([size]) => size!);
  const all = await exchangeBytes(group, own, sizes, what);
  const places = all.map((each, rank) => `rank ${rank}: ${new TextDecoder().decode(each)}`);
  return new GradCacheError(
    'DISTRIBUTED',
    `the ranks are not at the same place, ${places.join('; ')}. Every rank must make the same calls in the same order, with ` +
      'as many steps',
  );
}

async function exchange(group: GroupHandle, own: Float64Array, what: string): Promise<Float64Array[]> {
  const all = await guardedAsync(() => group.meet(own, what));
  return Array.from({ length: all.length / own.length }, (_, rank) =>
    all.subarray(rank * own.length, (rank + 1) * own.length),
  );
}

/** Bytes travel as the numbers that have the same bits. */
async function exchangeBytes(
  group: GroupHandle,
  own: Uint8Array,
  sizes: readonly number[],
  what: string,
): Promise<Uint8Array[]> {
  const most = Math.max(...sizes);
  if (most === 0) return sizes.map(() => new Uint8Array());
  const numbers = new Float64Array(Math.ceil(most / 8));
  new Uint8Array(numbers.buffer).set(own);
  const all = await exchange(group, numbers, what);
  return all.map((each, rank) => new Uint8Array(each.buffer, each.byteOffset, sizes[rank]));
}

function padded(numbers: readonly number[], length: number): Float64Array {
  const all = new Float64Array(length);
  all.set(numbers);
  return all;
}

/** The number of what ranks meet for: FNV-1a, 32 bits. */
export function meetingOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let k = 0; k < text.length; k++) hash = Math.imul(hash ^ text.charCodeAt(k), 0x01000193) >>> 0;
  return hash;
}
