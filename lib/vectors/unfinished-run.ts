import { chmod, type FileHandle, mkdir, open, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { GradCacheError } from '../errors.js';
import { isThere, onCode, onFiles } from '../files/file-error.js';
import { flush, flushFolder, moveOver, readInto, writeAll } from '../files/file-handle.js';
import { readJsonFile } from '../files/json-file.js';
import { LockFile } from '../files/lock-file.js';
import { isJsonObject } from '../files/strict-json.js';
import { writeJson } from '../files/write-json.js';
import { show } from '../options/option-values.js';
import { plural } from '../options/plural.js';
import type { OutputPlace } from '../files/output-place.js';

/** What a run writes, beside the output that they will be: files in its folder. */
const PARTS = { vectors: '', kept: '.rows.jsonl', ranges: '.ranges.npy' } as const;

/** One of the files that a run writes. */
export type Part = keyof typeof PARTS;

const STATE = 'state.json';

/** What is stored of a run that can be gone on with. */
interface State {
  readonly version: 1;
  /** Rows that are written. */
  readonly rows: number;
  /** Bytes of each file that belong to them. */
  readonly bytes: Readonly<Record<'vectors' | 'kept', number>>;
  /** Numbers of a representation; 0 before the first row. */
  readonly dimension: number;
  /** Of the texts of these rows: see `digest` of {@link UnfinishedRun.append}. */
  readonly digest: string;
  /** Those that decide what is written, by flag. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Everything is written; what is missing is to put the files into their places. */
  readonly finished: boolean;
}

type OpenFiles = Readonly<Record<'vectors' | 'kept', FileHandle>>;

/** How a run is opened. */
export interface RunSettings {
  /** The output as the user calls it. */
  readonly path: string;
  readonly place: OutputPlace & { readonly kind: 'file' };
  readonly settings: State['settings'];
  /** Whether to go on with a run that is there; undefined: one that is there is refused. */
  readonly resume: boolean | undefined;
  /** The files that the run has beside that of vectors. */
  readonly parts: readonly Part[];
  /** Bytes that are left free at the beginning of the file of vectors. */
  readonly begin: number;
  /** Seconds between two times at which the state is stored. */
  readonly saveEvery: number;
}

/**
 * An output that is being written, in a folder beside its place: `OUTPUT.unfinished`. Now and then it is stored how far it is,
 * so that a run that was killed can be gone on with. The files get to their places when they are complete.
 */
export class UnfinishedRun {
  readonly #run: RunSettings;
  readonly #folder: string;
  readonly #lock: LockFile;
  /** None where everything is written. */
  readonly #files: OpenFiles | null;
  #state: State;
  /** Whether a state is stored: then what is written stays, whatever happens. */
  #isStored: boolean;
  #lastStored = performance.now();
  /** What is being written: whoever was told to stop waiting for it may end the run before it is done. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(run: RunSettings, lock: LockFile, files: OpenFiles | null, state: State | undefined) {
    this.#run = run;
    this.#folder = folderOf(run);
    this.#lock = lock;
    this.#files = files;
    this.#isStored = state !== undefined;
    this.#state = state ?? {
      version: 1,
      rows: 0,
      dimension: 0,
      bytes: { vectors: run.begin, kept: 0 },
      digest: '',
      settings: run.settings,
      finished: false,
    };
  }

  /**
   * Opens a run, or goes on with one.
   *
   * @throws GradCacheError `INPUT` where there is one and it is not said what to do with it, or its settings differ, another
   * process is at it, or the system refuses
   */
  static async open(run: RunSettings): Promise<UnfinishedRun> {
    const folder = folderOf(run);
    const lock = await lockIn(folder, run.path);
    const files: FileHandle[] = [];
    try {
      const state = await stateToGoOnFrom(folder, run);
      if (state?.finished) return new UnfinishedRun(run, lock, null, state);
      return await onFiles('INPUT', run.path, 'written', async () => {
        if (state === undefined)
          for (const part of Object.keys(PARTS)) await rm(join(folder, part), { force: true });
        for (const part of ['vectors', 'kept'] as const)
          files.push(await open(join(folder, part), state === undefined ? 'w+' : 'r+'));
        const [vectors, kept] = files as [FileHandle, FileHandle];
        await vectors.truncate(state?.bytes.vectors ?? run.begin);
        await kept.truncate(state?.bytes.kept ?? 0);
        return new UnfinishedRun(run, lock, { vectors, kept }, state);
      });
    } catch (error) {
      for (const file of files) await file.close().catch(() => undefined);
      await lock.release();
      await rmdir(folder).catch(() => undefined); // fails where there is something in it
      throw error;
    }
  }

  /** Rows that are there. */
  get rows(): number {
    return this.#state.rows;
  }

  /** Numbers of their representations. */
  get dimension(): number {
    return this.#state.dimension;
  }

  /** What the texts of these rows were. */
  get digest(): string {
    return this.#state.digest;
  }

  /** Whether everything is there already. */
  get isFinished(): boolean {
    return this.#state.finished;
  }

  /** Bytes of the file of vectors. */
  async read(begin: number, length: number): Promise<Buffer> {
    const bytes = Buffer.alloc(length);
    const read = await readInto(this.#open.vectors, bytes, begin);
    return bytes.subarray(0, read);
  }

  /** Where a file of the run is. */
  pathOf(part: Part): string {
    return join(this.#folder, part);
  }

  get #open(): OpenFiles {
    if (this.#files === null) throw new GradCacheError('INPUT', `${this.#run.path} is written already.`);
    return this.#files;
  }

  /** Writes a file of the run whole. */
  async writePart(part: Part, bytes: Buffer): Promise<void> {
    await onFiles('INPUT', this.#run.path, 'written', async () => {
      const file = await open(join(this.#folder, part), 'w');
      try {
        await file.writeFile(bytes);
        await flush(file);
      } finally {
        await file.close();
      }
    });
  }

  /**
   * Adds rows. Stored is how far it is, if the time has come.
   *
   * @param added how many rows, the numbers of a representation, and a digest of the texts of all rows up to these
   */
  append(
    added: Pick<State, 'rows' | 'dimension' | 'digest'>,
    bytes: Readonly<Record<'vectors' | 'kept', Buffer>>,
  ): Promise<void> {
    return (this.#writing = this.#append(added, bytes));
  }

  async #append(
    added: Pick<State, 'rows' | 'dimension' | 'digest'>,
    bytes: Readonly<Record<'vectors' | 'kept', Buffer>>,
  ): Promise<void> {
    const { bytes: before } = this.#state;
    await onFiles('INPUT', this.#run.path, 'written', async () => {
      for (const part of ['vectors', 'kept'] as const)
        await writeAll(this.#open[part], bytes[part], before[part]);
    });
    const now = {
      vectors: before.vectors + bytes.vectors.length,
      kept: before.kept + bytes.kept.length,
    };
    this.#state = { ...this.#state, ...added, rows: this.rows + added.rows, bytes: now };
    if (performance.now() - this.#lastStored >= 1000 * this.#run.saveEvery) await this.#store();
  }

  async #store(): Promise<void> {
    await onFiles('INPUT', this.#run.path, 'written', async () => {
      for (const file of Object.values(this.#open)) await flush(file);
    });
    await writeJson(join(this.#folder, STATE), this.#state);
    this.#isStored = true;
    this.#lastStored = performance.now();
  }

  /**
   * Puts the files into their places.
   *
   * @param beginning written over the beginning of the file of vectors
   */
  finish(beginning: Buffer): Promise<void> {
    return (this.#writing = this.#finish(beginning));
  }

  async #finish(beginning: Buffer): Promise<void> {
    const { path } = this.#run;
    if (!this.#state.finished) {
      await onFiles('INPUT', path, 'written', async () => {
        await writeAll(this.#open.vectors, beginning, 0);
        for (const file of Object.values(this.#open)) await flush(file);
      });
      this.#state = { ...this.#state, finished: true }; // from here on it is the result, and is never removed
    }
    try {
      if (this.#files !== null) await this.#store();
      await this.#close();
      await this.#putInPlace();
    } catch (error) {
      throw this.#keptBy(error);
    }
    await this.#lock.release();
    await onFiles('INPUT', this.#folder, 'removed', () => rm(this.#folder, { recursive: true, force: true }));
  }

  async #putInPlace(): Promise<void> {
    const { path, place, parts } = this.#run;
    // The vectors come last: where they are, everything is.
    for (const part of ['kept', 'ranges', 'vectors'] as const) {
      const from = join(this.#folder, part);
      if (part !== 'vectors' && !parts.includes(part)) continue;
      if (!(await isThere(from))) continue; // it got there before this run was interrupted
      await onFiles('INPUT', path + PARTS[part], 'written', async () => {
        if (part === 'vectors' && place.mode !== undefined) await chmod(from, place.mode & 0o777);
        await moveOver(from, place.target + PARTS[part]);
      });
    }
    await onFiles('INPUT', path, 'written', () => flushFolder(dirname(place.target)));
  }

  #keptBy(error: unknown): GradCacheError {
    const { code, message } = error as GradCacheError;
    const again = this.#isStored ? ', or run again with --resume' : '';
    const kept = `The complete result is in ${this.#folder}: move it from there${again}.`;
    return new GradCacheError(code, `${message} ${kept}`, { cause: error });
  }

  /**
   * Ends it before it is complete. What is written is removed, unless it can be gone on with.
   *
   * @returns how many rows can be gone on from
   */
  async abandon(): Promise<number> {
    await this.#writing.catch(() => undefined);
    const isResult = this.#state.finished;
    if (this.#isStored && !isResult) await this.#store().catch(() => undefined);
    await this.#close();
    await this.#lock.release();
    // Where this fails, what led here tells more.
    if (!this.#isStored && !isResult)
      await rm(this.#folder, { recursive: true, force: true }).catch(() => undefined);
    return this.#isStored ? this.rows : 0;
  }

  async #close(): Promise<void> {
    for (const file of Object.values(this.#files ?? {})) await file.close().catch(() => undefined);
  }
}

/** What a run would leave beside its output, with what earlier runs may have left. */
export const partsBeside = (target: string): Readonly<Record<Exclude<Part, 'vectors'>, string>> => ({
  kept: target + PARTS.kept,
  ranges: target + PARTS.ranges,
});

const folderOf = ({ place }: RunSettings): string => `${place.target}.unfinished`;

async function lockIn(folder: string, path: string): Promise<LockFile> {
  for (let tries = 0; tries < 100; tries++) {
    // Each time: a run that ends removes the folder. The one above it must be there: a misspelt path makes none.
    await onFiles('INPUT', path, 'written', () => mkdir(folder).catch(onCode(['EEXIST'], undefined)));
    const found = await LockFile.attempt(join(folder, 'lock'));
    if (found === null) continue;
    if (!('holder' in found)) return found;
    const { holder } = found;
    const who = holder === null ? 'another process' : `process ${holder.pid} on ${holder.host}`;
    throw new GradCacheError(
      'INPUT',
      `${path} is being written by ${who}. Wait for its end, or name another file.`,
    );
  }
  throw new GradCacheError('INPUT', `${path} is being written by other processes. Name another file.`);
}

/** The state of the run to go on with, if that is what to do. */
async function stateToGoOnFrom(folder: string, run: RunSettings): Promise<State | undefined> {
  const { path, resume, settings } = run;
  const file = join(folder, STATE);
  const state = await readJsonFile(file);
  if (state === undefined) return undefined;
  if (resume === false) {
    await onFiles('INPUT', file, 'removed', () => rm(file));
    return undefined;
  }
  if (!isState(state))
    throw new GradCacheError(
      'INPUT',
      `${file} is not what a run of this version stores. Begin anew with --no-resume, which removes what it has written.`,
    );
  if (resume === undefined)
    throw new GradCacheError(
      'INPUT',
      `An earlier run into ${path} did not end: ${plural(state.rows, 'vector')} of it ${state.rows === 1 ? 'is' : 'are'} in ${folder}. ` +
        'Go on with it with --resume, or begin anew with --no-resume.',
    );
  for (const name of new Set([...Object.keys(settings), ...Object.keys(state.settings)])) {
    const [now, then] = [settings[name] ?? null, state.settings[name] ?? null];
    if (JSON.stringify(now) !== JSON.stringify(then))
      throw new GradCacheError(
        'INPUT',
        `--${name} is ${shown(now)}, and the run to go on with has ${shown(then)}. Give the same, or begin anew with --no-resume.`,
      );
  }
  return state;
}

const shown = (value: unknown): string => (value === null ? 'not given' : show(value));

function isState(value: unknown): value is State {
  if (!isJsonObject(value)) return false;
  const { version, rows, dimension, bytes, digest, settings, finished } = value as Partial<State>;
  const counts = [rows, dimension, bytes?.vectors, bytes?.kept];
  return (
    version === 1 &&
    counts.every((count) => Number.isSafeInteger(count) && count! >= 0) &&
    typeof digest === 'string' &&
    isJsonObject(settings) &&
    typeof finished === 'boolean'
  );
}
