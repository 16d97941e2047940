import { batches } from '../data/batches.js';
import type { Batch } from '../data/batches.js';
import { prefetch } from '../data/prefetch.js';
import { readPairs } from '../data/read-pairs.js';
import type { TextEncoder } from '../encoders/text-encoder.js';
import type { TokenBatch } from '../encoders/tokenizer.js';
import { throwIfAborted } from '../encoders/chunk-queue.js';
import { GradCacheError } from '../errors.js';
import type { FilledTrainConfig } from './config.js';

/** A batch as the step takes it, and where it came from. */
export interface TokenizedBatch {
  /** One entry a column: towers in the order of `config.columns`. */
  readonly inputs: readonly TokenBatch[];
  /** The texts by column, for messages. */
  readonly texts: Readonly<Record<string, readonly string[]>>;
  /** Counted from 0, like the place in the epoch. */
  readonly epoch: number;
  readonly index: number;
}

/**
 * Counts the updates of a run whose length is given in epochs, by forming its batches once without tokenising them.
 *
 * @param onSkip told of every line that is skipped as bad
 * @returns rows of one pass over the data, those of its first pass that no batch takes, and batches of all passes
 */
export async function countBatches(
  config: FilledTrainConfig,
  options: { onSkip?: (message: string) => void; signal?: AbortSignal } = {},
): Promise<{ rows: number; leftOver: number; batches: number }> {
  const counted = { rows: 0, leftOver: 0, batches: 0 };
  for await (const batch of allBatches(config, options.onSkip)) {
    throwIfAborted(options.signal);
    if (batch.epoch === 0) counted.rows += batch.size;
    if (isLargeEnough(batch, config)) counted.batches++;
    else if (batch.epoch === 0) counted.leftOver += batch.size;
  }
  if (counted.batches === 0) throw tooFewRows(config);
  return counted;
}

/** The batches of a run in order, without the first `skip`, tokenised one ahead of their use. */
export async function* tokenizedBatches(
  config: FilledTrainConfig,
  model: TextEncoder,
  options: { skip: number; signal?: AbortSignal },
): AsyncGenerator<TokenizedBatch, void, undefined> {
  yield* prefetch(usedBatches(config, options), async (batch) => {
    const inputs = await Promise.all(
      config.columns.map((column) =>
        model.tokenize(batch.columns[column] ?? [], { prompt: config.prompts[column] }),
      ),
    );
    return { inputs, texts: batch.columns, epoch: batch.epoch, index: batch.index };
  });
}

async function* usedBatches(
  config: FilledTrainConfig,
  { skip, signal }: { skip: number; signal?: AbortSignal },
): AsyncGenerator<Batch, void, undefined> {
  let used = 0;
  for await (const batch of allBatches(config)) {
    throwIfAborted(signal);
    // Without this, a run given in steps would go over too small a file for ever.
    if (batch.epoch > 0 && used === 0) throw tooFewRows(config);
    if (isLargeEnough(batch, config) && ++used > skip) yield batch;
  }
}

function allBatches(config: FilledTrainConfig, onSkip?: (message: string) => void): AsyncIterable<Batch> {
  const { data, columns, format, header, quoting, onBadLine, batch, seed, shuffle, uniqueTexts } = config;
  const rows = readPairs(data, {
    columns,
    format,
    header,
    quoting,
    onBadLine,
    onSkip: ({ file, line, reason }) => onSkip?.(`${file}, line ${line}: ${reason}`),
  });
  const epochs = config.epochs ?? Number.MAX_SAFE_INTEGER;
  return batches(rows, { size: batch, seed, epochs, shuffle, uniqueTexts });
}

/**
 * The rows left over at the end of an epoch make a batch only where they fill half of one: with fewer negatives, a batch
 * is another and easier task, and `uniqueTexts` can leave many batches of a few rows.
 */
function isLargeEnough(batch: Batch, config: FilledTrainConfig): boolean {
  return batch.size * 2 >= config.batch;
}

function tooFewRows(config: FilledTrainConfig): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `${config.data.join(', ')}: the rows${config.uniqueTexts ? ' with different texts' : ''} do not fill half a batch of ` +
      `${config.batch}. Use a smaller batch, or more data.`,
  );
}
