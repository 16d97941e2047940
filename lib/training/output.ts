import type { Ranks } from '../distributed/ranks.js';
import { isFirst, onFirst } from '../distributed/shared-work.js';
import { onFiles } from '../files/file-error.js';
import { MetricsFile, metricsFile } from './metrics.js';
import { OutputLock } from './output-lock.js';
import { requireOutsideModels } from './outside-models.js';
import type { Resumed } from './resume.js';
import { tidyOutput } from './tidy-output.js';
import { tell } from '../options/synchronous.js';

/**
 * Runs something that has an output folder for itself, put in order. Of several ranks the first has it, and gets the lock.
 *
 * @throws GradCacheError `INPUT`
 */
export async function whileLocked<T>(
  output: string,
  ranks: Ranks | null,
  run: (lock: OutputLock | null) => Promise<T>,
): Promise<T> {
  let lock: OutputLock | null = null;
  try {
    await onFirst(ranks, 'locking the output folder', async () => {
      await requireOutsideModels(output);
      lock = await onFiles('INPUT', output, 'locked', () => OutputLock.take(output));
      await tidyOutput(output);
    });
    return await run(lock);
  } finally {
    await (lock as OutputLock | null)?.release();
  }
}

/** Runs something whose events go to the metrics of a folder, and to a listener. Of several ranks the first tells. */
export async function whileTelling<Event extends { readonly type: string }, T>(
  output: string,
  resumed: Resumed | null,
  ranks: Ranks | null,
  onEvent: ((event: Event) => void) | undefined,
  run: (metrics: MetricsFile, emit: (event: Event) => void) => Promise<T>,
): Promise<T> {
  const metrics = new MetricsFile(metricsFile(output), resumed?.checkpoint.state.step ?? 0);
  const emit = (event: Event): void => {
    if (!isFirst(ranks)) return;
    metrics.write(event);
    tell('onEvent', onEvent, event);
  };
  try {
    const result = await run(metrics, emit);
    await onFirst(ranks, 'writing metrics', () => metrics.finish());
    return result;
  } catch (error) {
    await metrics.finish().catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}
