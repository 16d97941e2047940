import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from '../options/abort.js';
import { type Batch, batches, type BatchOptions } from '../data/batches.js';
import { lengthsOfRows, sharesOf, type RankPlace, type Shares } from '../data/deal.js';
import type { Fill } from '../data/room.js';
import { Labels, type Label, type LabelOptions } from '../data/labels.js';
import { prefetch } from '../data/prefetch.js';
import type { FileHeads } from '../data/file-heads.js';
import { readPairsOf } from '../data/read-pairs.js';
import type { BadLine, LabelledRowSource, Row, RowSource } from '../data/row.js';
import { dataSetSettings, PICTURE_SETTINGS } from '../data/setting-names.js';
import { readOnceAmong } from '../data/source.js';
import { GradCacheError } from '../errors.js';
import { labelOptions, listOptions } from './column-options.js';
import { isLargeEnough, tooFewRows, type CountedRows } from './counted-rows.js';
import type { FilledTrainConfig } from './read-config.js';
import type { Objective, Prepared, Texts } from './objectives/objective.js';
import { drawSeed } from '../options/seeds.js';
import { fillBy } from './curriculum.js';
import type { FilledDataSet } from './data-sets.js';
import { mixedBatches, type MixedBatch, type MixOptions } from './mixed-batches.js';
import { OBJECT, rowsOf } from './objects.js';
import { folderOfPictures, rowsWithPictures } from './picture-paths.js';
import type { BatchIds } from '../data/row-ids.js';
import { RowDigest, type RowsRead } from './rows-read.js';

/** A batch as the step takes it, and where it came from. */
export interface TokenizedBatch {
  /** Of several ranks, those of this rank's rows. */
  readonly inputs: Prepared;
  /** Those of all ranks. */
  readonly texts: Texts;
  /** What the loss gets as `labels`; absent without a column of them. Those of all ranks. */
  readonly labels?: readonly Label[];
  /** The ids of each row; absent without a column of them. Those of all ranks. */
  readonly ids?: BatchIds;
  /** The rows of each rank; null where this process has all. */
  readonly shares: Shares | null;
  /** Counted from 0, like the place in the epoch. */
  readonly epoch: number;
  readonly index: number;
  /** The number of its data set, where there are several. */
  readonly set?: number;
}

/** A batch, and the data set that it is of where there are several. */
type SetBatch = Batch & Partial<Pick<MixedBatch, 'set'>>;

/** How many of the lines that are skipped are named; all are counted. */
const NAMED_LINES = 10;
/** Milliseconds between two times that the rows read so far are told. */
const READING_PAUSE = 1000;
/** Rows after which the time is looked at. */
const ROWS_BETWEEN_LOOKS = 1000;
/** Milliseconds of forming batches after which the event loop turns, where batches are smaller. */
const LONGEST_TURN = 10;

/** The data of a run: what its batches are, and what was met while it was read. */
export class RunData {
  readonly #digest: RowDigest;
  /** All rows of each set, once they have been read, where all are held for shuffling. */
  #held: readonly (readonly Row[])[] | null = null;
  /** Rows of the first pass over several sets that no batch takes. */
  #leftOver = 0;
  #passes = 0;
  readonly #skipped = new Map<string, number>();
  readonly #pictures = new Set<string>();

  /**
   * @param expected the rows of the run that this one goes on from
   * @param heads the data's files, which may have been looked at
   * @param onSkip told of the first lines that are skipped as bad, once
   * @param ranks the processes that share each batch out, or null
   * @param given rows of the program in place of files, or null
   */
  constructor(
    readonly config: FilledTrainConfig,
    expected: RowsRead | undefined,
    readonly heads: FileHeads,
    readonly onSkip: (message: string) => void,
    readonly ranks: RankPlace | null = null,
    readonly given: LabelledRowSource | null = null,
  ) {
    this.#digest = new RowDigest(expected);
  }

  /** Lines skipped in the first pass, as far as it got, and pictures that were passed over. */
  get skipped(): number {
    return [...this.#skipped.values()].reduce((sum, lines) => sum + lines, this.#pictures.size);
  }

  /** Pictures that were passed over, as they could not be decoded. */
  get pictures(): number {
    return this.#pictures.size;
  }

  /** Counts a picture that is passed over, once, and names it among the first. */
  passPicture(path: string, reason: string): void {
    if (this.#pictures.has(path)) return;
    this.#pictures.add(path);
    if (this.skipped <= NAMED_LINES) this.onSkip(reason);
  }

  /** The lines of each file that had any. */
  get skippedOf(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#skipped);
  }

  /** What was read in the first pass, for a checkpoint. */
  get read(): RowsRead {
    return this.#digest.state();
  }

  /**
   * Counts the updates of a run whose length is given in epochs, by forming its batches once without tokenising them.
   *
   * @param onRows told now and then how many rows have been read
   * @param onBatch told after each batch that is used how many there are so far
   */
  async count(
    signal: AbortSignal | undefined,
    onRows: (rows: number) => void,
    onBatch: (batches: number) => void = () => undefined,
  ): Promise<CountedRows> {
    const { config, ranks } = this;
    const once = config.shuffle === true ? undefined : this.#readOnce();
    if (once !== undefined) {
      throw new GradCacheError(
        'INPUT',
        `${once} can be read only once, and the length of a run in epochs is found by reading all data first. Give the number ` +
          'of updates instead (steps, --steps), hold all rows (shuffle: true), or give a regular file.',
      );
    }
    const counted = { rows: 0, leftOver: 0, batches: 0, small: 0, smallest: config.batch };
    let read = 0;
    let [told, turned] = [performance.now(), performance.now()];
    for await (const batch of this.#all(signal)) {
      throwIfAborted(signal);
      read += batch.size;
      const now = performance.now();
      if (now - told > READING_PAUSE) {
        onRows(read);
        told = now;
      }
      // Rows that are held wait for nothing: without this, nothing else would run meanwhile.
      if (now - turned > LONGEST_TURN) {
        await setImmediate();
        turned = performance.now();
      }
      if (batch.epoch === 0) counted.rows += batch.size;
      const isUsed = isLargeEnough(batch, config, ranks);
      if (isUsed) onBatch(++counted.batches);
      if (batch.epoch > 0) continue;
      if (!isUsed) counted.leftOver += batch.size;
      else if (batch.size < config.batch) {
        counted.small++;
        counted.smallest = Math.min(counted.smallest, batch.size);
      }
    }
    if (config.datasets !== undefined) {
      counted.rows = this.#held!.reduce((sum, { length }) => sum + length, 0);
      counted.leftOver = this.#leftOver;
    }
    if (counted.batches === 0) throw tooFewRows(config, ranks, counted.rows);
    return counted;
  }

  /**
   * Reads all rows, where they are held for shuffling.
   *
   * @param onRows told now and then how many rows have been read
   * @returns how many there are
   */
  async hold(signal: AbortSignal | undefined, onRows: (rows: number) => void): Promise<number> {
    if (this.#held === null) {
      let read = 0;
      let told = performance.now();
      for await (const _ of this.#watched(signal)) {
        read++;
        if (read % ROWS_BETWEEN_LOOKS > 0 || performance.now() - told < READING_PAUSE) continue;
        onRows(read);
        told = performance.now();
      }
    }
    return this.#held!.reduce((sum, { length }) => sum + length, 0);
  }

  /** What of the data can be gone through only once; undefined if nothing. */
  #readOnce(): string | undefined {
    const { given } = this;
    if (given === null) return readOnceAmong(this.config.data);
    const own = Symbol.asyncIterator in given ? given[Symbol.asyncIterator] : given[Symbol.iterator];
    // An iterator, such as a generator, gives itself.
    return 'next' in given && typeof own === 'function' ? OBJECT : undefined;
  }

  /**
   * The batches of a run in order, without the first `skip`, tokenised one ahead of their use. Every rank forms the same
   * batches, and tokenises its own rows.
   */
  async *batches(
    objective: Pick<Objective, 'tokenize' | 'maxLength'>,
    options: { skip: number; signal: AbortSignal | undefined },
  ): AsyncGenerator<TokenizedBatch, void, undefined> {
    const { curriculum } = this.config;
    const fill = curriculum && fillBy(curriculum, objective);
    yield* prefetch(this.#used(options, fill), async (batch) => {
      const { columns: texts, labels, ids, epoch, index, set } = batch;
      const shares = this.#deal(texts);
      const place = { epoch, index, set, rows: shares?.own };
      const inputs = await objective.tokenize(texts, batch.length, place);
      const own = { ...(labels && { labels }), ...(ids && { ids }), ...(set !== undefined && { set }) };
      return { inputs, texts, shares, epoch, index, ...own };
    });
  }

  #deal(texts: Texts): Shares | null {
    return this.ranks === null ? null : sharesOf(lengthsOfRows(texts), this.ranks);
  }

  async *#used(
    { skip, signal }: { skip: number; signal: AbortSignal | undefined },
    fill: Fill | undefined,
  ): AsyncGenerator<SetBatch, void, undefined> {
    let used = 0;
    for await (const batch of this.#all(signal, fill)) {
      throwIfAborted(signal);
      // Without this, a run given in steps would go over too small a file for ever.
      if (batch.epoch > 0 && used === 0) throw tooFewRows(this.config, this.ranks);
      if (isLargeEnough(batch, this.config, this.ranks) && ++used > skip) yield batch;
    }
  }

  #all(signal: AbortSignal | undefined, fill?: Fill): AsyncIterable<SetBatch> {
    const { config } = this;
    const { seed, datasets, mixing = 'proportional' } = config;
    const epochs = config.epochs ?? Number.MAX_SAFE_INTEGER;
    if (datasets === undefined) {
      const rows = this.#held?.[0] ?? { [Symbol.asyncIterator]: () => this.#watched(signal) };
      return batches(rows, { ...this.#forming(), seed, epochs, ...(fill && { fill }) });
    }
    return { [Symbol.asyncIterator]: () => this.#mixed(datasets, { mixing, seed, epochs }, signal) };
  }

  /** How batches are formed. */
  #forming(): Omit<BatchOptions, 'seed' | 'epochs'> {
    const { batch: size, shuffle, uniqueTexts, groupByLabel, lists, ids } = this.config;
    const label = labelOptions(this.config);
    const beside = { ...(label && { label }), ...(ids && { ids }) };
    return { size, shuffle, uniqueTexts, groupByLabel, ...(lists && { lists }), ...beside };
  }

  async *#mixed(
    sets: NonNullable<FilledTrainConfig['datasets']>,
    how: MixOptions,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<SetBatch, void, undefined> {
    if (this.#held === null) for await (const _ of this.#watched(signal)); // all rows are held
    const held = await withClassNumbers(this.#held!, labelOptions(this.config));
    const { config, ranks } = this;
    const forming = this.#forming();
    const leftOver = (size: number): void => void (this.#leftOver += size);
    const sources = sets.map(({ weight }, set) => ({
      weight,
      async *pass(pass: number) {
        const seed = drawSeed('dataset', how.seed, set * 2 ** 32 + pass);
        for await (const batch of batches(held[set]!, { ...forming, seed })) {
          if (isLargeEnough(batch, config, ranks)) yield batch;
          else if (pass === 0) leftOver(batch.size);
        }
      },
    }));
    this.#leftOver = 0;
    yield* mixedBatches(sources, how, (set) => {
      const { name, data } = sets[set]!;
      throw tooFewRows({ ...config, data: [`${name} (${data.join(', ')})`] }, ranks, held[set]!.length);
    });
  }

  /** The rows of all data, which are held if they are to be shuffled as a whole. Those of a set have the columns of the run. */
  async *#watched(signal: AbortSignal | undefined): AsyncGenerator<Row, void, undefined> {
    this.#passes++;
    const { config } = this;
    const sets: readonly RowsOfSet[] = config.datasets ?? [config];
    const held: Row[][] = sets.map(() => []);
    let reading = 0;
    const read = async function* (this: RunData): AsyncGenerator<Row, void, undefined> {
      for (const [place, set] of sets.entries()) {
        reading = place;
        yield* place === 0 && config.datasets === undefined
          ? this.#rowsOf(set, signal)
          : renamed(this.#rowsOf(set, signal), namesOf(set, config), namesOf(config, config));
      }
    }.bind(this);
    for await (const row of this.#digest.watch(read())) {
      if (config.shuffle === true) held[reading]!.push(row);
      yield row;
    }
    if (config.shuffle === true) this.#held = held;
  }

  #rowsOf(set: RowsOfSet, signal: AbortSignal | undefined): RowSource {
    const { config } = this;
    const onSkip = ({ file, line, reason }: BadLine) => {
      if (this.#passes > 1) return; // told in the first pass
      this.#skipped.set(file, (this.#skipped.get(file) ?? 0) + 1);
      if (this.skipped <= NAMED_LINES) this.onSkip(`${file}, line ${line}: ${reason}`);
    };
    const { format = config.format, header = config.header } = set;
    const { quoting = config.quoting, delimiter = config.delimiter } = set;
    const columns = set.columns ?? config.columns;
    const label = labelOptions({ ...config, columns, label: set.label, weights: set.weights });
    const { lists, emptyLists } = listOptions(config, columns);
    const { onBadLine } = config;
    const layout = { format, header, quoting, delimiter };
    const { ids } = set;
    const beside = { ...(label && { label }), ...(ids && { ids }) };
    const how = { columns, ...layout, onBadLine, onSkip, signal, lists, emptyLists, ...beside };
    const { given } = this;
    const ofPictures = config.images === undefined ? undefined : PICTURE_SETTINGS;
    const names = set.name === undefined ? ofPictures : dataSetSettings(set.name);
    const open: typeof this.heads.open = (file, options) => this.heads.open(file, options);
    if (given === null && config.images !== undefined) {
      const column = columns[config.columns.indexOf(config.images)]!;
      const folder = folderOfPictures(config.data);
      return rowsWithPictures(set.data, (file) => readPairsOf([file], how, open, names), { folder, column });
    }
    if (given === null) return readPairsOf(set.data, how, open, names);
    const onProblem = (line: number, reason: string): void => {
      if (onBadLine === 'throw') throw new GradCacheError('INPUT', `config.data, row ${line}: ${reason}.`);
      onSkip({ file: OBJECT, line, reason });
    };
    return {
      [Symbol.asyncIterator]: () =>
        rowsOf(given, columns, { lists, emptyLists, label, onProblem, ...(ids && { ids }) }),
    };
  }
}

/** What is read of a set of data. */
type RowsOfSet = Pick<FilledDataSet, 'data' | 'label' | 'weights' | 'ids'> &
  Partial<Pick<FilledDataSet, 'name' | 'columns' | 'format' | 'header' | 'quoting' | 'delimiter'>>;

/** The names of what a row has, in the order of the columns of the run. */
function namesOf(
  { columns, label, weights, ids = [] }: Pick<RowsOfSet, 'columns' | 'label' | 'weights' | 'ids'>,
  config: FilledTrainConfig,
): string[] {
  const beside = labelOptions({ ...config, label, weights });
  return [...(columns ?? config.columns), ...(beside === undefined ? [] : [beside.column]), ...ids];
}

/** Rows under other names. */
async function* renamed(
  rows: RowSource,
  from: readonly string[],
  to: readonly string[],
): AsyncGenerator<Row, void, undefined> {
  for await (const row of rows) yield Object.fromEntries(to.map((name, place) => [name, row[from[place]!]!]));
}

/** Rows of several sets whose classes have the same numbers in all of them. */
async function withClassNumbers(
  sets: readonly (readonly Row[])[],
  label: LabelOptions | undefined,
): Promise<readonly (readonly Row[])[]> {
  if (label?.type !== 'class') return sets;
  const labels = new Labels(label);
  const numbered: Row[][] = [];
  for (const rows of sets) {
    const own: Row[] = [];
    for await (const row of labels.apart(rows)) own.push({ ...row, [label.column]: String(labels.of(row)) });
    numbered.push(own);
  }
  return numbered;
}
