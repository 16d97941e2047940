import type { Batch } from '../data/batches.js';
import { Random } from '../data/random.js';

/** One of the data sets that batches are taken from. */
export interface BatchSource {
  /** How much of it an epoch takes; see {@link MixOptions.mixing}. */
  readonly weight: number;
  /** The batches of one pass over it. */
  pass(pass: number): AsyncIterable<Batch>;
}

/** How batches of several sources follow each other. */
export interface MixOptions {
  /**
   * - `'proportional'`: an epoch has, in a random order, the batches of a pass over each source, as often as its weight says;
   * - `'round-robin'`: sources take turns, each with as many batches as its weight says, until one has no more for a turn.
   */
  readonly mixing: 'proportional' | 'round-robin';
  readonly seed: number;
  readonly epochs: number;
}

/** A batch of one of several sources. */
export type MixedBatch = Batch & { readonly set: number };

/**
 * Batches of several sources, each of one of them. What an epoch does not take of a pass comes in the next.
 *
 * @param onEmpty called with the number of a source that gives no batch; it throws
 */
export async function* mixedBatches(
  sources: readonly BatchSource[],
  { mixing, seed, epochs }: MixOptions,
  onEmpty: (set: number) => never,
): AsyncGenerator<MixedBatch, void, undefined> {
  const queues = sources.map((source) => new PassQueue(source));
  const counts = await Promise.all(queues.map((queue) => queue.first()));
  const empty = counts.indexOf(0);
  if (empty >= 0) onEmpty(empty);
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = mixing === 'proportional' ? proportional(sources, counts) : turns(sources, counts);
    if (mixing === 'proportional') new Random(seed, epoch).shuffle(order);
    for (const [index, set] of order.entries()) yield { ...(await queues[set]!.next()), epoch, index, set };
  }
}

function proportional(sources: readonly BatchSource[], counts: readonly number[]): number[] {
  return sources.flatMap(({ weight }, set) =>
    Array.from({ length: Math.max(1, Math.round(weight * counts[set]!)) }, () => set),
  );
}

function turns(sources: readonly BatchSource[], counts: readonly number[]): number[] {
  const rounds = Math.min(...sources.map(({ weight }, set) => Math.floor(counts[set]! / weight)));
  const turn = sources.flatMap(({ weight }, set) => Array.from({ length: weight }, () => set));
  return Array.from({ length: Math.max(1, rounds) }, () => turn).flat();
}

/** The batches of one source, pass after pass. */
class PassQueue {
  #pass = 0;
  #batches: Batch[] = [];

  constructor(readonly source: BatchSource) {}

  /** Forms the batches of the first pass. @returns how many there are */
  async first(): Promise<number> {
    await this.#refill();
    return this.#batches.length;
  }

  async next(): Promise<Batch> {
    while (this.#batches.length === 0) await this.#refill();
    return this.#batches.pop()!;
  }

  async #refill(): Promise<void> {
    const batches: Batch[] = [];
    for await (const batch of this.source.pass(this.#pass++)) batches.push(batch);
    this.#batches = batches.reverse();
  }
}
