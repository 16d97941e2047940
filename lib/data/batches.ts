import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireBoolean,
  requireCount,
  requireIterable,
  requireNumber,
  show,
} from '../options/option-values.js';
import { lengthOfRow, sharesOf, type RankPlace } from './deal.js';
import { FillingBatch } from './filling-batch.js';
import { groupByLabel, LEAST_GROUPED } from './group-by-label.js';
import { checkLabelOptions, Labels, type Label, type LabelOptions } from './labels.js';
import { Random } from './random.js';
import type { Dataset } from './read-pairs.js';
import { checkFill, Room, withLengths, type Fill, type Lengths } from './room.js';
import { checkIds, RowIds } from './row-ids.js';
import type { LabelledRowSource, Row, RowSource } from './row.js';
import { shuffle } from './shuffle.js';
import { readOnceAmong } from './source.js';

/** How {@link batches} forms batches. */
export interface BatchOptions<LabelColumn extends string = string, IdColumn extends string = string> {
  /** Rows in a batch; with `fill` the most of them. */
  size: number;
  /** Ends a batch when it holds so many tokens. Default: batches are filled by rows alone. */
  fill?: Fill;
  /** A whole number from 0; the same seed gives the same batches. Default: 0. */
  seed?: number;
  /** How often the source is gone through. Default: 1. */
  epochs?: number;
  /**
   * True (the default): all rows are held in memory and every epoch has its own random order. `{ buffer }`: only so many
   * rows are held, see {@link ShuffleOptions}. False: the order of the source.
   */
  shuffle?:
    | boolean
    | {
        /** Rows that are held at a time. */
        buffer: number;
      };
  /**
   * Leave out the rows at the end of an epoch that do not fill a batch. Default: false. Set it for a contrastive loss: in a
   * small batch there is little to tell a pair from, and a batch of one pair has no gradient at all, while an optimizer
   * still moves the weights by their decay and its momentum. `uniqueTexts` can leave several such batches.
   */
  dropLast?: boolean;
  /**
   * No two rows of a batch share a text, in whatever column: with in-batch negatives such a row would be a negative of
   * its own positive. Rows that do are deferred to a later batch of the epoch, so its last batches can be smaller; they
   * are held in memory until then. A row may hold the same text twice itself. Default: false.
   */
  uniqueTexts?: boolean;
  /** Columns that have a list of texts in each row, as `readPairs` with `lists` gives it: `uniqueTexts` looks into them. Default: none. */
  lists?: readonly string[];
  /** A column of labels: {@link Batch} has them apart from the texts. Default: none. */
  label?: LabelOptions<LabelColumn>;
  /** Columns of ids: {@link Batch} has them apart from the texts. Default: none. */
  ids?: readonly IdColumn[];
  /**
   * Every batch has several labels and at least two rows of each, as a loss over the triplets of a batch needs it. Labels take
   * turns in giving two rows; what is left of them in the end is in no batch of the epoch. Needs `label`, `shuffle: true` and
   * an even size from 4. Default: false.
   */
  groupByLabel?: boolean;
  /**
   * Shares each batch out: every process forms the same batches, of `size` rows in all, and is given its own rows. These are
   * dealt by the length of their texts, so that all have about as much to encode. A batch with fewer rows than there are
   * processes is left out. A `Ranks` will do; so does a place of your own, `{ rank: 0, size: 4 }`. Default: none, all rows.
   */
  ranks?: RankPlace | null;
}

/** Rows side by side: as many texts in every column as the batch has rows. */
export interface Batch<Column extends string = string> {
  /** Texts by column, in the order of the first row's columns: `batch.columns.anchor[i]` goes with `batch.columns.positive[i]`. */
  readonly columns: Readonly<Record<Column, string[]>>;
  /** With the option `label`: the label of each row. Names of classes are numbered in the order in which they first come. */
  readonly labels?: readonly Label[];
  /** With the option `ids`: all ids of each row, for a loss that takes `ids`. Rows that share one are no negatives of each other. */
  readonly ids?: readonly (readonly string[])[];
  /** Number of rows. */
  readonly size: number;
  /** With `ranks`: the number of rows on all ranks. */
  readonly total?: number;
  /** Counted from 0. */
  readonly epoch: number;
  /** Place in its epoch, counted from 0. */
  readonly index: number;
  /** With `fill`: its tokens. */
  readonly tokens?: number;
  /** With `fill`: the greatest length that it was filled for, if there is one. */
  readonly length?: number;
}

/**
 * Forms batches of rows, for as many epochs as asked.
 *
 * @param source a {@link Dataset}, an array of rows, or any iterable of rows; it is iterated once an epoch, or only once
 * where all rows are held for shuffling
 * @throws GradCacheError `INPUT`: at once for options that make no sense; while iterating where there are no rows, rows
 * differ in their columns or hold something other than texts, or a source that can be read only once is to be read again.
 * @example
 * ```ts
 * const pairs = readPairs('pairs.jsonl', { columns: ['anchor', 'positive'] });
 * for await (const { columns } of batches(pairs, { size: 4096, epochs: 2, seed: 1, uniqueTexts: true })) {
 *   await gradcache.step([model.tokenize(columns.anchor), model.tokenize(columns.positive)]);
 *   await optimizer.step();
 * }
 * ```
 */
export function batches<
  const Column extends string,
  const LabelColumn extends string = never,
  const IdColumn extends string = never,
>(
  source: LabelledRowSource<Column>,
  options: BatchOptions<LabelColumn, IdColumn>,
): AsyncIterable<Batch<Exclude<Column, LabelColumn | IdColumn>>> {
  const checked = checkOptions(source, options);
  return { [Symbol.asyncIterator]: () => generateBatches(source, checked) };
}

/** Options with their defaults. */
type CheckedOptions = Required<Omit<BatchOptions, Optional>> & Pick<BatchOptions, Optional>;
type Optional = 'fill' | 'label' | 'ids' | 'ranks' | 'lists';

async function* generateBatches(
  source: LabelledRowSource,
  options: CheckedOptions,
): AsyncGenerator<Batch, void, undefined> {
  const { epochs, ranks: place } = options;
  const ranks = place?.size ?? 1;
  const labels = options.label && new Labels(options.label);
  const ids = options.ids && new RowIds(options.ids);
  const texts = textsApart(source, labels, ids);
  const rowsOf = options.shuffle === true ? await holdAll(texts, options, labels) : readAgain(texts, options);
  const lengths: Lengths = new WeakMap();
  const room = new Room(options.size, options.fill, lengths);
  let columns: readonly string[] | undefined;
  for (let epoch = 0; epoch < epochs; epoch++) {
    let index = 0;
    let rows = 0;
    const checked = withTexts(rowsOf(epoch));
    const measured = options.fill === undefined ? checked : withLengths(checked, options.fill, lengths);
    for await (const { group: all, ...filled } of groupRows(measured, options, room)) {
      if (all.length < ranks) continue;
      const group = place ? shareOf(all, place) : all;
      columns ??= Object.keys(group[0]!);
      const beside = {
        ...(labels && { labels: group.map((row) => labels.of(row)) }),
        ...(ids && { ids: group.map((row) => ids.of(row)) }),
      };
      const size = { size: group.length, ...(place && { total: all.length }) };
      yield { columns: toColumns(group, columns), ...beside, ...size, epoch, index, ...filled };
      index++;
      rows += group.length;
    }
    if (rows === 0) {
      const way = options.dropLast
        ? `, or fewer than a batch of ${options.size}, which dropLast leaves out: choose a smaller size`
        : '';
      throw new GradCacheError('INPUT', `Epoch ${epoch} has no batch: the source gave no rows${way}.`);
    }
  }
}

/** Rows without labels and ids. Apart before rows are shuffled: classes are numbered in the order of the source. */
function textsApart(
  source: LabelledRowSource,
  labels: Labels | undefined,
  ids: RowIds | undefined,
): RowSource {
  const unlabelled = () => labels?.apart(source) ?? source;
  if (ids !== undefined)
    return {
      [Symbol.asyncIterator]: () => ids.apart(unlabelled(), (row, before) => labels?.keep(row, before)),
    };
  return labels === undefined
    ? (source as RowSource)
    : { [Symbol.asyncIterator]: () => labels.apart(source) };
}

/** Reads all rows once; each epoch has an order of its own that does not depend on the epochs before it. */
async function holdAll(
  source: RowSource,
  { seed, groupByLabel: grouped }: CheckedOptions,
  labels: Labels | undefined,
): Promise<(epoch: number) => Iterable<Row>> {
  const rows: Row[] = [];
  for await (const row of source) rows.push(row);
  return function* inOrder(epoch) {
    const random = new Random(seed, epoch);
    const order = grouped
      ? groupByLabel(
          rows.map((row) => labels!.of(row)),
          random,
        )
      : random.shuffle(Uint32Array.from(rows.keys()));
    for (const place of order) yield rows[place]!;
  };
}

function readAgain(
  source: RowSource,
  { seed, shuffle: order }: CheckedOptions,
): (epoch: number) => RowSource {
  if (typeof order !== 'object') return () => source;
  return (epoch) => shuffle(source, { seed, epoch, buffer: order.buffer });
}

/** Rows of one batch, and how it was filled. */
type Group = { readonly group: Row[] } & Pick<Batch, 'tokens' | 'length'>;

async function* groupRows(
  rows: RowSource,
  { dropLast, uniqueTexts, lists, groupByLabel: grouped }: CheckedOptions,
  room: Room,
): AsyncGenerator<Group, void, undefined> {
  const batch = new FillingBatch(room, uniqueTexts, lists);
  const take = (): Group => {
    const { filled } = room; // before the next batch begins
    return { group: batch.take(), ...filled };
  };
  for await (const row of rows) {
    batch.offer(row);
    while (batch.full) yield take();
  }
  while (!batch.empty) {
    const { full } = batch;
    const last = take(); // rows that waited, because they share a text with these, come into the next
    if (full || (!dropLast && (!grouped || last.group.length >= LEAST_GROUPED))) yield last;
  }
}

async function* withTexts(rows: RowSource): AsyncGenerator<Row, void, undefined> {
  let number = 0;
  for await (const row of rows) {
    requireTexts(row, number++);
    yield row;
  }
}

/** The rows of a batch that a rank takes, in their order. */
function shareOf(rows: readonly Row[], place: RankPlace): Row[] {
  return Array.from(sharesOf(rows.map(lengthOfRow), place).own, (row) => rows[row]!);
}

function toColumns(rows: readonly Row[], names: readonly string[]): Record<string, string[]> {
  for (const row of rows) {
    const own = Object.keys(row);
    if (own.length !== names.length || !names.every((name) => Object.hasOwn(row, name))) {
      throw new GradCacheError(
        'INPUT',
        `A row has the columns ${own.map(show).join(', ')}; the first row has ${names.map(show).join(', ')}, and all must have the same.`,
      );
    }
  }
  return Object.fromEntries(names.map((name) => [name, rows.map((row) => row[name]!)]));
}

function requireTexts(row: unknown, number: number): asserts row is Row {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) {
    throw new GradCacheError(
      'INPUT',
      `Row ${number} is ${show(row)}; an object of texts by column is needed.`,
    );
  }
  let columns = 0;
  for (const [column, text] of Object.entries(row)) {
    if (typeof text !== 'string') {
      throw new GradCacheError('INPUT', `Row ${number}: ${show(column)} is ${show(text)}; a text is needed.`);
    }
    columns++;
  }
  if (columns === 0) throw new GradCacheError('INPUT', `Row ${number} has no columns.`);
}

function checkOptions(source: LabelledRowSource, options: BatchOptions): CheckedOptions {
  const names = [
    'size',
    'fill',
    'seed',
    'epochs',
    'shuffle',
    'dropLast',
    'uniqueTexts',
    'lists',
    'label',
    'ids',
    'groupByLabel',
    'ranks',
  ];
  checkKnown('batches', options, names);
  const {
    size,
    seed = 0,
    epochs = 1,
    shuffle: order = true,
    dropLast = false,
    uniqueTexts = false,
    groupByLabel: grouped = false,
    label,
  } = options;
  requireCount('size', size, 1);
  requireCount('epochs', epochs, 1);
  const { fill } = options;
  if (fill !== undefined) checkFill(fill);
  void new Random(seed);
  if (typeof order === 'object' && order !== null) {
    checkKnown('shuffle', order, ['buffer']);
    requireCount('shuffle.buffer', order.buffer, 1);
  } else if (typeof order !== 'boolean') throw refused('shuffle', order, 'true, false or { buffer: rows }');
  requireBoolean('dropLast', dropLast);
  requireBoolean('uniqueTexts', uniqueTexts);
  requireBoolean('groupByLabel', grouped);
  const { lists } = options;
  if (lists !== undefined && !(Array.isArray(lists) && lists.every((name) => typeof name === 'string')))
    throw refused('lists', lists, 'a list of names of columns');
  if (label !== undefined) checkLabelOptions('label', label);
  const { ids } = options;
  if (ids !== undefined) checkIds(ids, label === undefined ? [] : [label.column]);
  if (grouped) requireGroups(options);
  const ranks = options.ranks ?? undefined;
  if (ranks !== undefined) requirePlace(ranks, size);
  if (typeof source !== 'object') throw refused('source', source, 'an iterable of rows');
  requireIterable('source', source);
  if (epochs > 1 && order !== true && isReadOnce(source)) {
    throw new GradCacheError(
      'INPUT',
      `${epochs} epochs are asked of a source that can be read only once; use an array or readPairs of regular files, or shuffle: true, which holds all rows.`,
    );
  }
  return {
    size,
    seed,
    epochs,
    shuffle: order,
    dropLast,
    uniqueTexts,
    groupByLabel: grouped,
    ...(fill && { fill }),
    ...(lists && { lists: [...lists] }),
    ...(label && { label }),
    ...(ids && { ids: [...ids] }),
    ...(ranks && { ranks }),
  };
}

/** @throws GradCacheError `INPUT` */
function requirePlace(place: RankPlace, size: number): void {
  if (typeof place !== 'object') throw refused('ranks', place, 'a Ranks, or { rank, size },');
  requireCount('ranks.size', place.size, 1);
  requireNumber('ranks.rank', place.rank, { from: 0, to: place.size - 1, whole: true });
  if (size < place.size) throw refused('size', size, `at least ${place.size}, a row for each rank,`);
}

/** @throws GradCacheError `INPUT` for options that do not go with groups of two rows */
function requireGroups({ size, label, shuffle: order = true, uniqueTexts, fill }: BatchOptions): void {
  const refuse = (problem: string): never => {
    throw new GradCacheError('INPUT', `groupByLabel puts rows of one label side by side: ${problem}.`);
  };
  if (label === undefined) refuse('it needs the column of the labels (label)');
  if (size < LEAST_GROUPED || size % 2 !== 0) refuse(`the size is ${size}; an even number from 4 is needed`);
  if (order !== true) refuse('all rows must be held (shuffle: true)');
  if (uniqueTexts === true) refuse('uniqueTexts would put them apart');
  if (fill !== undefined) refuse('a batch that is filled by tokens would put them apart');
}

/** Generators are their own iterators: a second loop over one finds nothing, as over rows from a pipe. */
function isReadOnce(source: LabelledRowSource): boolean {
  if ('next' in source && typeof source.next === 'function') return true;
  const { files } = source as Partial<Dataset>;
  return Array.isArray(files) && readOnceAmong(files as string[]) !== undefined;
}
