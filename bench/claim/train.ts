import {
  AdamW,
  batches,
  evaluateRetrieval,
  GradCache,
  infoNCE,
  linearSchedule,
  type RetrievalTask,
  type TextEncoder,
} from '../../lib/index.js';
import { makeModel } from '../../examples/quickstart/model.js';
import type { Pair } from './task.js';

const TEMPERATURE = 0.05;

/** A way to train with the memory for few texts, or without that limit. */
export interface Way {
  readonly name: string;
  /** Pairs that are one another's negatives. */
  readonly together: number;
  /** Texts of a tower in the encoder at once. */
  readonly chunk: number;
  /** Steps whose gradients are added up for an update. */
  readonly accumulate: number;
  readonly updates: number;
}

/** Pairs that an update sees. */
export const pairsOfUpdate = ({ together, accumulate }: Way): number => together * accumulate;

/** What was found with the trained model. */
export interface Measured {
  readonly recall1: number;
  readonly recall10: number;
  readonly mrr10: number;
}

/** A finished run. */
export interface Outcome extends Measured {
  /** Of a processor. */
  readonly seconds: number;
  /** Loss of the first update. */
  readonly firstLoss: number;
}

/**
 * Trains a model from random weights and measures it. Runs of one seed begin with the same weights and see the same pairs in
 * the same order, whichever way they go: each cuts the same batches.
 *
 * @param batch pairs of a batch that is cut
 */
export async function trainAndMeasure(
  way: Way,
  pairs: readonly Pair[],
  held: RetrievalTask,
  { lr, seed, batch }: { readonly lr: number; readonly seed: number; readonly batch: number },
): Promise<Outcome> {
  const started = process.cpuUsage();
  const model = await makeModel('cpu', seed);
  const gradcache = new GradCache({
    encoders: [model, model],
    loss: infoNCE({ temperature: TEMPERATURE, symmetric: true }),
    chunk: { sequences: way.chunk },
    accumulate: way.accumulate,
  });
  const optimizer = new AdamW(gradcache.parameters(), { lr, maxGradNorm: 1 });
  const schedule = linearSchedule({ lr, warmup: Math.ceil(way.updates / 10), total: way.updates });
  let [steps, firstLoss] = [0, 0];
  for await (const [queries, answers] of parts(pairs, seed, batch, way.together)) {
    const update = Math.floor(steps / way.accumulate);
    const { loss } = await gradcache.step([model.tokenize(queries), model.tokenize(answers)]);
    if (update === 0) firstLoss += loss / way.accumulate;
    if (++steps % way.accumulate !== 0) continue;
    optimizer.lr = schedule(update);
    await optimizer.step();
    if (update + 1 === way.updates) break;
  }
  optimizer.dispose();
  const measured = await measure(model, held);
  model.dispose();
  const { user, system } = process.cpuUsage(started);
  return { ...measured, firstLoss, seconds: (user + system) / 1e6 };
}

/** The scores of a model of random weights. */
export async function untrained(held: RetrievalTask, seed: number): Promise<Measured> {
  const model = await makeModel('cpu', seed);
  const measured = await measure(model, held);
  model.dispose();
  return measured;
}

/** The batches of a seed without end, cut into parts. */
async function* parts(
  pairs: readonly Pair[],
  seed: number,
  size: number,
  part: number,
): AsyncGenerator<[string[], string[]]> {
  const epochs = Number.MAX_SAFE_INTEGER;
  for await (const { columns } of batches(pairs, { size, epochs, seed, uniqueTexts: true, dropLast: true }))
    for (let from = 0; from < size; from += part)
      yield [columns.query.slice(from, from + part), columns.answer.slice(from, from + part)];
}

async function measure(model: TextEncoder, held: RetrievalTask): Promise<Measured> {
  const { recall, mrr10 } = await evaluateRetrieval(model, held, { recallAt: [1, 10] });
  return { recall1: recall[1]!, recall10: recall[10]!, mrr10 };
}
