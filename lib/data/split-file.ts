import { setImmediate } from 'node:timers/promises';
import type { Fields, RecordSplitter } from './record-splitter.js';
import { anyLineEnd, readRegions } from './text-stream.js';

/**
 * The records of a file of separated values, in blocks of bounded length. The event loop turns between two blocks, also
 * where many are there at once because a quote before them was never closed.
 *
 * @param pass asked before each part of the file; where it is true, lines without a quote are counted and passed over
 */
export async function* splitFile(
  path: string,
  splitter: RecordSplitter,
  signal: AbortSignal | undefined,
  pass: () => boolean = () => false,
): AsyncGenerator<readonly Fields[], void, undefined> {
  for await (const { text } of readRegions(path, anyLineEnd, signal))
    if (!pass() || !splitter.passOver(text)) yield* inTurns(splitter.push(text));
  yield* inTurns(splitter.end());
}

async function* inTurns<T>(blocks: Iterable<T>): AsyncGenerator<T, void, undefined> {
  let first = true;
  for (const block of blocks) {
    if (!first) await setImmediate();
    first = false;
    yield block;
  }
}
