import type { TextEncoder } from '../encoders/text-encoder.js';
import { GradCacheError } from '../errors.js';
import type { FilledTrainConfig } from './config.js';
import type { TokenizedBatch } from './data.js';
import { promptOf } from './prompts.js';

/** Rows named in the message; the rest are counted. */
const SHOWN = 5;

/**
 * Finds out which texts made a step non-finite: encodes the batch once more, without dropout, and looks for rows that
 * are not finite.
 *
 * @param error the error of the step, kept as the cause
 * @returns the error to throw: it names the step, and the rows and texts at fault or that there are none
 */
export async function explainNonFinite(
  error: GradCacheError,
  step: number,
  batch: TokenizedBatch,
  model: TextEncoder,
  config: FilledTrainConfig,
): Promise<GradCacheError> {
  const found: string[] = [];
  let count = 0;
  for (const column of config.columns) {
    const texts = batch.texts[column] ?? [];
    for (const row of await nonFiniteRows(model, texts, promptOf(config, column))) {
      count++;
      if (found.length < SHOWN)
        found.push(`${column} of row ${row} (${JSON.stringify((texts[row] ?? '').slice(0, 60))})`);
    }
  }
  const rest = count > found.length ? ` and ${count - found.length} more` : '';
  const where =
    count > 0
      ? `Representations that are not finite: ${found.join(', ')}${rest}.`
      : 'All representations of the batch are finite without dropout; a lower learning rate or a higher temperature may help.';
  return new GradCacheError(
    'NON_FINITE',
    `Step ${step} (epoch ${batch.epoch}, batch ${batch.index}) was not made: ${error.message} ${where}`,
    { cause: error },
  );
}

async function nonFiniteRows(
  model: TextEncoder,
  texts: readonly string[],
  prompt: string,
): Promise<number[]> {
  if (texts.length === 0) return [];
  const representations = await model.encode(texts, { prompt });
  try {
    const values = (await representations.values()) as ArrayLike<number>;
    const width = values.length / texts.length;
    const rows = new Set<number>();
    for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) rows.add(Math.floor(i / width));
    return [...rows];
  } finally {
    representations.dispose();
  }
}
