import { drawSeed, requireSeed } from '../options/seeds.js';
import type { LossGradients, LossOptions } from './loss.js';

/** What a step has drawn. */
interface Drawn {
  /** Ascending. */
  readonly places: readonly number[];
  /** The keyword arguments of the loss inside. */
  readonly options: LossOptions;
}

/** Draws some of the parts of a loss anew for each step: lengths of representations, or layers. */
export class DrawnPlaces {
  readonly #purpose: 'dimensions' | 'layers';
  readonly #of: number;
  readonly #count: number;
  readonly #seed: number;
  #steps = 0;

  /** @param options.of how many there are. @param options.count how many a step takes */
  constructor(
    purpose: 'dimensions' | 'layers',
    { of, count, seed }: { readonly of: number; readonly count: number; readonly seed: number },
  ) {
    this.#purpose = purpose;
    this.#of = of;
    this.#count = count;
    this.#seed = seed;
  }

  /** Whether a step takes only some of them. */
  get some(): boolean {
    return this.#count < this.#of;
  }

  /** The keyword arguments without the seed, where it is for this draw alone. @throws GradCacheError `INPUT` */
  without(options: LossOptions, { keep }: { readonly keep: boolean }): LossOptions {
    const { seed, ...others } = options;
    if (seed === undefined || !this.some) return options;
    requireSeed(seed);
    return keep ? options : others;
  }

  /**
   * Draws those of a step.
   *
   * @param keep whether the loss inside takes the keyword argument `seed` too
   * @param undos gets what takes the draw back, for a step that fails
   * @throws GradCacheError `INPUT`
   */
  draw(options: LossOptions, keep: boolean, undos: LossGradients['undo'][]): Drawn {
    const others = this.without(options, { keep });
    const all = Array.from({ length: this.#of }, (_, place) => place);
    if (!this.some) return { places: all, options: others };
    const { seed = drawSeed(this.#purpose, this.#seed, this.#steps) } = options;
    requireSeed(seed);
    this.#steps++;
    undos.push({ restore: () => void this.#steps--, dispose: () => undefined });
    const keys = all.map((place) => drawSeed(this.#purpose, seed, place));
    const last = [...keys].sort((a, b) => a - b)[this.#count - 1]!;
    return { places: all.filter((place) => keys[place]! <= last), options: others };
  }
}
