import { guarded, guardedAsync, native } from '../addon/native.js';
import { requireFunction } from '../options/option-values.js';
import { readList } from '../options/read-given.js';
import { synchronous } from '../options/synchronous.js';
import { requireSeed } from '../options/seeds.js';
import { handleOf, Tensor } from './tensor.js';

/**
 * Runs `fn`, which must be synchronous, without recording a graph.
 *
 * @throws GradCacheError `INPUT` where it returns a promise
 * @example
 * ```ts
 * const fixed = noGrad(() => weights.mul(0.5)); // no graph leads back to the weights
 * ```
 */
export function noGrad<T>(fn: () => T): T {
  requireFunction("noGrad's block", fn);
  return synchronous(
    'the block of noGrad',
    guarded(() => native().withGradMode(false, fn)),
  );
}

/**
 * Runs `fn`, which must be synchronous, recording a graph even inside {@link noGrad}.
 *
 * @throws GradCacheError `INPUT` likewise
 * @example
 * ```ts
 * const loss = noGrad(() => withGrad(() => weights.mul(0.5).sum())); // has a graph all the same
 * ```
 */
export function withGrad<T>(fn: () => T): T {
  requireFunction("withGrad's block", fn);
  return synchronous(
    'the block of withGrad',
    guarded(() => native().withGradMode(true, fn)),
  );
}

/**
 * Runs `fn` with libtorch's random generators seeded, then restores them. The same seed gives the same dropout masks and
 * random tensors, because other draws of this package, on other threads or by {@link callAsync}, wait until `fn` returns.
 * So `fn` must be synchronous, and must not wait for another thread.
 *
 * @example
 * ```ts
 * const noise = withSeed(7, () => call('aten::randn', [2, 3], { dtype: 'float32' })); // the same in every run
 * ```
 */
export function withSeed<T>(seed: number, fn: () => T): T {
  requireSeed(seed);
  requireFunction("withSeed's block", fn);
  return synchronous(
    'the block of withSeed',
    guarded(() => native().withSeed(seed, fn)),
  );
}

const MOST_ROOTS = 2 ** 20;

/**
 * Seeded backward: goes from `roots` with dL/d(root) = `seeds` to the leaves, where gradients add up. Off the event loop.
 *
 * @param seeds one for each root, of its shape; null for a root of one element stands for 1
 * @throws GradCacheError `SHAPE`, `INPUT` (no tensor, a root without a graph, or whose graph was used), `DISPOSED`, `OUT_OF_MEMORY`
 * @example
 * ```ts
 * const x = Tensor.from([1, 2, 3]);
 * x.requiresGrad = true;
 * await backward([x.mul(2).sum()], [null]);
 * console.log(await x.grad?.values()); // 2, 2, 2
 * ```
 */
export async function backward(roots: readonly Tensor[], seeds: readonly (Tensor | null)[]): Promise<void> {
  const rootHandles = readList('the roots of backward', roots, MOST_ROOTS).map((root, place) =>
    handleOf(`root ${place} of backward`, root),
  );
  const seedHandles = readList('the seeds of backward', seeds, MOST_ROOTS).map((seed, place) =>
    seed === null ? null : handleOf(`seed ${place} of backward`, seed),
  );
  await guardedAsync(() => native().backward(rootHandles, seedHandles));
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
