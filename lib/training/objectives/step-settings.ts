import type { Ranks } from '../../distributed/ranks.js';
import type { GradCacheOptions } from '../../step/gradcache-options.js';
import type { FilledTrainConfig } from '../read-config.js';

/** How a run takes its steps, whatever model it trains. */
export function stepSettings(
  { retain, seed, accumulate, reduction, overlap, exchange }: FilledTrainConfig,
  ranks: Ranks | null,
): Omit<GradCacheOptions, 'encoders' | 'loss' | 'chunk'> {
  return {
    retain: typeof retain === 'number' ? { bytes: retain } : retain,
    seed,
    accumulate,
    ranks,
    reduction: { type: reduction, overlap },
    exchange,
  };
}
