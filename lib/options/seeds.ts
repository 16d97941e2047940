import { requireCount } from './option-values.js';

/** What seeds are drawn for. The numbers decide what is drawn, and so the results of every run: they stay as they are. */
const PURPOSES = {
  /** For a step of a GradCache, by its number. */
  step: 0,
  /** For a chunk of a step, by its place. */
  chunk: 1,
  /** For an update of a training run, by its number: a run that is resumed goes on with the same seeds. */
  update: 2,
  /** For a segment of a step along time, by its place. */
  segment: 3,
  /** For a call of a synthesiser, by its number. */
  synthesiser: 4,
  /** For the draw of a token, by its place in what is generated. */
  token: 5,
  /** For the negatives of a batch, by its epoch and its place in that. */
  negatives: 6,
  /** For the lengths that a step of a Matryoshka loss takes: by the number of the step, then by the place of each. */
  dimensions: 6,
  /** For the dropout of a distance head: by the number of the step, then by the place of a block. */
  head: 7,
  /** For a rank of a step, by its number: chunks of all ranks have different ones. */
  rank: 8,
  /** For the layers that a step of an adaptive-layer loss takes: by the number of the step, then by the place of each. */
  layers: 9,
  /** For the order of a pass over one of several data sets, by the set and the pass. */
  dataset: 10,
  /** For the rounding of updated weights, by the number of the update, then by the place of a part. */
  rounding: 11,
} as const;

/**
 * A seed drawn from a seed and a number, unrelated for neighbouring ones: splitmix64 cut to the 53 bits that a
 * JavaScript number holds. Sequences for different purposes are unrelated too.
 */
export function drawSeed(purpose: keyof typeof PURPOSES, seed: number, index: number): number {
  const mask = 0xffff_ffff_ffff_ffffn;
  let z =
    (BigInt(seed) * 0x9e37_79b9_7f4a_7c15n +
      BigInt(index) * 0xd1b5_4a32_d192_ed03n +
      BigInt(PURPOSES[purpose] + 1) * 0x8cb9_2ba7_2f3d_8dd7n) &
    mask;
  z = ((z ^ (z >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d0_49bb_1331_11ebn) & mask;
  return Number((z ^ (z >> 31n)) >> 11n);
}

/** @throws GradCacheError `INPUT` for a seed that is not a non-negative safe integer */
export function requireSeed(seed: unknown): asserts seed is number {
  requireCount('seed', seed, 0);
}
