/**
 * Makes one training step in a process of its own and prints the peak of its memory in bytes. Started by memory-curve.ts:
 *
 *     node memory-probe.js BATCH CHUNK    (CHUNK 0: the whole batch at once, every graph kept: the usual way)
 */
import { AdamW, GradCache, infoNCE } from 'gradcache';
import { makeModel } from './model.js';
import { readWordNet } from './wordnet.js';

async function main(size: number, chunk: number): Promise<void> {
  // Only the pairs of the batch stay in memory, so that what differs between two sizes is the step alone.
  const pairs = structuredClone((await readWordNet()).slice(0, size));
  const model = await makeModel('cpu');
  const gradcache = new GradCache({
    encoders: [model, model],
    loss: infoNCE({ temperature: 0.05, symmetric: true }),
    chunk: { sequences: chunk === 0 ? size : chunk },
    retain: { bytes: chunk === 0 ? Number.MAX_SAFE_INTEGER : 0 },
  });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 1e-3 });
  const tokens = [
    await model.tokenize(pairs.map(({ gloss }) => gloss)),
    await model.tokenize(pairs.map(({ term }) => term)),
  ];
  globalThis.gc?.(); // what reading and tokenising left behind is not the step's
  const { peakMemory } = await gradcache.step(tokens);
  await optimizer.step();
  process.stdout.write(`${peakMemory}\n`);
}

void main(Number(process.argv[2]), Number(process.argv[3]));
