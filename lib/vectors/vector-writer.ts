import { createHash } from 'node:crypto';
import { GradCacheError } from '../errors.js';
import { isThere } from '../files/file-error.js';
import { show } from '../options/option-values.js';
import { openStream, placeOfOutput, type OutputStream } from '../files/output-place.js';
import { needsRanges, quantized, rangesOf, widthOf, type Ranges, type VectorType } from './quantize.js';
import { rangesFile, readRanges } from './ranges-file.js';
import { partsBeside, UnfinishedRun, type Part } from './unfinished-run.js';
import { bytesOf, headerBytes, headerOf, type TextRow, type VectorFormat } from './vector-format.js';

/** How vectors are written. */
export interface WriterSettings {
  readonly path: string;
  readonly format: VectorFormat;
  readonly type: VectorType;
  /** Columns that are kept beside the vectors. */
  readonly keep: readonly string[];
  /** A file of ranges for int8 and uint8; undefined: those of the first rows. */
  readonly ranges: string | undefined;
  /** How many rows these are. */
  readonly calibrationRows: number;
  readonly resume: boolean | undefined;
  readonly saveEvery: number;
  /** What decides on the bytes, by flag: a run is gone on with only where they are the same. */
  readonly decisive: Readonly<Record<string, unknown>>;
  /** Where the texts come from, for messages. */
  readonly source: string;
}

/** The least number that is infinite in float16. */
const INFINITE_HALF = 65_520;

interface Block {
  readonly rows: readonly TextRow[];
  readonly vectors: Float32Array;
}

/** Writes vectors, block by block: into files that are complete at the end, or into a pipe. */
export class VectorWriter {
  /** Rows that are there already, of a run that is gone on with. */
  readonly done: number;
  readonly #settings: WriterSettings;
  readonly #to: UnfinishedRun | OutputStream;
  readonly #digest = createHash('sha256');
  /** Blocks that wait for the ranges. */
  #waiting: Block[] = [];
  #ranges: Ranges | null = null;
  /** Rows that have come. */
  #rows = 0;

  private constructor(settings: WriterSettings, to: UnfinishedRun | OutputStream) {
    this.#settings = settings;
    this.#to = to;
    this.done = 'rows' in to ? to.rows : 0;
  }

  /**
   * Opens the output.
   *
   * @throws GradCacheError `INPUT` where it cannot be written, is a pipe or device that the format cannot go to, or an earlier
   * run into it did not end and it is not said what to do
   */
  static async open(settings: WriterSettings): Promise<VectorWriter> {
    const { path, format, type, keep, resume, saveEvery, decisive } = settings;
    const place = await placeOfOutput(path);
    const parts: Part[] = [
      ...(format !== 'jsonl' && keep.length > 0 ? (['kept'] as const) : []),
      ...(needsRanges(type) ? (['ranges'] as const) : []),
    ];
    if (place.kind !== 'file') {
      requireStreamable(settings, parts);
      return new VectorWriter(settings, await openStream(path));
    }
    for (const [part, beside] of Object.entries(partsBeside(place.target)))
      if (!parts.includes(part as Part) && (await isThere(beside)))
        throw new GradCacheError(
          'INPUT',
          `${beside} is of an earlier run, and this one writes none: beside the new vectors it would be wrong. Move it away, or name ` +
            'another output.',
        );
    const begin = headerBytes(format);
    const run = { path, place, settings: decisive, resume, parts, saveEvery, begin };
    return new VectorWriter(settings, await UnfinishedRun.open(run));
  }

  /** What was written by a run that got to its end but not into its place; undefined for any other. */
  get complete(): { readonly rows: number; readonly dimension: number } | undefined {
    const to = this.#to;
    return 'rows' in to && to.isFinished ? { rows: to.rows, dimension: to.dimension } : undefined;
  }

  /** Reads the ranges that are known before the first row. */
  async prepare(dimension: number): Promise<void> {
    const { type, ranges } = this.#settings;
    if (!needsRanges(type)) return;
    const to = this.#to;
    if ('rows' in to && to.rows > 0) this.#ranges = await readRanges(to.pathOf('ranges'), dimension);
    else if (ranges !== undefined) await this.#take(await readRanges(ranges, dimension));
  }

  async #take(ranges: Ranges): Promise<void> {
    this.#ranges = ranges;
    if ('rows' in this.#to) await this.#to.writePart('ranges', rangesFile(ranges));
  }

  /** Rows that are there already, and are not encoded again. */
  pass(rows: readonly TextRow[]): void {
    this.#count(rows);
  }

  /**
   * Writes rows. Those that are there already are compared with them.
   *
   * @param vectors [rows, dimension]
   */
  async write(rows: readonly TextRow[], vectors: Float32Array, dimension: number): Promise<void> {
    this.#requireNumbers(vectors, rows);
    const { type, calibrationRows } = this.#settings;
    if (needsRanges(type) && this.#ranges === null) {
      this.#waiting.push({ rows, vectors: vectors.slice() });
      const count = this.#waiting.reduce((sum, block) => sum + block.rows.length, 0);
      if (count >= calibrationRows) await this.#calibrate(dimension);
    } else await this.#put({ rows, vectors }, dimension);
  }

  async #calibrate(dimension: number): Promise<void> {
    const blocks = this.#waiting;
    this.#waiting = [];
    const rows = blocks.reduce((sum, block) => sum + block.rows.length, 0);
    if (rows < 2)
      throw new GradCacheError(
        'INPUT',
        `${this.#settings.source} has ${rows === 0 ? 'no text' : 'one text'}, from which no ranges for ${this.#settings.type} can be ` +
          'taken. Give those of an earlier run with --ranges FILE.',
      );
    const first = Math.min(rows, this.#settings.calibrationRows);
    const calibration = new Float32Array(first * dimension);
    let filled = 0;
    for (const { vectors } of blocks) {
      const part = vectors.subarray(0, calibration.length - filled);
      calibration.set(part, filled);
      filled += part.length;
    }
    await this.#take(rangesOf(calibration, dimension));
    for (const block of blocks) await this.#put(block, dimension);
  }

  async #put({ rows, vectors }: Block, dimension: number): Promise<void> {
    const { format, type } = this.#settings;
    const stored = quantized(vectors, dimension, type, this.#ranges);
    const bytes = bytesOf(format, rows, stored);
    const isThere = this.#rows < this.done;
    this.#count(rows);
    const to = this.#to;
    if (!('rows' in to)) await to.write(bytes.vectors);
    else if (isThere) await this.#compare(to, bytes.vectors);
    else await to.append({ rows: rows.length, dimension, digest: this.#textsSoFar() }, bytes);
  }

  /** A model that gives other vectors than those that are there would make a file of two kinds. */
  async #compare(run: UnfinishedRun, vectors: Buffer): Promise<void> {
    const found = await run.read(headerBytes(this.#settings.format), vectors.length);
    if (found.equals(vectors)) return;
    throw new GradCacheError(
      'INPUT',
      `The model gives other vectors for the first texts of ${this.#settings.source} than those that are there: the texts, the model, ` +
        'the device or the number of its threads differ from those of the run to go on with. Begin anew with --no-resume.',
    );
  }

  /** Takes note of the texts of rows. @throws GradCacheError `INPUT` where they are not those that are there */
  #count(rows: readonly TextRow[]): void {
    for (const { text, kept } of rows) this.#digest.update(`${JSON.stringify([text, kept])}\n`);
    const before = this.#rows;
    this.#rows += rows.length;
    const to = this.#to;
    if (before >= this.done || this.#rows < this.done || !('rows' in to)) return;
    if (this.#rows === this.done && this.#textsSoFar() === to.digest) return;
    throw new GradCacheError(
      'INPUT',
      `The first ${this.done} texts of ${this.#settings.source} are not those of the run to go on with. Begin anew with --no-resume.`,
    );
  }

  #textsSoFar(): string {
    return this.#digest.copy().digest('hex');
  }

  /** Completes the output. @param dimension what a file without a text states as well */
  async finish(dimension: number): Promise<void> {
    const { format, type, source } = this.#settings;
    if (this.complete === undefined) {
      if (needsRanges(type) && this.#ranges === null) await this.#calibrate(dimension);
      if (this.#rows < this.done)
        throw new GradCacheError(
          'INPUT',
          `${source} has ${this.#rows} texts, and the run to go on with has vectors of ${this.done}. Begin anew with --no-resume.`,
        );
    }
    const to = this.#to;
    if ('rows' in to) await to.finish(headerOf(format, type, this.#rows, widthOf(type, dimension)));
    else await to.close();
  }

  /** Ends it before it is complete. @returns how many rows can be gone on from */
  async abandon(): Promise<number> {
    if ('rows' in this.#to) return this.#to.abandon();
    await this.#to.close().catch(() => undefined);
    return 0;
  }

  /** Of what is no number, or beyond those of float16, nothing would be left. */
  #requireNumbers(vectors: Float32Array, rows: readonly TextRow[]): void {
    const end = this.#settings.type === 'float16' ? INFINITE_HALF : Infinity;
    const place = firstBeyond(vectors, end);
    if (place < 0) return;
    const value = vectors[place]!;
    const row = rows[Math.floor(place / (vectors.length / rows.length))]!;
    const holds = `${row.place}: the vector of the text ${show(row.text)} holds ${value}`;
    if (Number.isFinite(value))
      throw new GradCacheError('INPUT', `${holds}, and float16 goes up to 65504. Use --vector-type float32.`);
    throw new GradCacheError('NON_FINITE', `${holds}: the model gives no number for it.`);
  }
}

/** Where the first number lies that is not nearer to 0 than `end`; -1: nowhere. */
function firstBeyond(numbers: Float32Array, end: number): number {
  for (let place = 0; place < numbers.length; place++) if (!(Math.abs(numbers[place]!) < end)) return place;
  return -1;
}

function requireStreamable({ path, format, resume }: WriterSettings, parts: readonly Part[]): void {
  const why =
    format !== 'jsonl'
      ? `${format} begins with the number of vectors, which is known at the end. Use --format jsonl, or name a file.`
      : parts.includes('ranges')
        ? 'the ranges of int8 and uint8 are written beside the vectors. Name a file.'
        : resume === true
          ? 'what it has taken cannot be gone on with. Name a file for --resume.'
          : undefined;
  if (why !== undefined) throw new GradCacheError('INPUT', `${path} is a pipe or a device, and ${why}`);
}
