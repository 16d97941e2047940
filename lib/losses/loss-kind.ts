import type { Fields } from '../options/fields.js';
import type { SettingTable } from '../options/setting-table.js';
import type { LossWithGradients } from './loss.js';

/** A loss that compares representations, as a training run knows it. */
export interface TrainedLoss extends LossWithGradients {
  /** Similarities are divided by it. A learned one has the value of the last awaited update. */
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
  /** Checks settings that depend on each other. @throws GradCacheError `INPUT` */
  readonly check?: (settings: S, fields: Fields) => void;
  readonly make: (settings: S) => TrainedLoss;
  /** The initial temperature with these settings. */
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
