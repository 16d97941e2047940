import { refuse, type Fields } from '../options/fields.js';

/** When a run writes checkpoints, and how many it keeps. */
export interface CheckpointConfig {
  /** Updates between two checkpoints. Default: 1000; none where only `minutes` is given. */
  readonly every?: number;
  /** Minutes between two checkpoints. Default: 15; none where only `every` is given. */
  readonly minutes?: number;
  /** The newest that are kept. Default: 2. Older ones are removed with all their files. */
  readonly keep?: number;
}

/** {@link CheckpointConfig} with its defaults. */
export interface CheckpointTimes {
  readonly every: number | undefined;
  readonly minutes: number | undefined;
  readonly keep: number;
}

/** What a run does that is told nothing of checkpoints. */
const USUAL = { every: 1000, minutes: 15, keep: 2 } as const satisfies CheckpointTimes;

/** Reads `checkpoint` of a configuration; false: none are written. @throws GradCacheError `INPUT` */
export function readCheckpoints(fields: Fields): CheckpointTimes | false {
  const value = fields.raw('checkpoint') ?? true;
  if (typeof value === 'boolean') return value && USUAL;
  if (typeof value !== 'object')
    throw refuse(fields.at('checkpoint'), value, 'true, false or { every, minutes, keep }');
  return fields.section('checkpoint', (given) => {
    const every = given.count('every');
    const minutes = given.number('minutes', { above: 0 });
    const keep = given.count('keep') ?? USUAL.keep;
    const unsaid = every === undefined && minutes === undefined;
    return unsaid ? { ...USUAL, keep } : { every, minutes, keep };
  })!;
}

/** Says when the next checkpoint is due. */
export class CheckpointClock {
  #last: number;

  /** @param now milliseconds, of a clock that is never set back */
  constructor(
    readonly times: CheckpointTimes | false,
    readonly now: () => number = () => performance.now(),
  ) {
    this.#last = now();
  }

  /** Whether the number of updates alone says it: ranks agree on it without a word. */
  isDueAt(step: number): boolean {
    return this.times !== false && this.times.every !== undefined && step % this.times.every === 0;
  }

  /** Whether the time has come. */
  isTime(): boolean {
    if (this.times === false || this.times.minutes === undefined) return false;
    return this.now() - this.#last >= this.times.minutes * 60_000;
  }

  /** Whether time plays a part at all. */
  get looksAtTime(): boolean {
    return this.times !== false && this.times.minutes !== undefined;
  }

  /** A checkpoint begins now. */
  restart(): void {
    this.#last = this.now();
  }
}
