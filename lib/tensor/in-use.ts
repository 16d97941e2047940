import { GradCacheError } from '../errors.js';
import type { Parameter, Tensor } from './tensor.js';

/** The step that is at work on a tensor, how many readers store it, and tensors that an optimizer updates. */
const steps = new WeakMap<Tensor, Promise<void>>();
const readers = new WeakMap<Tensor, number>();
const updates = new WeakSet<Tensor>();

const tensorsOf = (parameters: readonly Parameter[]): Tensor[] => parameters.map(({ tensor }) => tensor);

/**
 * Runs a step. Steps of several GradCaches that share a parameter take turns: one that fails puts the gradients back as they
 * were at its beginning, and would take back what another had added meanwhile.
 *
 * @throws GradCacheError `INPUT` while an optimizer updates one of the parameters: a part of the chunks would meet other weights
 */
export async function whileStepping<T>(parameters: readonly Parameter[], run: () => Promise<T>): Promise<T> {
  const tensors = tensorsOf(parameters);
  refuseBesideUpdate(tensors);
  for (let before; (before = tensors.find((tensor) => steps.has(tensor))) !== undefined;)
    await steps.get(before);
  refuseBesideUpdate(tensors);
  let done!: () => void;
  const running = new Promise<void>((resolve) => (done = resolve));
  for (const tensor of tensors) steps.set(tensor, running);
  try {
    return await run();
  } finally {
    for (const tensor of tensors) steps.delete(tensor);
    done();
  }
}

/**
 * Runs what stores these parameters.
 *
 * @throws GradCacheError `INPUT` while an optimizer updates one of them: what is stored would be of two moments
 */
export async function whileReading<T>(parameters: readonly Parameter[], run: () => Promise<T>): Promise<T> {
  const tensors = tensorsOf(parameters);
  refuseBesideUpdate(tensors);
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
  const tensors = tensorsOf(parameters);
  if (tensors.some((tensor) => steps.has(tensor)))
    throw new GradCacheError('INPUT', 'gradcache.step() is still running: await it before the optimizer');
  if (tensors.some((tensor) => (readers.get(tensor) ?? 0) > 0))
    throw new GradCacheError('INPUT', 'save() or state() is still running: await it before the optimizer');
  if (tensors.some((tensor) => updates.has(tensor)))
    throw new GradCacheError('INPUT', 'an optimizer is still at work on these parameters: await it first');
  for (const tensor of tensors) updates.add(tensor);
  try {
    return await run();
  } finally {
    for (const tensor of tensors) updates.delete(tensor);
  }
}

function refuseBesideUpdate(tensors: readonly Tensor[]): void {
  if (tensors.some((tensor) => updates.has(tensor)))
    throw new GradCacheError('INPUT', 'optimizer.step() is still running: await it first');
}
