/*
 * How long a run is: given, told by its files, or counted, before it begins or while it trains.
 */
import { FileHeads } from '../data/file-heads.js';
import { rowsTold } from '../data/row-counts.js';
import { readOnceAmong } from '../data/source.js';
import type { Ranks } from '../distributed/ranks.js';
import { onEach } from '../distributed/shared-work.js';
import { needsLength } from '../losses/loss-kinds.js';
import { refuse } from '../options/fields.js';
import { plural } from '../options/plural.js';
import { countRows, saySmallBatches, type CountedRows } from './counted-rows.js';
import { RunData } from './data.js';
import type { FilledTrainConfig } from './read-config.js';
import { BackgroundCount, knownLength, type RunLength } from './run-length.js';

/** The length of a run, and what is known of its rows when it begins. */
export interface FoundLength {
  readonly length: RunLength;
  /** Null where they were not counted, or are being counted. */
  readonly counted: CountedRows | null;
  /** What is to be told of a count that goes on while the run trains, once it has ended. Null: there is none. */
  readonly later: Promise<readonly string[]> | null;
  /** Ends a count that is still going on. */
  readonly stop: () => void;
}

/** Of a run whose length is asked for. */
interface Asked {
  readonly config: FilledTrainConfig;
  readonly data: RunData;
  readonly ranks: Ranks | null;
  readonly signal: AbortSignal | undefined;
  /** Whether it goes on from a checkpoint. */
  readonly isResumed: boolean;
  /** Told now and then how many rows have been read, before the run begins. */
  readonly onRows: (rows: number) => void;
}

/**
 * Finds the length of a run.
 *
 * One that is given in steps needs no count. Files that tell how many rows they have are not read for it, where batches are filled by
 * rows alone. Otherwise batches are formed once without being encoded: before the run begins, or while it trains where nothing
 * asks for its length until then.
 *
 * @throws GradCacheError `INPUT` for data that makes no update, and as {@link RunData.count}
 */
export async function findLength(asked: Asked): Promise<FoundLength> {
  const { config, data, ranks, signal, onRows } = asked;
  const { steps, epochs = 1 } = config;
  if (steps !== undefined) return { length: knownLength(steps), counted: null, later: null, stop };
  if (fillsByRows(config)) {
    const rows = await onEach(ranks, 'counting the rows', async () =>
      config.shuffle === true ? data.hold(signal, onRows) : rowsOfFiles(config, data, signal),
    );
    if (rows !== null) return found(config, countRows(config, ranks, { rows, epochs }));
  }
  const before = countableBehind(asked);
  if (before !== null) return whileTraining(asked, before);
  return found(config, await onEach(ranks, 'counting the rows', () => data.count(signal, onRows)));
}

function found(config: FilledTrainConfig, counted: CountedRows): FoundLength {
  return { length: knownLength(updatesIn(counted.batches, config)), counted, later: null, stop };
}

const stop = (): void => undefined;

/** Whether the number of rows alone decides that of the batches. */
function fillsByRows({ datasets, uniqueTexts, groupByLabel, curriculum }: FilledTrainConfig): boolean {
  return datasets === undefined && !uniqueTexts && !groupByLabel && curriculum === undefined;
}

/** How many rows files say that they have; null where they do not, or where some of these may be passed over as bad. */
async function rowsOfFiles(
  { data: files, format, images, onBadLine }: FilledTrainConfig,
  { given }: RunData,
  signal: AbortSignal | undefined,
): Promise<number | null> {
  const areRows = given === null && images === undefined && onBadLine === 'throw';
  return areRows ? rowsTold(files, format, signal) : null;
}

/**
 * The updates at the beginning of a run that need not know its length, where it may be counted while it trains; otherwise null. The
 * learning rate needs it after a warm-up of a number of steps, that of a constant schedule never. A part of all steps needs it from the
 * start, as some losses do. Ranks count together, and the batches of several data sets are formed together.
 */
function countableBehind({ config, data, ranks, isResumed }: Asked): number | null {
  const { shuffle, datasets, loss, schedule } = config;
  const { kind, warmup } = schedule;
  const isReadAgain = data.given === null && readOnceAmong(config.data) === undefined;
  if (datasets !== undefined || !(shuffle === true || isReadAgain)) return null;
  if (ranks !== null || isResumed || needsLength(loss)) return null;
  if (warmup > 0 && warmup < 1) return null;
  return kind === 'constant' || warmup > 0 ? Math.max(1, warmup) : null;
}

/** Begins to count, and goes on once the updates that are trained before the length is needed are known to come. */
async function whileTraining({ config, data, signal, onRows }: Asked, before: number): Promise<FoundLength> {
  const { accumulate } = config;
  if (config.shuffle === true) await data.hold(signal, onRows);
  let begun = false;
  const reading = (rows: number): void => {
    if (!begun) onRows(rows);
  };
  // Rows that are not held are read a second time beside the training.
  const own =
    config.shuffle === true ? data : new RunData(config, undefined, new FileHeads(), () => undefined);
  const count = new BackgroundCount<CountedRows>((stopped, onBatch) => own.count(stopped, reading, onBatch), {
    accumulate,
    signal,
    stepsOf: (batches) => updatesIn(batches, config),
  });
  try {
    await count.atLeast(before * accumulate);
  } catch (error) {
    count.stop();
    throw error;
  }
  begun = true;
  if (count.known !== null) return found(config, await count.all);
  const later = count.all.then((counted) => {
    const rows = plural(counted.rows, 'row');
    const small = saySmallBatches(config, counted);
    return [
      `the data was counted: ${rows}, ${plural(count.known!, 'step')}`,
      ...(small === undefined ? [] : [small]),
    ];
  });
  later.catch(() => undefined); // told to the run when it asks for its length
  return { length: count, counted: null, later, stop: () => count.stop() };
}

/** The updates that batches make. @throws GradCacheError `INPUT` where they make none */
function updatesIn(batches: number, { accumulate }: FilledTrainConfig): number {
  const updates = Math.floor(batches / accumulate);
  if (updates > 0) return updates;
  throw refuse(
    'config.accumulate',
    accumulate,
    `a number up to ${batches}, which is how many batches the run has,`,
  );
}
