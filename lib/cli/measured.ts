/*
 * What the tasks of `gradcache evaluate` have in common.
 */
import type { Ranks } from '../distributed/ranks.js';
import { readMeasures, type RetrievalMeasure } from '../evaluation/retrieval-measures.js';
import { type Arguments, UsageError } from './flags.js';
import type { ProgressLine } from './terminal.js';

/** How a task is measured. */
export interface How {
  readonly progress: ProgressLine;
  readonly signal: AbortSignal;
  readonly ranks: Ranks | null;
}

/** How much was measured, how much was not, and the scores by name. */
export interface Measured {
  readonly counts: Readonly<Record<string, number>>;
  readonly leftOut?: Readonly<Record<string, number>>;
  readonly scores: Readonly<Record<string, number>>;
}

/** The measures that are asked for. @throws UsageError for what is none */
export function measuresOf(args: Arguments): {
  readonly measures: readonly RetrievalMeasure[] | undefined;
  readonly recallAt: readonly number[] | undefined;
} {
  const measures = args.list('measures');
  try {
    readMeasures(measures ?? []);
  } catch (error) {
    throw new UsageError(`--${(error as Error).message}`);
  }
  const recallAt = args.list('recall-at')?.map((text) => {
    const k = Number(text);
    if (!Number.isInteger(k) || k < 1)
      throw new UsageError(`--recall-at holds ${text}, not a whole number from 1.`);
    return k;
  });
  return { measures: measures as readonly RetrievalMeasure[] | undefined, recallAt };
}
