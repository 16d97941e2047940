import { open, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { writeAll } from '../../files/file-handle.js';
import { onFiles } from '../../files/file-error.js';
import { makeFolders } from '../../files/make-folders.js';
import { isJsonObject } from '../../files/strict-json.js';
import { numberOf, STEP_QUANTITIES } from '../run-record.js';
import { flatSettings } from '../sections/settings.js';
import { eventRecord, type EventContent } from './event-records.js';

/** Events wait at most so long for being written. */
const SECONDS_BETWEEN_WRITES = 2;

/**
 * The events of a run as a file that TensorBoard reads: `train/loss`, `train/lr` and so on of each step, `eval/NAME` of each
 * evaluation, and the settings as text. A run that is resumed writes a further file, which takes back what it makes again.
 */
export class EventFile {
  readonly path: string;
  #file: FileHandle | undefined;
  #waiting: Buffer[] = [];
  #written: Promise<void> = Promise.resolve();
  #error: Error | null = null;
  #wroteAt = 0;

  /** @param folder where the file is made with the first event; it is made as well */
  constructor(readonly folder: string) {
    const begun = Math.floor(Date.now() / 1000);
    this.path = join(folder, `events.out.tfevents.${begun}.${hostname()}.${process.pid}`);
  }

  /** Takes an event of the run. @throws the error of an earlier event that could not be written */
  add(event: { readonly type: string }): void {
    if (this.#error !== null) throw this.#error;
    const now = Date.now();
    const { type, ...facts } = event as Readonly<Record<string, unknown>>;
    if (type === 'start') this.#begin(now, facts);
    else if (type === 'step') this.#addScalars(now, facts.step, 'train', facts, STEP_QUANTITIES);
    else if (type === 'evaluation' && isJsonObject(facts.scores))
      this.#addScalars(now, facts.step, 'eval', facts.scores, Object.keys(facts.scores));
    if (now - this.#wroteAt >= 1000 * SECONDS_BETWEEN_WRITES) this.#write(now);
  }

  /** Resolves when everything is written. @throws GradCacheError `INPUT` where something could not be */
  async close(): Promise<void> {
    this.#write(Date.now());
    await this.#written;
    await this.#file?.close();
    if (this.#error !== null) throw this.#error;
  }

  #begin(now: number, { done, settings }: Readonly<Record<string, unknown>>): void {
    this.#add(now, 0, { version: true });
    const before = numberOf(done) ?? 0;
    if (before > 0) this.#add(now, before + 1, { restart: true });
    if (!isJsonObject(settings)) return;
    const cell = (text: string): string => text.replace(/[|\\]/g, '\\$&').replace(/\s+/g, ' ');
    const rows = flatSettings(settings).map(([name, value]) => `| ${cell(name)} | ${cell(value)} |`);
    this.#add(now, before, {
      texts: { settings: ['| setting | value |', '| --- | --- |', ...rows].join('\n') },
    });
  }

  #addScalars(
    now: number,
    given: unknown,
    group: string,
    facts: Readonly<Record<string, unknown>>,
    names: readonly string[],
  ): void {
    const step = numberOf(given);
    const scalars = names.flatMap((name) => {
      const value = numberOf(facts[name]);
      return value === undefined ? [] : [[`${group}/${name}`, value] as const];
    });
    if (step !== undefined && scalars.length > 0)
      this.#add(now, step, { scalars: Object.fromEntries(scalars) });
  }

  #add(now: number, step: number, content: EventContent): void {
    this.#waiting.push(eventRecord(now / 1000, step, content));
  }

  #write(now: number): void {
    if (this.#waiting.length === 0) return;
    const content = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#wroteAt = now;
    this.#written = this.#written
      .then(() => onFiles('INPUT', this.path, 'written', async () => writeAll(await this.#opened(), content)))
      .catch((error: unknown) => {
        this.#error ??= error as Error;
      });
  }

  async #opened(): Promise<FileHandle> {
    if (this.#file === undefined) {
      await makeFolders(this.folder);
      this.#file = await open(this.path, 'a');
    }
    return this.#file;
  }
}
