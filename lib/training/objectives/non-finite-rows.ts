import type { TextEncoder } from '../../encoders/text-encoder.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Texts } from './objective.js';
import { promptOf } from './prompts.js';

/** Rows named in the message; the rest are counted. */
const SHOWN = 5;

/** Encodes a batch once more, without dropout, and says which rows are not finite, or that none is. */
export async function explainNonFinite(
  batch: Texts,
  model: TextEncoder,
  config: FilledTrainConfig,
): Promise<string> {
  const found: string[] = [];
  let count = 0;
  for (const column of config.columns) {
    const texts = batch[column] ?? [];
    for (const row of await nonFiniteRows(model, texts, promptOf(config, column))) {
      count++;
      if (found.length < SHOWN)
        found.push(`${column} of row ${row} (${JSON.stringify((texts[row] ?? '').slice(0, 60))})`);
    }
  }
  if (count === 0)
    return 'All representations of the batch are finite without dropout; a lower learning rate or a higher temperature may help.';
  const rest = count > found.length ? ` and ${count - found.length} more` : '';
  return `Representations that are not finite: ${found.join(', ')}${rest}.`;
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
