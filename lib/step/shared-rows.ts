import { roomForAll } from '../distributed/gather-rows.js';
import type { Ranks } from '../distributed/ranks.js';
import { GradCacheError } from '../errors.js';
import type { LossGradients, LossOptions, LossWithGradients } from '../losses/loss.js';
import { noGrad } from '../tensor/autograd.js';
import { untracked } from '../tensor/scope.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import { lossShare } from './loss-share.js';
import type { RepresentationCache } from './representation-cache.js';

/** The representations of one tower on all ranks. */
interface SharedTower {
  /** How many each rank has. */
  readonly counts: readonly number[];
  /** Those of all ranks, one rank's behind the other's. */
  all: Tensor | null;
  /** Where each row of the batch begins in them; null: each row has one. */
  offsets: Int32Array | null;
  /** Of the loss, or of this rank's part of it, with respect to all; null: not wanted. */
  gradients: Tensor | null;
}

const TYPES: readonly DType[] = ['float32', 'float64'];

/** The numbers by which a rank describes its representations of a tower: their length, type, count, and whether rows have several. */
const NUMBERS = 4;

/** The representations of all ranks, and the gradients of a loss with respect to them. */
export class SharedRows {
  readonly #ranks: Ranks;
  readonly #cache: RepresentationCache;
  readonly #towers: SharedTower[] = [];
  #undo: LossGradients['undo'];

  /** @param cache of this rank's own */
  constructor(ranks: Ranks, cache: RepresentationCache) {
    this.#ranks = ranks;
    this.#cache = cache;
  }

  /** What a rank tells the others of its representations. */
  describe(): number[] {
    return this.#cache.towers().flatMap(({ shape, dtype }, tower) => {
      const several = this.#cache.offsets(tower) === null ? 0 : 1;
      return [shape[1]!, TYPES.indexOf(dtype), several, shape[0]!];
    });
  }

  /** Whether the rows of some tower have several representations, so that their numbers follow from all ranks' alone. */
  get several(): boolean {
    return this.#cache.towers().some((_, tower) => this.#cache.offsets(tower) !== null);
  }

  /**
   * Takes memory for the representations of all ranks, and moves this rank's there.
   *
   * @param counts of each rank, the representations of each tower
   */
  reserve(counts: readonly (readonly number[])[]): void {
    for (const [tower, own] of this.#cache.towers().entries()) {
      const ofTower = counts.map((each) => each[tower]!);
      const all = untracked(() => roomForAll(own, ofTower, this.#ranks.rank));
      // One by one: where memory runs out, the room of earlier towers is freed with the rest.
      this.#towers.push({ counts: ofTower, all, offsets: null, gradients: null });
    }
    this.#cache.releaseRepresentations();
  }

  /** How many representations of each tower each rank has, as they described them. @throws GradCacheError `SHAPE` */
  static countsOf(described: readonly (readonly number[])[]): number[][] {
    const kinds = described.map((each) => each.filter((_, place) => place % NUMBERS !== NUMBERS - 1));
    const differs = kinds.findIndex((kind) => kind.join() !== kinds[0]!.join());
    if (differs >= 0)
      throw new GradCacheError(
        'SHAPE',
        `the representations are ${sayKinds(kinds[differs]!)} on rank ${differs}, and ${sayKinds(kinds[0]!)} on rank 0`,
      );
    return described.map((each) => each.filter((_, place) => place % NUMBERS === NUMBERS - 1));
  }

  /** Exchanges the representations. */
  async gather(): Promise<void> {
    for (const [tower, shared] of this.#towers.entries()) {
      const offsets = this.#cache.offsets(tower);
      if (offsets !== null) shared.offsets = await this.#joinOffsets(offsets);
      await this.#ranks.exchange((group) =>
        group.allGather(shared.all!.handle, shared.counts, 'gathering representations'),
      );
    }
  }

  /**
   * The loss over the representations of all ranks, or this rank's part of it, with its gradients.
   *
   * @param phase what the ranks meet for in the end
   */
  async compute(
    loss: LossWithGradients,
    options: LossOptions,
    weight: number,
    trained: readonly boolean[],
    phase: string,
  ): Promise<number> {
    const all = this.#towers.map((tower) => tower.all!);
    const offsets = this.#towers.map((tower) => tower.offsets);
    const given = offsets.some((of) => of !== null) ? { ...options, offsets } : options;
    const share = loss.sharing === 'parts' ? lossShare(this.#ranks, phase) : undefined;
    const result = await loss.compute(all, weight, given, trained, share);
    this.#undo = result.undo;
    for (const [tower, shared] of this.#towers.entries()) {
      const gradients = result.gradients[tower] ?? null;
      if (trained[tower] === true) shared.gradients = gradients;
      else gradients?.dispose();
      shared.all?.dispose();
      shared.all = null;
    }
    return result.loss;
  }

  /** Adds up the gradients of parts of a loss: each rank gets those of its own representations. */
  async scatter(): Promise<void> {
    for (const { gradients, counts } of this.#towers)
      if (gradients !== null)
        await this.#ranks.exchange((group) =>
          group.reduceScatter(gradients.handle, counts, 'adding up gradients of representations'),
        );
  }

  /** Gives the cache the gradients of this rank's own representations. */
  keepOwn(): void {
    for (const [tower, shared] of this.#towers.entries()) {
      const { gradients } = shared;
      if (gradients === null) continue;
      this.#cache.setGradients(
        tower,
        this.#withOwn(shared, gradients, (part) => part.clone()),
      );
      gradients.dispose();
      shared.gradients = null;
    }
  }

  /** Undoes what the loss added to gradients of its own tensors. */
  restore(): void {
    this.#undo?.restore();
  }

  dispose(): void {
    this.#undo?.dispose();
    for (const { all, gradients } of this.#towers) {
      all?.dispose();
      gradients?.dispose();
    }
    this.#towers.length = 0;
  }

  #withOwn<T>({ counts }: SharedTower, all: Tensor, use: (part: Tensor) => T): T {
    return untracked(() =>
      noGrad(() => {
        const { rank } = this.#ranks;
        const part = all.narrow(0, sum(counts.slice(0, rank)), counts[rank]!);
        try {
          return use(part);
        } finally {
          part.dispose();
        }
      }),
    );
  }

  async #joinOffsets(own: Int32Array): Promise<Int32Array> {
    const bytes = new Uint8Array(own.buffer, own.byteOffset, own.byteLength);
    const all = await this.#ranks.bytes('gathering how many representations rows have', bytes);
    const joined = [0];
    for (const each of all) {
      const begin = joined.at(-1)!;
      for (const offset of new Int32Array(each.slice().buffer).subarray(1)) joined.push(begin + offset);
    }
    return Int32Array.from(joined);
  }
}

function sayKinds(kinds: readonly number[]): string {
  const each = NUMBERS - 1;
  return Array.from({ length: kinds.length / each }, (_, tower) => {
    const [length, type, several] = kinds.slice(tower * each);
    return `${TYPES[type!] ?? 'of another type'} of length ${length}${several === 1 ? ', several a row' : ''}`;
  }).join(' and ');
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
