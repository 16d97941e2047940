import { batches, type Batch } from '../../data/batches.js';
import type { Ranks } from '../../distributed/ranks.js';
import { onEach } from '../../distributed/shared-work.js';
import { dataFiles } from '../../data/data-files.js';
import { formatOf } from '../../data/formats.js';
import { checkReadOptions } from '../../data/read-pairs.js';
import { readRows } from '../../data/read-rows.js';
import { badLine, type Row } from '../../data/row.js';
import { otherRow } from '../../data/setting-names.js';
import { refuse } from '../../options/fields.js';
import { plural } from '../../options/plural.js';
import { labelOptions, listOptions } from '../column-options.js';
import { placeOf, settingNamesOf, type NamedSet } from '../held-out-sets.js';
import type { FilledTrainConfig } from '../read-config.js';

/**
 * Reads a set of held-out rows as batches like those of its training, in the order of the file.
 *
 * @param choose the rows that batches are made of; default: all
 * @returns null where the loss is not to be measured
 * @throws GradCacheError `INPUT`
 */
export async function loadHeldOutBatches(
  { name, set }: NamedSet,
  config: FilledTrainConfig,
  signal: AbortSignal | undefined,
  choose: (rows: readonly Row[]) => readonly Row[] | Promise<readonly Row[]> = (rows) => rows,
): Promise<AsyncIterable<Batch> | null> {
  const { columns: trained, batch: size, uniqueTexts, groupByLabel, ids } = config;
  const { data, format, header, quoting, delimiter } = set;
  if (set.loss !== true || data === undefined) return null;
  const columns = (set.task === undefined ? set.columns : undefined) ?? trained;
  if (columns.length !== trained.length)
    throw refuse(
      `config.${placeOf(name)}.columns`,
      columns,
      `${plural(trained.length, 'column')} for the loss`,
    );
  const [label, ofRead] = [labelOptions(config), labelOptions({ ...config, columns })];
  const how = {
    columns,
    format,
    header,
    quoting,
    delimiter,
    signal,
    ...listOptions(config, columns),
    ...(ofRead && { label: ofRead }),
    ...(ids && { ids }),
  };
  const names = settingNamesOf(name);
  checkReadOptions(how, names);
  const files = dataFiles([data]);
  if (format === undefined) for (const file of files) formatOf(file, names, delimiter);
  const found = readRows(files, { ...how, names }, (line) => {
    throw badLine(line, otherRow(names));
  });
  const rows: Row[] = [];
  for await (const row of found) rows.push(named(row, columns, trained));
  const order = groupByLabel ? { groupByLabel, shuffle: true } : { shuffle: false };
  const listed = config.lists && { lists: config.lists };
  const beside = { ...(label && { label }), ...(ids && { ids }) };
  return batches(await choose(rows), { size, uniqueTexts, ...order, ...listed, ...beside });
}

/** The mean of the losses of batches, each by its rows. Ranks take turns: each measures whole batches. */
export async function meanLoss(
  heldOut: AsyncIterable<Batch>,
  ranks: Ranks | null,
  lossOf: (batch: Batch) => Promise<number>,
): Promise<number> {
  const { rank, size: turns } = ranks ?? { rank: 0, size: 1 };
  const sizes: number[] = [];
  const own = await onEach(ranks, 'measuring the loss of held-out batches', async () => {
    const losses: number[] = [];
    for await (const batch of heldOut) {
      if (sizes.length % turns === rank) losses.push(await lossOf(batch));
      sizes.push(batch.size);
    }
    return losses;
  });
  const all = ranks === null ? [own] : await ranks.numbers(own);
  let [sum, rows] = [0, 0];
  for (const [number, size] of sizes.entries()) {
    sum += size * all[number % turns]![Math.floor(number / turns)]!;
    rows += size;
  }
  return sum / rows;
}

/** A row under the names of the columns that are trained on. */
function named(row: Row, columns: readonly string[], trained: readonly string[]): Row {
  const texts = Object.fromEntries(trained.map((name, place) => [name, row[columns[place]!]!]));
  const beside = Object.entries(row).filter(([name]) => !columns.includes(name));
  return { ...texts, ...Object.fromEntries(beside) };
}
