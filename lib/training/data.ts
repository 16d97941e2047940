import { throwIfAborted } from '../options/abort.js';
import { type Batch, batches } from '../data/batches.js';
import { lengthsOfRows, sharesOf, type RankPlace, type Shares } from '../data/deal.js';
import type { Fill } from '../data/room.js';
import type { Label, LabelOptions } from '../data/labels.js';
import { kindOf } from '../losses/loss-kinds.js';
import { prefetch } from '../data/prefetch.js';
import type { FileHeads } from '../data/file-heads.js';
import { readPairsOf } from '../data/read-pairs.js';
import type { BadLine, Row, RowSource } from '../data/row.js';
import { readOnceAmong } from '../data/source.js';
import type { TokenBatch } from '../tokenizer/tokenizer.js';
import { GradCacheError } from '../errors.js';
import type { FilledTrainConfig } from './read-config.js';
import type { Objective, Texts } from './objectives/objective.js';
import { fillBy } from './curriculum.js';
import { RowDigest, type RowsRead } from './rows-read.js';

/** A batch as the step takes it, and where it came from. */
export interface TokenizedBatch {
  /** Of several ranks, those of this rank's rows. */
  readonly inputs: readonly TokenBatch[];
  /** Those of all ranks. */
  readonly texts: Texts;
  /** What the loss gets as `labels`; absent without a column of them. Those of all ranks. */
  readonly labels?: readonly Label[];
  /** The rows of each rank; null where this process has all. */
  readonly shares: Shares | null;
  /** Counted from 0, like the place in the epoch. */
  readonly epoch: number;
  readonly index: number;
}

/** How many of the lines that are skipped are named; all are counted. */
const NAMED_LINES = 10;
/** Milliseconds between two times that the rows read so far are told. */
const READING_PAUSE = 1000;

/** The data of a run: what its batches are, and what was met while it was read. */
export class RunData {
  readonly #digest: RowDigest;
  /** All rows, once they have been read, where all are held for shuffling. */
  #held: readonly Row[] | null = null;
  #passes = 0;
  readonly #skipped = new Map<string, number>();

  /**
   * @param expected the rows of the run that this one goes on from
   * @param heads the data's files, which may have been looked at
   * @param onSkip told of the first lines that are skipped as bad, once
   * @param ranks the processes that share each batch out, or null
   */
  constructor(
    readonly config: FilledTrainConfig,
    expected: RowsRead | undefined,
    readonly heads: FileHeads,
    readonly onSkip: (message: string) => void,
    readonly ranks: RankPlace | null = null,
  ) {
    this.#digest = new RowDigest(expected);
  }

  /** Lines skipped in the first pass, as far as it got. */
  get skipped(): number {
    return [...this.#skipped.values()].reduce((sum, lines) => sum + lines, 0);
  }

  /** The same of each file that had any. */
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
   * @returns rows of one pass over the data, those of its first pass that no batch takes, and batches of all passes
   */
  async count(
    signal: AbortSignal | undefined,
    onRows: (rows: number) => void,
  ): Promise<{ rows: number; leftOver: number; batches: number }> {
    const { config, ranks } = this;
    const once = config.shuffle === true ? undefined : readOnceAmong(config.data);
    if (once !== undefined) {
      throw new GradCacheError(
        'INPUT',
        `${once} can be read only once, and the length of a run in epochs is found by reading all data first. Give the number ` +
          'of updates instead (steps, --steps), hold all rows (shuffle: true), or give a regular file.',
      );
    }
    const counted = { rows: 0, leftOver: 0, batches: 0 };
    let read = 0;
    let told = performance.now();
    for await (const batch of this.#all(signal)) {
      throwIfAborted(signal);
      read += batch.size;
      if (performance.now() - told > READING_PAUSE) {
        onRows(read);
        told = performance.now();
      }
      if (batch.epoch === 0) counted.rows += batch.size;
      if (isLargeEnough(batch, config, ranks)) counted.batches++;
      else if (batch.epoch === 0) counted.leftOver += batch.size;
    }
    if (counted.batches === 0) throw tooFewRows(config, ranks);
    return counted;
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
      const { columns: texts, labels, epoch, index } = batch;
      const shares = this.#deal(texts);
      const inputs = await objective.tokenize(texts, batch.length, { epoch, index, rows: shares?.own });
      return { inputs, texts, shares, epoch, index, ...(labels && { labels }) };
    });
  }

  #deal(texts: Texts): Shares | null {
    return this.ranks === null ? null : sharesOf(lengthsOfRows(texts), this.ranks);
  }

  async *#used(
    { skip, signal }: { skip: number; signal: AbortSignal | undefined },
    fill: Fill | undefined,
  ): AsyncGenerator<Batch, void, undefined> {
    let used = 0;
    for await (const batch of this.#all(signal, fill)) {
      throwIfAborted(signal);
      // Without this, a run given in steps would go over too small a file for ever.
      if (batch.epoch > 0 && used === 0) throw tooFewRows(this.config, this.ranks);
      if (isLargeEnough(batch, this.config, this.ranks) && ++used > skip) yield batch;
    }
  }

  #all(signal: AbortSignal | undefined, fill?: Fill): AsyncIterable<Batch> {
    const {
      data,
      columns,
      format,
      header,
      quoting,
      delimiter,
      onBadLine,
      batch,
      seed,
      shuffle,
      uniqueTexts,
      groupByLabel,
    } = this.config;
    const label = labelOptions(this.config);
    const lists = listColumns(this.config);
    const onSkip = ({ file, line, reason }: BadLine) => {
      if (this.#passes > 1) return; // told in the first pass
      this.#skipped.set(file, (this.#skipped.get(file) ?? 0) + 1);
      if (this.skipped <= NAMED_LINES) this.onSkip(`${file}, line ${line}: ${reason}`);
    };
    const how = {
      columns,
      format,
      header,
      quoting,
      delimiter,
      onBadLine,
      onSkip,
      signal,
      lists,
      ...(label && { label }),
    };
    const rows = readPairsOf(data, how, (file, options) => this.heads.open(file, options));
    const epochs = this.config.epochs ?? Number.MAX_SAFE_INTEGER;
    return batches(this.#held ?? { [Symbol.asyncIterator]: () => this.#watched(rows) }, {
      size: batch,
      seed,
      epochs,
      shuffle,
      uniqueTexts,
      groupByLabel,
      ...(label && { label }),
      ...(fill && { fill }),
    });
  }

  async *#watched(rows: RowSource): AsyncGenerator<Row, void, undefined> {
    this.#passes++;
    const held: Row[] = [];
    for await (const row of this.#digest.watch(rows)) {
      if (this.config.shuffle === true) held.push(row);
      yield row;
    }
    if (this.config.shuffle === true) this.#held = held;
  }
}

/** The columns that have a list of texts in each row. */
export function listColumns({
  columns,
  loss,
}: Pick<FilledTrainConfig, 'columns' | 'loss'>): readonly string[] {
  return kindOf(loss).pairs?.rows === 'documents' && columns.length === 2 ? columns.slice(1) : [];
}

/** The column of numbers beside the texts, labels or weights, and what they are. */
export function labelOptions({
  label,
  weights,
  loss,
}: Pick<FilledTrainConfig, 'label' | 'weights' | 'loss'>): LabelOptions | undefined {
  if (weights !== undefined) return { column: weights, type: 'number' };
  const type = kindOf(loss).label?.type;
  return label === undefined || type === undefined ? undefined : { column: label, type };
}

/**
 * The rows left over at the end of an epoch make a batch only where they fill half of one: with fewer negatives, a batch
 * is another and easier task, and `uniqueTexts` can leave many batches of a few rows. A pair alone has nothing to be told
 * from. Of several ranks each needs a row.
 */
function isLargeEnough(
  { size, tokens = 0 }: Batch,
  { batch, curriculum }: FilledTrainConfig,
  ranks: RankPlace | null,
): boolean {
  const enough = size >= batch / 2 || (curriculum !== undefined && tokens >= curriculum.tokens / 2);
  return enough && size >= Math.max(2, ranks?.size ?? 1);
}

function tooFewRows(config: FilledTrainConfig, ranks: RankPlace | null): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `${config.data.join(', ')}: the rows${config.uniqueTexts ? ' with different texts' : ''} do not ` +
      `fill ${config.batch < 4 ? 'a batch of two' : `half a batch of ${config.batch}`}. Use a smaller batch, or more data.` +
      (ranks === null ? '' : ` Each of the ${ranks.size} ranks needs a row of every batch.`),
  );
}
