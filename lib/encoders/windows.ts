/** Windows that are on the device or wait for it: it has work while the next is read. */
const AT_ONCE = 2;

/** What is done with a run of texts. */
export interface WindowWork<T> {
  /** Reads texts `begin` to `end`, the latter excluded. One window is read at a time. */
  readonly read: (begin: number, end: number) => Promise<T>;
  /** Takes what was read of the texts from `begin` on. */
  readonly work: (window: T, begin: number) => Promise<void>;
}

/**
 * Reads texts window by window, while what was read before is worked on. Windows are about equally large; of no texts
 * there is one.
 *
 * @param size the most texts of a window
 * @throws whatever `read` or `work` throws first, once nothing is under way any more
 */
export async function inWindows<T>(
  count: number,
  size: number,
  { read, work }: WindowWork<T>,
): Promise<void> {
  const even = Math.ceil(count / Math.max(1, Math.ceil(count / size)));
  const working: Promise<void>[] = [];
  try {
    let begin = 0;
    do {
      const window = await read(begin, Math.min(begin + even, count));
      if (working.length === AT_ONCE) await working.shift();
      const started = work(window, begin);
      started.catch(() => undefined); // looked at in order
      working.push(started);
      begin += even;
    } while (begin < count);
    for (const started of working) await started;
  } catch (error) {
    await Promise.allSettled(working);
    throw error;
  }
}

/**
 * Works on pieces in their order, while the next one is read.
 *
 * @throws whatever reading or `work` throws first, once nothing is under way any more
 */
export async function overPieces<T>(
  pieces: AsyncGenerator<T, void, undefined>,
  work: (piece: T) => Promise<void>,
): Promise<void> {
  let working = Promise.resolve();
  try {
    for await (const piece of pieces) {
      await working;
      working = work(piece);
      working.catch(() => undefined); // looked at before the next
    }
    await working;
  } catch (error) {
    await Promise.allSettled([working]);
    throw error;
  }
}
