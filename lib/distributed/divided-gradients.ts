/*
 * Which gradients ranks need only their own share of. An optimizer whose state is divided over ranks says so of the models that
 * it updates; a step over ranks then adds up their gradients to shares.
 */
import { GradCacheError } from '../errors.js';
import { ModelParameter } from '../tensor/model-parameter.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';

/** How many optimizers take shares of the gradients in a buffer. */
const takers = new WeakMap<Tensor, number>();

/** Buffers whose sums lie on the ranks in shares. */
const divided = new WeakSet<Tensor>();

/** The buffers of the native models that parameters are of. */
export function buffersOf(parameters: readonly Parameter[]): Tensor[] {
  const native = parameters.map(({ tensor }) => tensor).filter((tensor) => tensor instanceof ModelParameter);
  return [...new Set(native.map(({ buffer }) => buffer))];
}

/** Says that an optimizer takes shares of these gradients. @returns a function that takes it back */
export function takeShares(parameters: readonly Parameter[]): () => void {
  const buffers = buffersOf(parameters);
  for (const buffer of buffers) takers.set(buffer, (takers.get(buffer) ?? 0) + 1);
  return () => {
    for (const buffer of buffers.splice(0)) takers.set(buffer, takers.get(buffer)! - 1);
  };
}

/** Whether a step is to add up the gradients in a buffer to shares. */
export const isTakenInShares = (buffer: Tensor): boolean => (takers.get(buffer) ?? 0) > 0;

/** Whether the sums in a buffer lie on the ranks in shares. */
export const isDivided = (buffer: Tensor): boolean => divided.has(buffer);

/** Notes how the sums in a buffer lie. */
export function setDivided(buffer: Tensor, isSo: boolean): void {
  if (isSo) divided.add(buffer);
  else divided.delete(buffer);
}

/** @throws GradCacheError `INPUT` where a rank has but its share of these gradients */
export function requireWhole(taker: string, parameters: readonly Parameter[]): void {
  if (!buffersOf(parameters).some(isDivided)) return;
  throw new GradCacheError(
    'INPUT',
    `${taker} needs whole gradients, and each rank has but its share of them, since another optimizer of the same parameters ` +
      'was made with ranks. Give ranks to this one too.',
  );
}
