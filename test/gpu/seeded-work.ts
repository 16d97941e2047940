/**
 * Work under seeds on the engine thread and on the JavaScript thread of this program. Run as a worker thread, it posts what
 * both have computed.
 */
import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import { call, tidy, withSeed, type Tensor } from '../../lib/index.js';
import { createEncoder, type Shape } from '../../bench/gpu/models.js';
import { tokens } from './support.js';

/** Texts longer than 256 tokens go through flash attention, which draws from the device's own generator. */
export const longTexts: Shape = {
  hidden: 128,
  layers: 2,
  heads: 2,
  intermediate: 128,
  vocabulary: 500,
  positions: 512,
};

/** Forwards of long texts with dropout, and what the JavaScript thread draws: beside them, or after them. */
export async function seededWork(
  device: string,
  order: 'beside' | 'after',
): Promise<{ chunks: string[]; draws: string[] }> {
  const encoder = await createEncoder(longTexts, { device, precision: 'bfloat16', dropout: 0.1, seed: 5 });
  const batch = tokens([300, 400, 500, 280], longTexts.vocabulary, 3);
  const chunk = { batch, rows: Int32Array.of(0, 1, 2, 3), tokens: batch.ids.length };
  const encode = async (): Promise<string> => {
    const { representations } = await encoder.forwardChunk(chunk, { seed: 11 });
    return digest(representations);
  };
  const draw = (): Promise<string> => {
    const shape = [16];
    const drawn = withSeed(13, () =>
      tidy(() =>
        call(
          'aten::cat',
          Array.from({ length: 200 }, () => call('aten::randn', shape, { device })),
        ),
      ),
    );
    return digest(drawn);
  };
  const encoded = Promise.all(Array.from({ length: 40 }, encode));
  let running = true;
  const done = encoded.finally(() => (running = false));
  if (order === 'after') await done;
  const draws: Promise<string>[] = [];
  do {
    draws.push(draw());
    await setImmediate();
  } while (running);
  const result = { chunks: await done, draws: await Promise.all(draws) };
  encoder.dispose();
  return result;
}

async function digest(tensor: Tensor): Promise<string> {
  const bytes = await tensor.bytes();
  tensor.dispose();
  return createHash('sha256').update(bytes).digest('hex');
}

if (!isMainThread) parentPort?.postMessage(await seededWork(workerData as string, 'beside'));
