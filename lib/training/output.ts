import { onFiles } from '../files/file-error.js';
import { MetricsFile, metricsFile } from './metrics.js';
import { OutputLock } from './output-lock.js';
import { requireOutsideModels } from './outside-models.js';
import type { Resumed } from './resume.js';
import { tidyOutput } from './tidy-output.js';

/** Runs something that has an output folder for itself, put in order. @throws GradCacheError `INPUT` */
export async function whileLocked<T>(output: string, run: (lock: OutputLock) => Promise<T>): Promise<T> {
  await requireOutsideModels(output);
  const lock = await onFiles('INPUT', output, 'locked', () => OutputLock.take(output));
  try {
    await tidyOutput(output);
    return await run(lock);
  } finally {
    await lock.release();
  }
}

/** Runs something whose events go to the metrics of a folder, and to a listener. */
export async function whileTelling<Event extends { readonly type: string }, T>(
  output: string,
  resumed: Resumed | null,
  onEvent: ((event: Event) => void) | undefined,
  run: (metrics: MetricsFile, emit: (event: Event) => void) => Promise<T>,
): Promise<T> {
  const metrics = new MetricsFile(metricsFile(output), resumed?.checkpoint.state.step ?? 0);
  const emit = (event: Event): void => {
    metrics.write(event);
    onEvent?.(event);
  };
  try {
    const result = await run(metrics, emit);
    await metrics.finish();
    return result;
  } catch (error) {
    await metrics.finish().catch(() => undefined); // the first error is the one to tell
    throw error;
  }
}
