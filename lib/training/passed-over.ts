import { GradCacheError } from '../errors.js';

/** What a step comes to for a batch in which nothing is left to train on. */
export interface NothingLeft {
  /** Why, as a sentence without its end. */
  readonly nothing: string;
}

export function isNothing(step: object): step is NothingLeft {
  return 'nothing' in step;
}

/**
 * The updates that are passed over, as nothing is left in their batches. They keep their numbers, so that a resumed run passes over the
 * same.
 */
export class PassedOver {
  #made: boolean;
  #first: string | null = null;

  /** @param made whether updates were made before */
  constructor(made: boolean) {
    this.#made = made;
  }

  /** An update was made. */
  made(): void {
    this.#made = true;
  }

  /** An update is passed over. @returns what to tell the user */
  note(step: number, name: string, { nothing }: NothingLeft): string {
    this.#first ??= nothing;
    return `step ${step} ${name} is passed over: ${nothing}`;
  }

  /** @throws GradCacheError `INPUT` where no update was made, and some were passed over */
  requireAny(): void {
    if (this.#made || this.#first === null) return;
    throw new GradCacheError('INPUT', `No batch has anything to train on: ${this.#first}.`);
  }
}
