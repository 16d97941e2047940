import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** Peak memory of one step, measured. */
export interface MemoryPoint {
  readonly batch: number;
  /** Bytes: resident size of a process that did nothing else. */
  readonly cached: number;
  /** The same with the whole batch in the encoder at once; null where that was not measured. */
  readonly whole: number | null;
}

const PROBE = fileURLToPath(new URL('./memory-probe.js', import.meta.url));

/**
 * Measures how the peak of a step's memory grows with the batch at a fixed chunk, and without chunks.
 *
 * @param sizes batch sizes
 * @param chunk sequences in a chunk
 * @param wholeUpTo the largest batch that is also tried without chunks
 */
export async function measureMemory(
  sizes: readonly number[],
  chunk: number,
  wholeUpTo: number,
  onPoint: (point: MemoryPoint) => void,
): Promise<MemoryPoint[]> {
  const points: MemoryPoint[] = [];
  for (const batch of sizes) {
    const cached = await peakOf(batch, chunk);
    const point = { batch, cached, whole: batch <= wholeUpTo ? await peakOf(batch, 0) : null };
    points.push(point);
    onPoint(point);
  }
  return points;
}

/** One process a point: memory that an allocator keeps from an earlier step would count for a later one. */
async function peakOf(batch: number, chunk: number): Promise<number> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    PROBE,
    String(batch),
    String(chunk),
  ]);
  return Number(stdout);
}
