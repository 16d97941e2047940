import { AdamW, batches, evaluateRetrieval, GradCache, infoNCE, linearSchedule, search } from 'gradcache';
import type { RetrievalScores, RetrievalTask, TextEncoder } from 'gradcache';
import type { Definition } from './wordnet.js';

/** How the encoder is trained. */
export interface Settings {
  /** Pairs in a batch. */
  readonly batch: number;
  /** Texts in the encoder at once. */
  readonly chunk: number;
  readonly steps: number;
  readonly lr: number;
  readonly temperature: number;
}

/** What came of it. */
export interface Training {
  /** Loss of every step. */
  readonly losses: readonly number[];
  readonly tokens: number;
  /** Seconds spent in steps. */
  readonly seconds: number;
  /** The most memory of any step, in bytes. */
  readonly peakMemory: number;
}

/** Trains the encoder to put a gloss and its term close together: each gloss against all terms of the batch, and back. */
export async function train(
  model: TextEncoder,
  definitions: readonly Definition[],
  settings: Settings,
  onStep: (step: number, loss: number, tokensPerSecond: number) => void,
): Promise<Training> {
  const { batch: size, chunk, steps, lr, temperature } = settings;
  const gradcache = new GradCache({
    encoders: [model, model],
    loss: infoNCE({ temperature, symmetric: true }),
    chunk: { sequences: chunk },
  });
  const optimizer = new AdamW(gradcache.parameters(), { lr, maxGradNorm: 1 });
  const schedule = linearSchedule({ lr, warmup: Math.ceil(steps / 10), total: steps });

  const losses: number[] = [];
  let [tokens, seconds, peakMemory] = [0, 0, 0];
  const epochs = Number.MAX_SAFE_INTEGER; // the number of steps says when to end
  for await (const { columns } of batches(definitions, {
    size,
    epochs,
    seed: 1,
    uniqueTexts: true,
    dropLast: true,
  })) {
    const started = performance.now();
    optimizer.lr = schedule(losses.length);
    const result = await gradcache.step([
      model.tokenize(columns.gloss ?? []),
      model.tokenize(columns.term ?? []),
    ]);
    await optimizer.step();
    losses.push(result.loss);
    tokens += result.tokens;
    seconds += (performance.now() - started) / 1000;
    peakMemory = Math.max(peakMemory, result.peakMemory);
    onStep(losses.length, result.loss, tokens / seconds);
    if (losses.length === steps) break;
  }
  optimizer.dispose();
  return { losses, tokens, seconds, peakMemory };
}

/** Retrieval of the right term for glosses that training never saw, among the terms of all of them. */
export async function measure(model: TextEncoder, heldOut: readonly Definition[]): Promise<RetrievalScores> {
  const task: RetrievalTask = {
    queries: heldOut.map(({ gloss }) => gloss),
    documents: heldOut.map(({ term }) => term),
    relevant: heldOut.map((_, index) => new Map([[index, 1]])),
  };
  return evaluateRetrieval(model, task, { recallAt: [1, 10] });
}

/** The terms that the model finds for a gloss, best first. */
export async function findTerms(
  model: TextEncoder,
  glosses: readonly string[],
  terms: readonly string[],
  k: number,
): Promise<string[][]> {
  const queries = await model.encode(glosses);
  const documents = await model.encode(terms);
  const { documents: found, k: each } = await search(queries, documents, { k });
  queries.dispose();
  documents.dispose();
  return glosses.map((_, row) =>
    Array.from(found.subarray(row * each, row * each + each), (place) => terms[place] ?? ''),
  );
}
