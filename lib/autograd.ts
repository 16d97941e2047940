import { guarded, guardedAsync, native } from './native.js';
import { requireSeed } from './seeds.js';
import { Tensor } from './tensor.js';

/** Runs `fn` without recording a graph. */
export function noGrad<T>(fn: () => T): T {
  return guarded(() => native().withGradMode(false, fn));
}

/** Runs `fn` recording a graph, also inside {@link noGrad}. */
export function withGrad<T>(fn: () => T): T {
  return guarded(() => native().withGradMode(true, fn));
}

/**
 * Runs `fn` with libtorch's random generators seeded, and puts them back. The same seed gives the same dropout masks
 * and random tensors: whatever else of this package draws, on another thread or by {@link callAsync}, waits until `fn` has
 * returned. So `fn` must be synchronous, and must not wait for another thread.
 */
export function withSeed<T>(seed: number, fn: () => T): T {
  requireSeed(seed);
  return guarded(() => native().withSeed(seed, fn));
}

/**
 * Seeded backward: goes from `roots` with dL/d(root) = `seeds` to the leaves, where gradients add up. Off the event loop.
 *
 * @param seeds one for each root, of its shape; null for a root of one element stands for 1
 * @throws GradCacheError `SHAPE`, `INPUT` (a root without a graph, or whose graph was used), `DISPOSED`, `OUT_OF_MEMORY`
 */
export async function backward(roots: readonly Tensor[], seeds: readonly (Tensor | null)[]): Promise<void> {
  await guardedAsync(() =>
    native().backward(
      roots.map((root) => root.handle),
      seeds.map((seed) => seed?.handle ?? null),
    ),
  );
}

/** A {@link backward} from one root as part of a group of chunks, which an abort cancels together. */
export async function backwardInGroup(root: Tensor, seed: Tensor, group: number): Promise<void> {
  await guardedAsync(() => native().backward([root.handle], [seed.handle], group));
}

/** The leaves but `others` in which a backward from `root` adds up gradients, under handles that the caller disposes. */
export function leavesOf(root: Tensor, others: readonly Tensor[]): Tensor[] {
  const handles = others.map(({ handle }) => handle);
  return guarded(() => native().leaves(root.handle, handles)).map((leaf) => new Tensor(leaf));
}
