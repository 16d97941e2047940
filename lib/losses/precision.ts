import type { LossModel } from './loss-kind.js';
import { refused, requireOneOf } from '../options/option-values.js';

const PRECISIONS = ['exact', 'fast'] as const;

/**
 * How a loss computes the scores of all pairs and what follows from them.
 *
 * - `exact`: in the type of the representations. On a GPU, many float32 rows are multiplied as sums of two float16 numbers
 *   each, which keep 22 bits, in a third of the time. The relative error of gradients is about 1e-6; 1e-5 at a temperature of
 *   0.01, where torch's float32 products lose as much; 3e-5 at most where representations have much in common (a cosine of
 *   about 0.5 between any two), where float32 products lose 1e-6.
 * - `fast`: from representations rounded to half precision, with sums in float32: float16 for the cosine, bfloat16 for inner
 *   products and for the cosine of half a million rows and more. The relative error of gradients is about 1e-4 (cosine: 1e-5),
 *   and 3e-3 at most where scores are within 20 of each other. On a GPU it takes a small part of the time; on the CPU it takes more.
 *   Representations are float32.
 */
export type LossPrecision = (typeof PRECISIONS)[number];

/** @throws GradCacheError `INPUT` */
export function requirePrecision(precision: unknown): asserts precision is LossPrecision {
  requireOneOf('precision', precision, PRECISIONS);
}

/** {@link LossPrecision} in a configuration. */
export interface PrecisionSettings {
  /** Default 'exact'. 'auto' is 'fast' for a model in bfloat16 on a GPU, where the other settings allow it, else 'exact'. */
  readonly precision: 'auto' | LossPrecision;
}

/** The setting `precision` for the table of a loss. */
export const PRECISION = {
  kind: 'choice',
  accepted: ['auto', ...PRECISIONS],
  default: 'exact',
  help: 'of scores: exact (default), fast (half precision) or auto: fast for a model in bfloat16 on a GPU',
} as const;

/**
 * What `auto` stands for.
 *
 * @param able whether the other settings allow `fast`
 * @throws GradCacheError `INPUT`
 */
export function precisionFor(
  precision: PrecisionSettings['precision'],
  { bfloat16 = false, sparse = false, device }: LossModel,
  able: boolean,
): LossPrecision {
  if (precision === 'fast' && sparse)
    throw refused('loss.precision', precision, '"exact" or "auto", for sparse representations,');
  if (precision !== 'auto') return precision;
  return able && bfloat16 && !sparse && device.startsWith('cuda') ? 'fast' : 'exact';
}
