import type { TextEncoder } from '../../encoders/text-encoder.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Texts } from './objective.js';
import { promptOf } from './prompts.js';

/** Rows named in the message; the rest are counted. */
const SHOWN = 5;

/** Encodes a batch once more, without dropout, and says which rows are not finite, or that none is. */
export function explainNonFinite(
  batch: Texts,
  encoderOf: (place: number) => TextEncoder,
  config: FilledTrainConfig,
): Promise<string> {
  return sayNonFinite(batch, config.columns, (texts, column) =>
    nonFiniteRows(encoderOf(config.columns.indexOf(column)), texts, promptOf(config, column)),
  );
}

/** The sentence of {@link explainNonFinite}. @param find the numbers of a column's texts whose representations are not finite */
export async function sayNonFinite(
  batch: Texts,
  columns: readonly string[],
  find: (texts: readonly string[], column: string) => Promise<readonly number[]>,
): Promise<string> {
  const found: string[] = [];
  let count = 0;
  for (const column of columns) {
    const texts = batch[column] ?? [];
    for (const row of await find(texts, column)) {
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
  if (model.sparse) {
    const { values, offsets } = await model.encodeSparse(texts, { prompt });
    return [...texts.keys()].filter(
      (row) => !values.subarray(offsets[row], offsets[row + 1]).every(Number.isFinite),
    );
  }
  const { representations, offsets } = model.perToken
    ? await model.encodeTokens(texts, { prompt })
    : { representations: await model.encode(texts, { prompt }), offsets: null };
  return nonFiniteIn(representations, offsets ?? Int32Array.from([...texts, ''].keys()));
}

/** The numbers of the texts with a number that is not finite. @param offsets where each begins in `representations`, which are disposed */
export async function nonFiniteIn(representations: Tensor, offsets: Int32Array): Promise<number[]> {
  try {
    const values = (await representations.values()) as Float32Array | Float64Array;
    const width = representations.shape[1]!;
    return Array.from({ length: offsets.length - 1 }, (_, text) => text).filter((text) =>
      values
        .subarray(offsets[text]! * width, offsets[text + 1]! * width)
        .some((value) => !Number.isFinite(value)),
    );
  } finally {
    representations.dispose();
  }
}
