import type { Fields } from '../options/fields.js';
import { readSettings } from '../options/setting-table.js';
import type { Parameter } from '../tensor/tensor.js';
import { adamWKind, type AdamWSettings } from './adamw.js';
import type { OptimizerKind } from './optimizer-kind.js';
import type { Optimizer } from './optimizer.js';

/** The settings of each optimizer, by the name that `optimizer.kind` and `--optimizer` take. */
interface OptimizerSettings {
  adamw: AdamWSettings;
}

/** The optimizers that a run can be trained with. */
export const OPTIMIZERS: { readonly [K in OptimizerName]: OptimizerKind<OptimizerSettings[K]> } = {
  adamw: adamWKind,
};

/** The optimizer of a run that names none. */
export const DEFAULT_OPTIMIZER = 'adamw';

type OptimizerName = keyof OptimizerSettings;

/** An optimizer in a configuration: its name and its settings; missing ones have their defaults. */
export type OptimizerConfig =
  | ({ readonly kind?: typeof DEFAULT_OPTIMIZER } & Partial<OptimizerSettings[typeof DEFAULT_OPTIMIZER]>)
  | { [K in OptimizerName]: { readonly kind: K } & Partial<OptimizerSettings[K]> }[OptimizerName];

type Filled<K extends OptimizerName> = { readonly kind: K } & OptimizerSettings[K];

/** An {@link OptimizerConfig} with all of its settings. */
export type FilledOptimizerConfig = { [K in OptimizerName]: Filled<K> }[OptimizerName];

/** Reads the optimizer of a configuration. @throws GradCacheError `INPUT` */
export function readOptimizer(fields: Fields): FilledOptimizerConfig {
  return readKind(
    fields,
    fields.oneOf('kind', Object.keys(OPTIMIZERS) as OptimizerName[]) ?? DEFAULT_OPTIMIZER,
  );
}

function readKind<K extends OptimizerName>(fields: Fields, kind: K): Filled<K> {
  const settings = readSettings(fields, OPTIMIZERS[kind].settings);
  fields.done(kind);
  return { kind, ...settings };
}

/** The optimizer of a configuration. */
export function makeOptimizer<K extends OptimizerName>(
  parameters: readonly Parameter[],
  optimizer: Filled<K>,
): Optimizer {
  return OPTIMIZERS[optimizer.kind].make(parameters, optimizer);
}
