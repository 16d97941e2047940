import type { Fields } from '../options/fields.js';
import type { SettingTable } from '../options/setting-table.js';
import type { LossWithGradients } from './loss.js';

/** A loss that compares representations, as a training run knows it. */
export interface TrainedLoss extends LossWithGradients {
  /** What similarities are divided by: as given, or as learned up to the last update that was awaited. */
  readonly temperature: number;
}

/** Settings that a loss has in every run. */
interface CommonSettings {
  readonly similarity: 'cosine' | 'dot';
}

/** One loss as configuration files and the command line know it; loss-kinds.ts lists them. */
export interface LossKind<S extends CommonSettings> {
  /** For the help of the command line. */
  readonly about: string;
  /** How many columns of the data it needs, and what they are, for messages. */
  readonly columns: { readonly least: number; readonly needed: string };
  readonly settings: SettingTable<S>;
  /** Looks at settings that depend on each other. @throws GradCacheError `INPUT` */
  readonly check?: (settings: S, fields: Fields) => void;
  readonly make: (settings: S) => TrainedLoss;
  /** Of a loss with these settings, before anything is learned. */
  readonly temperature: (settings: S) => number;
}

/** The setting `similarity`, which all losses have. */
export const SIMILARITY = {
  kind: 'choice',
  accepted: ['cosine', 'dot'],
  default: 'cosine',
  flag: 'similarity',
  help: 'cosine (default) or dot',
} as const;
