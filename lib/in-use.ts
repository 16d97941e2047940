import { GradCacheError } from './errors.js';
import type { Parameter, Tensor } from './tensor.js';

/** How many readers are at work on a tensor (two GradCaches may share an encoder), and tensors that an optimizer updates. */
const readers = new WeakMap<Tensor, number>();
const updates = new WeakSet<Tensor>();

/**
 * Runs what needs these parameters as they are from its beginning to its end: a step, or saving.
 *
 * @throws GradCacheError `INPUT` while an optimizer updates one of them: a part of it would meet other weights
 */
export async function whileReading<T>(parameters: readonly Parameter[], run: () => Promise<T>): Promise<T> {
  const tensors = parameters.map(({ tensor }) => tensor);
  if (tensors.some((tensor) => updates.has(tensor)))
    throw new GradCacheError('INPUT', 'optimizer.step() is still running: await it first');
  for (const tensor of tensors) readers.set(tensor, (readers.get(tensor) ?? 0) + 1);
  try {
    return await run();
  } finally {
    for (const tensor of tensors) readers.set(tensor, (readers.get(tensor) ?? 1) - 1);
  }
}

/**
 * Runs a change of these parameters or their gradients.
 *
 * @throws GradCacheError `INPUT` while a step, saving or another change of one of them runs
 */
export async function whileUpdating<T>(parameters: readonly Parameter[], run: () => Promise<T>): Promise<T> {
  const tensors = parameters.map(({ tensor }) => tensor);
  if (tensors.some((tensor) => (readers.get(tensor) ?? 0) > 0))
    throw new GradCacheError(
      'INPUT',
      'gradcache.step(), save() or state() is still running: await it before the optimizer',
    );
  if (tensors.some((tensor) => updates.has(tensor)))
    throw new GradCacheError('INPUT', 'an optimizer is still at work on these parameters: await it first');
  for (const tensor of tensors) updates.add(tensor);
  try {
    return await run();
  } finally {
    for (const tensor of tensors) updates.delete(tensor);
  }
}
