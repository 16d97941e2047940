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
  if (model.sparse) {
    const { values, offsets } = await model.encodeSparse(texts, { prompt });
    return [...texts.keys()].filter(
      (row) => !values.subarray(offsets[row], offsets[row + 1]).every(Number.isFinite),
    );
  }
  const { representations, offsets } = model.perToken
    ? await model.encodeTokens(texts, { prompt })
    : { representations: await model.encode(texts, { prompt }), offsets: null };
  try {
    const values = (await representations.values()) as Float32Array | Float64Array;
    const width = representations.shape[1]!;
    return [...texts.keys()].filter((text) => {
      const [begin, end] = offsets === null ? [text, text + 1] : [offsets[text]!, offsets[text + 1]!];
      return values.subarray(begin * width, end * width).some((value) => !Number.isFinite(value));
    });
  } finally {
    representations.dispose();
  }
}
