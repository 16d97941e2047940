import { buffersOf } from '../distributed/divided-gradients.js';
import type { Ranks } from '../distributed/ranks.js';
import { DEFAULT_BUCKET, type Reduction } from '../distributed/reduction.js';
import type { Range, SharedGradients } from '../distributed/shared-gradients.js';
import type { Tensor } from '../tensor/tensor.js';
import type { CheckedEncoder } from './checked-encoder.js';
import type { BackwardProgress } from './encoder.js';

/** Milliseconds between two looks at how far a backward has come: an engine tells nothing in the middle of a job. */
const LOOK = 2;

/** The gradients of a native model. */
interface Model {
  readonly buffer: Tensor;
  readonly progress: BackwardProgress | null;
  /** Its backwards that are not done, and the place of the last one among all. */
  left: number;
  readonly last: number;
  /** Parts that are not begun, from the last elements to the first. */
  readonly parts: Range[];
}

/**
 * Begins to add up the gradients of each native model while the backward pass still runs: part by part under its last backward,
 * which goes through the layers from the last to the first, and the rest at its end. Every rank begins all parts, in one order,
 * whatever happens: others wait for them. A model whose towers come last is done first.
 */
export class EarlyReductions {
  readonly #ranks: Ranks;
  readonly #gradients: SharedGradients;
  /** Of each tower. */
  readonly #models: readonly (readonly Model[])[];
  /** In the order of beginning. */
  readonly #waiting: Model[];
  readonly #begun: Promise<void>[] = [];
  #look: NodeJS.Timeout | undefined;
  /** Of an encoder that was asked how far it has come. */
  #failure: { readonly error: unknown } | null = null;

  /** @param towers the tower of each chunk, in the order of their backwards */
  constructor(
    ranks: Ranks,
    gradients: SharedGradients,
    encoders: readonly CheckedEncoder[],
    towers: readonly number[],
    { bucket = DEFAULT_BUCKET }: Reduction,
  ) {
    this.#ranks = ranks;
    this.#gradients = gradients;
    const ofTower = encoders.map((encoder) => buffersOf(encoder.parameters()));
    const models = new Map(
      gradients.buffers.map((buffer) => {
        const uses = towers.map((tower) => ofTower[tower]!.includes(buffer));
        const last = uses.lastIndexOf(true);
        const own = last < 0 ? [] : ofTower[towers[last]!]!;
        // Of several buffers it is not known of which the progress is.
        const progress = (own.length === 1 && encoders[towers[last]!]!.rowPasses?.progress) || null;
        const left = uses.filter(Boolean).length;
        return [buffer, { buffer, progress, left, last, parts: partsOf(buffer, bucket) } satisfies Model];
      }),
    );
    this.#models = ofTower.map((buffers) => buffers.flatMap((buffer) => models.get(buffer) ?? []));
    const first = ({ buffer }: Model): number => ofTower.findIndex((buffers) => buffers.includes(buffer));
    this.#waiting = [...models.values()].sort((a, b) => first(b) - first(a));
  }

  /** Looks, from before the first backward on, how far they have come. {@link all} comes behind it, even where it throws. */
  watch(): void {
    for (const { progress } of this.#waiting) progress?.reset();
    this.#look = setInterval(() => {
      try {
        this.#beginWhatIsFinal();
      } catch (error) {
        clearInterval(this.#look);
        this.#failure = { error }; // thrown here it would end the process
      }
    }, LOOK);
  }

  /** Whether after the backward in this place nothing is added to the gradients of its model. */
  isLast(place: number): boolean {
    return this.#waiting.some(({ last }) => last === place);
  }

  /** A chunk of a tower is done. */
  done(tower: number): void {
    for (const model of this.#models[tower]!) model.left--;
    this.#beginWhatIsFinal();
  }

  /** Begins the rest. @throws whatever went wrong meanwhile */
  async all(): Promise<void> {
    clearInterval(this.#look);
    for (const model of this.#waiting.splice(0)) while (model.parts.length > 0) this.#begin(model);
    await Promise.allSettled(this.#begun); // where one fails, the others are still on their way
    await Promise.all(this.#begun);
    if (this.#failure !== null) throw this.#failure.error;
  }

  #beginWhatIsFinal(): void {
    for (let model; (model = this.#waiting[0]) !== undefined;) {
      const from = model.left === 0 ? 0 : (model.progress?.finalFrom() ?? Infinity);
      while (model.parts.length > 0 && model.parts[0]!.begin >= from) this.#begin(model);
      if (model.parts.length > 0) return;
      this.#waiting.shift();
    }
  }

  #begin({ buffer, parts }: Model): void {
    const part = parts.shift()!;
    const begin = (): Promise<void> => this.#gradients.begin(this.#ranks, buffer, part);
    // A part may need several exchanges: those of two parts have one order on all ranks, however close they begin.
    const begun = this.#begun.at(-1)?.then(begin, begin) ?? begin();
    begun.catch(() => undefined); // looked at in all()
    this.#begun.push(begun);
  }
}

/** A buffer in parts of at most so many bytes, from its end on. */
function partsOf({ size, dtype }: Tensor, bucket: number): Range[] {
  const most = Math.max(1, Math.floor(bucket / (dtype === 'float64' ? 8 : 4)));
  const parts: Range[] = [];
  for (let end = size; end > 0; end -= most) {
    const begin = Math.max(0, end - most);
    parts.push({ begin, length: end - begin });
  }
  return parts;
}
