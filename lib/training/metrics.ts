import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '../files/replace-file.js';
import { fileError, ifAbsent, onFiles } from '../files/file-error.js';
import { isJsonObject } from '../files/strict-json.js';
import type { TrainEvent } from './events.js';

/** Where a run writes its events. */
export function metricsFile(output: string): string {
  return join(output, 'metrics.jsonl');
}

/**
 * The events that the metrics of a run tell of, in order; none where there are no metrics. Half a line, which a killed run
 * leaves, is none, and neither is what is no object.
 */
export async function eventsOf(output: string): Promise<TrainEvent[]> {
  const path = metricsFile(output);
  const text = await onFiles('INPUT', path, 'read', () => readFile(path, 'utf8').catch(ifAbsent('')));
  return text.split('\n').flatMap((line) => {
    try {
      const event: unknown = JSON.parse(line);
      return isJsonObject(event) ? [event as unknown as TrainEvent] : [];
    } catch {
      return [];
    }
  });
}

/**
 * Writes the events of a run to metrics.jsonl, one object a line, as they come. Chunks and the rows
 * that are counted are left out: they are for progress displays. So are the hardest texts, which hardest.json has.
 */
export class MetricsFile {
  #written: Promise<void> = Promise.resolve();
  #error: Error | null = null;
  /** Lines that came before the file was opened. */
  #early: string[] | null = [];

  /** @param step updates made before: lines of later ones, which will be made again, are dropped from the file */
  constructor(
    readonly path: string,
    readonly step: number,
  ) {}

  /** Makes the file, or takes up that of the run before. Until then nothing is written: a run that is refused leaves all as it was. */
  async open(): Promise<void> {
    if (this.#early === null) return;
    const opened = this.#begin(this.#early);
    this.#early = null;
    this.#written = opened.catch(() => undefined); // later lines come after
    await opened;
  }

  async #begin(early: readonly string[]): Promise<void> {
    const before = await onFiles('INPUT', this.path, 'read', () =>
      readFile(this.path, 'utf8').catch(ifAbsent('')),
    );
    const kept = this.step === 0 ? [] : before.split('\n').filter((line) => stepOf(line) <= this.step);
    await replaceFile(this.path, async (file) => {
      await file.writeFile([...kept.map((line) => line + '\n'), ...early].join(''));
    });
  }

  /**
   * Queues one line; lines are written in order.
   *
   * @throws the error of an earlier line that could not be written
   */
  write<Event extends { readonly type: string }>(event: Event): void {
    if (this.#error !== null) throw this.#error;
    if (event.type === 'chunk' || event.type === 'reading') return;
    const { hardest: _, ...told } = event as Event & { readonly hardest?: unknown };
    const line = JSON.stringify({ ...told, time: new Date().toISOString() }) + '\n';
    if (this.#early !== null) {
      this.#early.push(line);
      return;
    }
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
