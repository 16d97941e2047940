import { readPairs } from '../data/read-pairs.js';
import { GradCacheError } from '../errors.js';
import type { FilledTrainConfig } from './config.js';

/** As JSON arrays name them, and as datasets for sentence-transformers do. */
const NEGATIVE = /^negative(_?\d+)?$/;

/**
 * Adds the hard negatives that the data has, for a configuration that names no columns: `negative`, `negative2` or
 * `negative_2`, and so on, of the first row that can be read. They get the prompt of the positives.
 */
export async function withNegatives(config: FilledTrainConfig): Promise<FilledTrainConfig> {
  const negatives = (await namesOfFirstRow(config)).filter((name) => NEGATIVE.test(name));
  const { positive } = config.prompts;
  const prompts = positive === undefined ? {} : Object.fromEntries(negatives.map((name) => [name, positive]));
  return {
    ...config,
    columns: [...config.columns, ...negatives],
    prompts: { ...config.prompts, ...prompts },
  };
}

async function namesOfFirstRow({ data, format, header }: FilledTrainConfig): Promise<string[]> {
  if (header === false) return [];
  try {
    // A line that lacks a column which nobody asked for is not bad.
    for await (const row of readPairs(data, { format, onBadLine: 'skip' })) return Object.keys(row);
  } catch (error) {
    // What cannot be read at all is reported where the rows are.
    if (!(error instanceof GradCacheError)) throw error;
  }
  return [];
}
