import type { SettingTable } from '../options/setting-table.js';
import type { Fields } from '../options/fields.js';
import { readKind, type Filled, type Given } from '../options/kinds.js';
import type { Across } from './across-segments.js';
import { alternating } from './alternating.js';
import { exactGradients } from './exact.js';
import { syntheticGradients, type SyntheticOptions } from './synthetic.js';

/** Settings of predicted gradients in a configuration. */
interface SyntheticSettings {
  readonly synthesiser: 'perceptron' | 'recurrent';
  readonly hidden: number;
  readonly along: 'segments' | 'coordinates';
  readonly factor: number;
  readonly lr: number;
  readonly noise: number;
  readonly auxiliary: number;
}

/** The settings of each method, by the name that `across.kind` and `--across` take. */
interface AcrossSettings {
  none: object;
  exact: { readonly keep: number };
  synthetic: SyntheticSettings;
  alternating: SyntheticSettings & { readonly first: number; readonly real: 'none' | 'exact' };
}

const SYNTHETIC: SettingTable<SyntheticSettings> = {
  synthesiser: {
    kind: 'choice',
    accepted: ['perceptron', 'recurrent'],
    default: 'perceptron',
    help: 'what predicts the gradient: perceptron (default) or recurrent',
  },
  hidden: {
    kind: 'number',
    from: 0,
    whole: true,
    default: 0,
    help: "width of its hidden layers; default: the state's (perceptron), 50 (recurrent)",
  },
  along: {
    kind: 'choice',
    accepted: ['segments', 'coordinates'],
    default: 'segments',
    help: 'what a recurrent one recurs over: segments (default) or coordinates',
  },
  factor: { kind: 'number', from: 0, default: 0.1, help: 'of the predicted gradient; default 0.1' },
  lr: { kind: 'number', above: 0, default: 1e-3, help: 'learning rate of the synthesiser; default 1e-3' },
  noise: { kind: 'number', from: 0, default: 0, help: 'deviation of the noise on its input; default 0' },
  auxiliary: { kind: 'number', from: 0, default: 0, help: 'weight of the auxiliary task; default 0' },
};

/** A way in which gradients go from one segment to the one before, as configuration files and the command line know it. */
interface AcrossKind<S> {
  readonly about: string;
  readonly settings: SettingTable<S>;
  readonly make: (settings: S, seed: number) => Across;
}

/** Where the gradient of the state at the end of a segment can come from. */
export const ACROSS: { readonly [K in keyof AcrossSettings]: AcrossKind<AcrossSettings[K]> } = {
  none: { about: 'nowhere: truncated backpropagation', settings: {}, make: () => 'none' },
  exact: {
    about: "through all segments of a step, at a segment's memory",
    settings: {
      keep: {
        kind: 'number',
        from: 0,
        whole: true,
        default: 1,
        help: 'segments whose graph is kept in place of a second run; default 1',
      },
    },
    make: ({ keep }) => exactGradients({ retain: { segments: keep } }),
  },
  synthetic: {
    about: 'predicted by a model that learns along',
    settings: SYNTHETIC,
    make: (settings, seed) => syntheticGradients(synthetic(settings, seed)),
  },
  alternating: {
    about: 'real and predicted ones in turn',
    settings: {
      ...SYNTHETIC,
      first: {
        kind: 'number',
        from: 1,
        whole: true,
        default: 1000,
        help: 'updates before the first change; the next ones are at each doubling. Default 1000',
      },
      real: {
        kind: 'choice',
        accepted: ['none', 'exact'],
        default: 'none',
        help: 'what real gradients are: none across segments (default), or exact',
      },
    },
    make: ({ first, real, ...settings }, seed) =>
      alternating({ ...synthetic(settings, seed), restarts: { first }, real }),
  },
};

/** The method of a run that names none. */
export const DEFAULT_ACROSS = 'none';

/** A method in a configuration: its name and its settings; missing ones have their defaults. */
export type AcrossConfig = Given<AcrossSettings, typeof DEFAULT_ACROSS>;

/** An {@link AcrossConfig} with all of its settings. */
export type FilledAcrossConfig = Filled<AcrossSettings>;

/** Reads the method of a configuration. @throws GradCacheError `INPUT` */
export function readAcross(fields: Fields): FilledAcrossConfig {
  return readKind<AcrossSettings>(fields, ACROSS, DEFAULT_ACROSS);
}

/** The method of a configuration. @param seed of a synthesiser's weights */
export function makeAcross<K extends keyof AcrossSettings>(
  across: Filled<AcrossSettings, K>,
  seed: number,
): Across {
  return ACROSS[across.kind].make(across, seed);
}

function synthetic(
  { synthesiser, hidden, along, factor, lr, noise, auxiliary }: SyntheticSettings,
  seed: number,
): SyntheticOptions {
  const width = hidden === 0 ? {} : { hidden };
  return {
    synthesiser:
      synthesiser === 'perceptron'
        ? { kind: 'perceptron', ...(hidden > 0 && { hidden: [hidden, hidden] }) }
        : { kind: 'recurrent', along, ...width },
    factor,
    lr,
    noise,
    auxiliary,
    seed,
  };
}
