/*
 * Which batches of rows a run uses, how many there are, and what is said of those that it does not.
 */
import type { Batch } from '../data/batches.js';
import type { RankPlace } from '../data/deal.js';
import { GradCacheError } from '../errors.js';
import { plural } from '../options/plural.js';
import type { FilledTrainConfig } from './read-config.js';

/** What was counted of the rows of a run. */
export interface CountedRows {
  /** Rows of the first pass over the data, and those of them that no batch takes. */
  readonly rows: number;
  readonly leftOver: number;
  /** Batches of all passes. */
  readonly batches: number;
  /** Batches of the first pass with fewer rows than `batch` says, and the rows of the smallest of these. */
  readonly small: number;
  readonly smallest: number;
}

/**
 * What so many rows of a pass come to, where batches are filled by rows alone.
 *
 * @throws GradCacheError `INPUT` where they make no batch
 */
export function countRows(
  config: FilledTrainConfig,
  ranks: RankPlace | null,
  { rows, epochs }: { readonly rows: number; readonly epochs: number },
): CountedRows {
  const { batch } = config;
  const rest = rows % batch;
  const isUsed = rest > 0 && isLargeEnough({ size: rest }, config, ranks);
  const batches = epochs * (Math.floor(rows / batch) + Number(isUsed));
  if (batches === 0) throw tooFewRows(config, ranks, rows);
  return {
    rows,
    leftOver: isUsed ? 0 : rest,
    batches,
    small: Number(isUsed),
    smallest: isUsed ? rest : batch,
  };
}

/**
 * The rows left over at the end of an epoch make a batch only where they fill half of one: with fewer negatives, a batch
 * is another and easier task, and `uniqueTexts` can leave many batches of a few rows. A pair alone has nothing to be told
 * from. Of several ranks each needs a row.
 */
export function isLargeEnough(
  { size, tokens = 0 }: Pick<Batch, 'size' | 'tokens'>,
  { batch, curriculum }: FilledTrainConfig,
  ranks: RankPlace | null,
): boolean {
  const enough = size >= batch / 2 || (curriculum !== undefined && tokens >= curriculum.tokens / 2);
  return enough && size >= Math.max(2, ranks?.size ?? 1);
}

/** The error for data that makes no batch. @param rows how many there are, where that is known */
export function tooFewRows(
  config: FilledTrainConfig,
  ranks: RankPlace | null,
  rows?: number,
): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `${config.data.join(', ')}: the ${rows === undefined ? 'rows' : plural(rows, 'row')}${config.uniqueTexts ? ' with different texts' : ''} do not ` +
      `fill ${config.batch < 4 ? 'a batch of two' : `half a batch of ${config.batch}`}. Use a smaller batch (--batch), or more data.${insteadOfApart(config)}` +
      (ranks === null ? '' : ` Each of the ${ranks.size} ranks needs a row of every batch.`),
  );
}

/** What to do where texts that repeat are put into different batches, which leaves small ones. */
function insteadOfApart({ uniqueTexts, loss }: FilledTrainConfig): string {
  if (!uniqueTexts) return '';
  return 'maskDuplicates' in loss
    ? ' Rows that share a text are put into different batches: --loss.maskDuplicates keeps them together, and takes them for no ' +
        'negatives of each other.'
    : ' Rows that share a text are put into different batches: --no-unique-texts keeps them together.';
}

/** A sentence about batches with fewer rows than `batch` says, and rows that no batch takes; undefined where there are none. */
export function saySmallBatches(
  config: FilledTrainConfig,
  { rows, small, smallest, leftOver }: CountedRows,
): string | undefined {
  const { batch } = config;
  const parts = [
    ...(small === 0
      ? []
      : [
          `${plural(small, 'batch', 'batches')} of an epoch ${small === 1 ? 'has' : 'have'} fewer than ${batch} pairs` +
            (small === 1 ? `: ${smallest}` : `, the smallest ${smallest}`),
        ]),
    ...(leftOver === 0
      ? []
      : [
          `${leftOver} of ${plural(rows, 'row')} are in no batch, as they do not fill half of one (--batch ${batch})`,
        ]),
  ];
  // One batch at the end is so wherever rows do not come out even.
  const isUsual = small + Math.ceil(leftOver / batch) <= 1;
  return parts.length === 0 ? undefined : `${parts.join('; ')}.${isUsual ? '' : insteadOfApart(config)}`;
}
