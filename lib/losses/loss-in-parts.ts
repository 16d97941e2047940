import type { Parameter } from '../tensor/tensor.js';
import type { DrawnPlaces } from './drawn-places.js';
import { requireCheckable, type LossOptions, type LossWithGradients } from './loss.js';
import { joinOptionsOf } from './shared-options.js';

/** What losses have in common that sum another loss over parts of representations: lengths of them, or layers. */
export abstract class LossInParts {
  readonly packed: boolean;
  readonly sharing: LossWithGradients['sharing'];
  readonly takesRing: boolean;
  readonly takesIds: boolean;
  readonly takesSeed: boolean;
  protected readonly loss: LossWithGradients;
  /** Which parts a step takes. */
  protected readonly drawn: DrawnPlaces;

  constructor(loss: LossWithGradients, drawn: DrawnPlaces) {
    this.packed = loss.packed === true;
    this.sharing = loss.sharing;
    this.takesRing = loss.takesRing === true;
    this.takesIds = loss.takesIds === true;
    this.takesSeed = drawn.some || loss.takesSeed === true;
    this.loss = loss;
    this.drawn = drawn;
  }

  parameters(): Parameter[] {
    return this.loss.parameters();
  }

  checkOptions(
    options: LossOptions,
    rows: readonly number[],
    lengths: readonly (number | undefined)[] = [],
  ): void {
    requireCheckable(options, rows);
    const others = this.drawn.without(options, { keep: this.loss.takesSeed === true });
    this.checkParts(others, lengths, (ofPart, ofLengths) =>
      this.loss.checkOptions?.(ofPart, rows, ofLengths),
    );
  }

  /** Calls `check` with the keyword arguments, and the lengths of representations, that the loss is given of parts. */
  protected abstract checkParts(
    options: LossOptions,
    lengths: readonly (number | undefined)[],
    check: (options: LossOptions, lengths: readonly (number | undefined)[]) => void,
  ): void;

  optionsBeside(options: LossOptions, rows: readonly number[], others: number): LossOptions {
    return this.loss.optionsBeside?.(options, rows, others) ?? options;
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return joinOptionsOf(this.loss, parts, rows);
  }
}
