import { checkKnown } from '../options/known-options.js';
import { requireOneOf } from '../options/option-values.js';
import { SIMILARITY, type LossKind, type TrainedLoss } from './loss-kind.js';
import {
  checkTemperature,
  scaleFrom,
  temperatureFrom,
  temperatureSettings,
  type Temperature,
  type TemperatureSettings,
} from './temperature.js';
import { TiledLoss } from './tiled-loss.js';

/** Settings of {@link ntXent}. */
export interface NTXentOptions {
  /** Similarities are divided by it, as in {@link InfoNCEOptions}. Default 0.5. */
  readonly temperature?: Temperature;
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
}

/**
 * NT-Xent, the loss of SimCLR (Chen et al. 2020): of two views of N examples, each of the 2N views is to find the other
 * view of its example among the 2N - 1 that are not itself. Mean over the 2N views.
 *
 * Towers: first views [N, d], second views [N, d]; further ones [M_k, d] are candidates that belong to no view. Computed in
 * row tiles: 2N x 2N scores never exist at once.
 *
 * @throws GradCacheError `INPUT` for a temperature that is not positive; at the step: `SHAPE`, `NON_FINITE`
 */
export function ntXent(options: NTXentOptions = {}): TrainedLoss {
  checkKnown('ntXent', options, ['temperature', 'similarity']);
  const { temperature = 0.5, similarity = 'cosine' } = options;
  const scale = scaleFrom(temperature);
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  return new NTXent(scale, similarity === 'cosine');
}

class NTXent extends TiledLoss implements TrainedLoss {
  readonly #temperature: () => number;

  constructor({ scale, temperature }: ReturnType<typeof scaleFrom>, cosine: boolean) {
    super({
      name: 'nt_xent',
      cosine,
      numbers: { scale },
      settings: (options) => {
        checkKnown('the loss of ntXent', options, []);
        return {};
      },
    });
    this.#temperature = temperature;
  }

  get temperature(): number {
    return this.#temperature();
  }
}

/** NT-Xent in a configuration. */
export interface NTXentSettings extends TemperatureSettings {
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: 'cosine' | 'dot';
}

/** NT-Xent in `train`. */
export const ntXentKind: LossKind<NTXentSettings> = {
  about: 'each of two views of an example against all other views',
  columns: { least: 2, needed: 'two or more different columns: first view, second view, further candidates' },
  takesMemory: true,
  settings: { ...temperatureSettings(0.5), similarity: SIMILARITY },
  check: checkTemperature,
  make: ({ similarity, ...settings }) => ntXent({ temperature: temperatureFrom(settings), similarity }),
  temperature: ({ temperature }) => temperature,
};
