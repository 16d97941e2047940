import type { Ranks } from '../distributed/ranks.js';
import type { Fields } from '../options/fields.js';
import { readKind, type Filled, type Given } from '../options/kinds.js';
import type { Parameter } from '../tensor/tensor.js';
import { adamWKind, type AdamWSettings } from './adamw.js';
import type { NarrowUpdates, OptimizerKind } from './optimizer-kind.js';
import type { Optimizer } from './optimizer.js';
import { rAdamKind, type RAdamSettings } from './radam.js';

/** The settings of each optimizer, by the name that `optimizer.kind` and `--optimizer` take. */
interface OptimizerSettings {
  adamw: AdamWSettings;
  radam: RAdamSettings;
}

/** The optimizers that a run can be trained with. */
export const OPTIMIZERS: { readonly [K in OptimizerName]: OptimizerKind<OptimizerSettings[K]> } = {
  adamw: adamWKind,
  radam: rAdamKind,
};

/** The optimizer of a run that names none. */
export const DEFAULT_OPTIMIZER = 'adamw';

type OptimizerName = keyof OptimizerSettings;

/** An optimizer in a configuration: its name and its settings; missing ones have their defaults. */
export type OptimizerConfig = Given<OptimizerSettings, typeof DEFAULT_OPTIMIZER>;

/** An {@link OptimizerConfig} with all of its settings. */
export type FilledOptimizerConfig = Filled<OptimizerSettings>;

/** Reads the optimizer of a configuration. @param otherwise the one where none is named @throws GradCacheError `INPUT` */
export function readOptimizer(
  fields: Fields,
  otherwise: OptimizerName = DEFAULT_OPTIMIZER,
): FilledOptimizerConfig {
  return readKind<OptimizerSettings>(fields, OPTIMIZERS, otherwise);
}

/**
 * The optimizer of a configuration.
 *
 * @param ranks the ranks over which its state is divided, or null
 * @param narrow how weights of bfloat16 are updated; null: there are none
 */
export function makeOptimizer<K extends OptimizerName>(
  parameters: readonly Parameter[],
  optimizer: Filled<OptimizerSettings, K>,
  ranks: Ranks | null = null,
  narrow: NarrowUpdates | null = null,
): Optimizer {
  return OPTIMIZERS[optimizer.kind].make(parameters, optimizer, ranks, narrow);
}
