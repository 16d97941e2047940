import assert from 'node:assert/strict';
import {
  GradCache,
  infoNCE,
  type GradCacheOptions,
  type StepOptions,
  type TextEncoder,
} from '../../lib/index.js';
import { gradients, tenTexts, textEncoder } from '../exactness/support.js';

/** One batch of ten texts for each tower. */
export const good = [tenTexts(1), tenTexts(2)] as const;

/** Runs a step that must fail; the gradients that were there before must be there after, bit for bit. */
export async function failing(
  options: Partial<GradCacheOptions>,
  inputs: readonly unknown[],
  expected: (error: unknown) => boolean,
  stepOptions: StepOptions = {},
  encoder?: TextEncoder,
): Promise<void> {
  const own = encoder ?? (await textEncoder('float32', { dropout: 0.1 }));
  const all = { encoders: [own, own], loss: infoNCE(), chunk: { sequences: 3 }, ...options };
  await new GradCache({ encoders: [own, own], loss: infoNCE(), chunk: { sequences: 3 } }).step(good);
  const before = await gradients([own]);
  const gradcache = new GradCache(all);
  await assert.rejects(gradcache.step(inputs, stepOptions), expected);
  assert.deepEqual(await gradients([own]), before);
  // The same object goes on to work.
  if (options.loss === undefined && options.encoders === undefined)
    assert.ok(Number.isFinite((await gradcache.step(good)).loss));
}
