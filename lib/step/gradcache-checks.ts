import { GradCacheError } from '../errors.js';
import { requireChunkSize, type ChunkSize } from './chunk-plan.js';
import type { Encoder } from './encoder.js';
import type { GradCacheOptions, StepOptions } from './gradcache.js';
import { checkKnown } from '../options/known-options.js';
import { requireLoss } from '../losses/loss.js';
import {
  refused,
  requireCount,
  requireFunction,
  requireNumber,
  requireSignal,
} from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';

/**
 * What the compiler would say to a program in TypeScript, said to one in JavaScript before anything is computed.
 *
 * @throws GradCacheError `INPUT`
 */
export function checkOptions(options: GradCacheOptions): void {
  checkKnown('GradCache', options, ['encoders', 'loss', 'chunk', 'retain', 'accumulate', 'seed']);
  const { encoders, loss, chunk = 'auto', retain = 'last', accumulate = 1, seed } = options;
  if (!Array.isArray(encoders) || encoders.length === 0)
    throw refused('encoders', encoders, 'a list with one for each tower');
  const foreign = (encoders as readonly (Partial<Encoder> | null)[]).findIndex(
    (encoder) => typeof encoder?.forwardChunk !== 'function',
  );
  if (foreign >= 0) {
    throw new GradCacheError(
      'INPUT',
      `encoders[${foreign}] is no encoder; wrap a class with forward() and parameters() in ModuleEncoder`,
    );
  }
  requireLoss(loss);
  if (Array.isArray(chunk) && chunk.length !== encoders.length) {
    throw new GradCacheError('INPUT', `${chunk.length} chunk sizes for ${encoders.length} towers`);
  }
  const chunks: readonly ChunkSize[] = Array.isArray(chunk) ? chunk : [chunk];
  for (const size of chunks) if (size !== 'auto') requireChunkSize(size);
  if (retain !== 'auto' && retain !== 'last') {
    if (typeof retain !== 'object' || retain === null)
      throw refused('retain', retain, "'last', 'auto' or { bytes }");
    checkKnown('retain', retain, ['bytes']);
    requireNumber('retain.bytes', retain.bytes, { from: 0, infinite: true });
  }
  requireCount('accumulate', accumulate, 1);
  if (seed !== undefined) requireSeed(seed);
}

/** As {@link checkOptions}, for what a step is given. */
export function checkStep(inputs: readonly unknown[], options: StepOptions): void {
  if (!Array.isArray(inputs)) throw refused('inputs', inputs, 'a list with one batch for each tower');
  checkKnown('step', options, ['signal', 'onProgress', 'loss', 'seed']);
  const { signal, onProgress, seed, loss = {} } = options;
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  if (typeof loss !== 'object' || loss === null || Array.isArray(loss))
    throw refused('loss', loss, 'an object of keyword arguments');
  if (seed !== undefined) requireSeed(seed);
}
