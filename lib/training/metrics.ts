import { appendFile, readFile } from 'node:fs/promises';
import { replaceFile } from '../encoders/replace-file.js';
import { fileError } from '../file-error.js';
import type { TrainEvent } from './events.js';

/**
 * Writes the events of a run to metrics.jsonl, one object a line, as they come. Chunks are left out: they are for
 * progress displays.
 */
export class MetricsFile {
  #written: Promise<void> = Promise.resolve();
  #error: Error | null = null;

  private constructor(readonly path: string) {}

  /** Opens the file; when a run is resumed, lines of steps after `step`, which will be made again, are dropped. */
  static async open(path: string, step: number): Promise<MetricsFile> {
    const before = await readFile(path, 'utf8').catch(() => '');
    const kept = step === 0 ? [] : before.split('\n').filter((line) => stepOf(line) <= step);
    await replaceFile(path, async (file) => {
      await file.writeFile(kept.map((line) => line + '\n').join(''));
    });
    return new MetricsFile(path);
  }

  /**
   * Queues one line; lines are written in order.
   *
   * @throws the error of an earlier line that could not be written
   */
  write(event: TrainEvent): void {
    if (this.#error !== null) throw this.#error;
    if (event.type === 'chunk') return;
    const line = JSON.stringify({ ...event, time: new Date().toISOString() }) + '\n';
    this.#written = this.#written
      .then(() => appendFile(this.path, line))
      .catch((error: unknown) => {
        this.#error ??= fileError('INPUT', this.path, 'written', error);
      });
  }

  /** Resolves when all lines are written. @throws the error of a line that could not be */
  async finish(): Promise<void> {
    await this.#written;
    if (this.#error !== null) throw this.#error;
  }
}

/** The step of a line; NaN, which is at most nothing, for half a line. */
function stepOf(line: string): number {
  try {
    const event = JSON.parse(line) as { step?: number; done?: number };
    return event.step ?? event.done ?? NaN;
  } catch {
    return NaN;
  }
}
