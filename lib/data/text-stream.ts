import { throwIfAborted } from '../options/abort.js';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { openSource } from './source.js';

/** Whole records of a text file, as they lay next to each other. */
export interface Region {
  /** UTF-8 decoded; {@link isDecoded} tells of any part whether all its bytes were UTF-8. */
  readonly text: string;
  /** The line on which the region begins, counted from 1. */
  readonly line: number;
}

/**
 * Finds where records end. It is given a file's bytes piece after piece and keeps what it must know between pieces.
 *
 * @returns how many bytes of this piece belong to records that end in it
 */
export type RecordEnds = (piece: Buffer) => number;

/** A record longer than this is taken for a missing line end or quote; it bounds the memory that reading needs. */
export const MAX_RECORD_BYTES = 64 * 1024 * 1024;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf]);

/**
 * Reads a text file or a pipe, unpacked where its name ends in `.gz`, and cuts it into regions of whole records. A byte order
 * mark at its beginning is dropped.
 *
 * @throws GradCacheError `INPUT`, naming the file, where it cannot be read, is not what its name says, or ends in the
 * middle of compressed data; `ABORTED` when the signal fires, also while nothing comes.
 */
export async function* readRegions(
  path: string,
  recordEnds: RecordEnds,
  signal?: AbortSignal,
): AsyncGenerator<Region, void, undefined> {
  yield* cutRegions(await openSource(path, signal), path, recordEnds, signal);
}

/** {@link readRegions} for bytes that are already coming, in pieces of any size. */
export async function* cutRegions(
  bytes: AsyncIterable<Buffer>,
  path: string,
  recordEnds: RecordEnds,
  signal?: AbortSignal,
): AsyncGenerator<Region, void, undefined> {
  let line = 1;
  let rest: Buffer[] = [];
  let restBytes = 0;
  try {
    for await (const piece of withoutMark(bytes, path)) {
      const end = recordEnds(piece);
      if (end > 0) {
        const region = decode(Buffer.concat([...rest, piece.subarray(0, end)]), line);
        yield region;
        line += countLineFeeds(region.text, 0, region.text.length);
        rest = [];
        restBytes = 0;
      }
      if (end < piece.length) {
        rest.push(piece.subarray(end));
        restBytes += piece.length - end;
      }
      if (restBytes > MAX_RECORD_BYTES) {
        throw new GradCacheError(
          'INPUT',
          `${path}, line ${line}: this record is longer than ${MAX_RECORD_BYTES} bytes; is a line end or a closing quote missing?`,
        );
      }
    }
  } catch (error) {
    throwIfAborted(signal); // the error is how the stream says so
    if (error instanceof GradCacheError) throw error;
    const where = line > 1 ? ` after line ${line - 1}` : '';
    throw fileError('INPUT', path, `read${where}`, error);
  }
  if (restBytes > 0) yield decode(Buffer.concat(rest), line);
}

/** Whether a part of a region's text was UTF-8. */
export function isDecoded(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

const strictDecoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes line by line where it must: a byte that is not UTF-8 then stands as half of a surrogate pair, which UTF-8 has not. */
function decode(bytes: Buffer, line: number): Region {
  const whole = decodeStrictly(bytes);
  if (whole !== undefined) return { text: whole, line };
  const lines: string[] = [];
  for (let begin = 0; begin < bytes.length;) {
    const found = bytes.indexOf(LINE_FEED, begin);
    const end = found < 0 ? bytes.length : found + 1;
    const raw = bytes.subarray(begin, end);
    lines.push(decodeStrictly(raw) ?? raw.toString('latin1').replace(/[\x80-\xff]/g, '\udc80'));
    begin = end;
  }
  return { text: lines.join(''), line };
}

function decodeStrictly(bytes: Buffer): string | undefined {
  try {
    return strictDecoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** Passes pieces on, without a byte order mark in front of the first. */
async function* withoutMark(
  bytes: AsyncIterable<Buffer>,
  path: string,
): AsyncGenerator<Buffer, void, undefined> {
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const piece of bytes) {
    if (head === undefined) {
      yield piece;
      continue;
    }
    head = Buffer.concat([head, piece]);
    if (head.length < BYTE_ORDER_MARK.length) continue;
    yield checkedHead(head, path);
    head = undefined;
  }
  if (head !== undefined && head.length > 0) yield checkedHead(head, path);
}

function checkedHead(head: Buffer, path: string): Buffer {
  if (head[0] === 0x1f && head[1] === 0x8b) {
    throw new GradCacheError('INPUT', `${path} is gzip data; its name must end in .gz.`);
  }
  const mark = head.subarray(0, 2).toString('hex');
  if (mark === 'fffe' || mark === 'feff') {
    throw new GradCacheError(
      'INPUT',
      `${path} is UTF-16 text, as its first two bytes say: UTF-8 is needed. Save it as UTF-8, or convert it ` +
        '(iconv -f UTF-16 -t UTF-8).',
    );
  }
  return head.subarray(0, 3).equals(BYTE_ORDER_MARK) ? head.subarray(3) : head;
}

/** Counts the line feeds in a part of a text. */
export function countLineFeeds(text: string, begin: number, end: number): number {
  let count = 0;
  for (let at = text.indexOf('\n', begin); at >= 0 && at < end; at = text.indexOf('\n', at + 1)) count++;
  return count;
}

/** Records that end with a line feed. */
export const lineEnds: RecordEnds = (piece) => piece.lastIndexOf(LINE_FEED) + 1;

/** Lines that end with a line feed, a carriage return or both. */
export const anyLineEnd: RecordEnds = (piece) => {
  // Whether a line feed follows the last byte is not known yet.
  const carriageReturn = piece.length > 1 ? piece.lastIndexOf(CARRIAGE_RETURN, piece.length - 2) : -1;
  return Math.max(piece.lastIndexOf(LINE_FEED), carriageReturn) + 1;
};
