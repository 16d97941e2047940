/** A thread that trains for some steps and posts a digest of the weights that come out. */
import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { AdamW, GradCache, infoNCE } from '../../lib/index.js';
import { createEncoder, type Shape } from '../../bench/gpu/models.js';
import { mixedLengths, tokens } from './support.js';

const shape: Shape = { hidden: 128, layers: 2, heads: 2, intermediate: 128, vocabulary: 500, positions: 128 };

async function train(): Promise<string> {
  const { device, seed, longest } = workerData as { device: string; seed: number; longest: number };
  const encoder = await createEncoder(shape, { device, precision: 'bfloat16', dropout: 0.1, seed });
  const optimizer = new AdamW(encoder.parameters(), { lr: 1e-3 });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.05 }),
    chunk: { tokens: 1000 },
    seed,
  });
  const hash = createHash('sha256');
  for (let step = 0; step < 16; step++) {
    const batches = [1, 2].map((tower) =>
      tokens(mixedLengths(100, longest), shape.vocabulary, seed + 10 * step + tower),
    );
    const { loss } = await gradcache.step(batches);
    await optimizer.step();
    hash.update(String(loss));
  }
  for (const { tensor } of encoder.parameters()) hash.update(await tensor.bytes());
  encoder.dispose();
  return hash.digest('hex');
}

parentPort?.postMessage(await train());
