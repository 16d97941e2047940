import { refuse, type Fields } from '../options/fields.js';
import { readKind, type Filled, type Given } from '../options/kinds.js';
import { infoNCEKind, type InfoNCESettings } from './info-nce.js';
import type { LossKind, TrainedLoss } from './loss-kind.js';
import { ntXentKind, type NTXentSettings } from './nt-xent.js';
import { sigLIPKind, type SigLIPOptions } from './siglip.js';

/** The settings of each loss, by the name that `loss.kind` and `--loss` take. */
interface LossSettings {
  infonce: InfoNCESettings;
  ntxent: NTXentSettings;
  siglip: Required<SigLIPOptions>;
}

/** The losses that a run can be trained with. */
export const LOSSES: { readonly [K in LossName]: LossKind<LossSettings[K]> } = {
  infonce: infoNCEKind,
  ntxent: ntXentKind,
  siglip: sigLIPKind,
};

/** The loss of a run that names none. */
export const DEFAULT_LOSS = 'infonce';

type LossName = keyof LossSettings;

/** A loss in a configuration: its name and its settings; missing ones have their defaults. */
export type LossConfig = Given<LossSettings, typeof DEFAULT_LOSS>;

/** A {@link LossConfig} with all of its settings. */
export type FilledLossConfig = Filled<LossSettings>;

/** Reads the loss of a configuration. @throws GradCacheError `INPUT` */
export function readLoss(fields: Fields): FilledLossConfig {
  return readKind<LossSettings>(fields, LOSSES, DEFAULT_LOSS);
}

/** @throws GradCacheError `INPUT` if the loss needs more columns */
export function requireColumns(path: string, columns: readonly string[], { kind }: FilledLossConfig): void {
  const { least, needed } = LOSSES[kind].columns;
  if (columns.length < least || new Set(columns).size < columns.length) throw refuse(path, columns, needed);
}

/** The loss of a configuration. */
export function makeLoss<K extends LossName>(loss: Filled<LossSettings, K>): TrainedLoss {
  return LOSSES[loss.kind].make(loss);
}

/** The initial temperature of the loss of a configuration. */
export function temperatureOf<K extends LossName>(loss: Filled<LossSettings, K>): number {
  return LOSSES[loss.kind].temperature(loss);
}
