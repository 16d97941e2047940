import { GradCacheError } from '../errors.js';
import { plural } from '../options/plural.js';

/** How many updates a run makes: known when it begins, or counted while it trains. */
export interface RunLength {
  /** Updates in all; null while they are being counted. */
  readonly known: number | null;
  /** Whether an update, from 1, is the last. Waits until so much has been counted. @throws what the counting throws */
  isLast(step: number): Promise<boolean>;
  /** Updates in all. Waits until all has been counted. @throws what the counting throws */
  total(): Promise<number>;
}

/** A length that is known. */
export function knownLength(steps: number): RunLength {
  return {
    known: steps,
    isLast: (step) => Promise.resolve(step === steps),
    total: () => Promise.resolve(steps),
  };
}

/** The error for data that has become less since its batches were counted. */
export function endedEarly(step: number, steps: number): GradCacheError {
  return new GradCacheError(
    'INPUT',
    `The data ended after ${plural(step, 'step')} of ${steps}: it had more rows when these were counted. Leave files as they are while ` +
      'a run reads them.',
  );
}

/** Counts batches, and tells after each how many there are so far. */
export type Counting<Counted> = (signal: AbortSignal, onBatch: (batches: number) => void) => Promise<Counted>;

/** A length that is counted while the run trains. */
export class BackgroundCount<Counted extends { readonly batches: number }> implements RunLength {
  readonly #stepsOf: (batches: number) => number;
  readonly #accumulate: number;
  readonly #stop = new AbortController();
  readonly #all: Promise<Counted>;
  #batches = 0;
  #known: number | null = null;
  /** Those who wait for so many batches. */
  #waiting: { readonly batches: number; readonly wake: () => void }[] = [];

  /**
   * @param how.accumulate batches of an update
   * @param how.stepsOf the updates that so many batches make; it throws where they make none
   * @param how.signal ends the counting with `ABORTED`
   */
  constructor(
    counting: Counting<Counted>,
    how: {
      readonly accumulate: number;
      readonly stepsOf: (batches: number) => number;
      readonly signal: AbortSignal | undefined;
    },
  ) {
    this.#accumulate = how.accumulate;
    this.#stepsOf = how.stepsOf;
    const stop = (): void => this.stop();
    if (how.signal?.aborted === true) stop();
    how.signal?.addEventListener('abort', stop, { once: true });
    this.#all = this.#count(counting).finally(() => {
      how.signal?.removeEventListener('abort', stop);
      this.#batches = Infinity;
      this.#wake();
    });
    this.#all.catch(() => undefined); // told to those who ask
  }

  get known(): number | null {
    return this.#known;
  }

  /** What was counted, once all was. */
  get all(): Promise<Counted> {
    return this.#all;
  }

  async isLast(step: number): Promise<boolean> {
    await this.atLeast((step + 1) * this.#accumulate);
    return step === this.#known;
  }

  async total(): Promise<number> {
    await this.#all;
    return this.#known!;
  }

  /** Waits until so many batches have been counted, or all. @throws what the counting throws */
  async atLeast(batches: number): Promise<void> {
    if (this.#batches < batches)
      await new Promise<void>((wake) => {
        this.#waiting.push({ batches, wake });
      });
    if (this.#batches === Infinity) await this.#all;
  }

  /** Ends the counting: nobody asks any more. */
  stop(): void {
    this.#stop.abort();
  }

  async #count(counting: Counting<Counted>): Promise<Counted> {
    const counted = await counting(this.#stop.signal, (batches) => {
      this.#batches = batches;
      this.#wake();
    });
    this.#known = this.#stepsOf(counted.batches);
    return counted;
  }

  #wake(): void {
    const due = this.#waiting.filter(({ batches }) => batches <= this.#batches);
    if (due.length === 0) return;
    this.#waiting = this.#waiting.filter(({ batches }) => batches > this.#batches);
    for (const { wake } of due) wake();
  }
}
