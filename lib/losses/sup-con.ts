import { checkKnown } from '../options/known-options.js';
import { requireOneOf } from '../options/option-values.js';
import { classesOf } from './class-settings.js';
import { SIMILARITY, type LossKind, type TrainedLoss } from './loss-kind.js';
import {
  checkTemperature,
  scaleFrom,
  temperatureFrom,
  temperatureSettings,
  type Scale,
  type Temperature,
  type TemperatureSettings,
} from './temperature.js';
import { TiledLoss } from './tiled-loss.js';

/** Settings of {@link supCon}. */
export interface SupConOptions {
  /** Similarities are divided by it, as in {@link InfoNCEOptions}. Default 0.1. */
  readonly temperature?: Temperature;
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
}

/**
 * Supervised contrastive learning (Khosla et al. 2020; pytorch-metric-learning's SupConLoss): each row is to find those of
 * its class among all other rows. Its loss is `log sum exp of its scores - mean score of its class`; the mean is over rows
 * whose loss is above 0, so that rows without another of their class do not count.
 *
 * Towers: any number, [M_k, d]; all rows of all towers are compared with each other, none with itself.
 * `step(inputs, { loss: { labels } })` gives the class of each row, a number: through all towers, or once for towers that
 * are views of the same rows. Computed in tiles.
 *
 * @throws GradCacheError `INPUT` for a temperature that is not positive; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model], loss: supCon({ temperature: 0.1 }) });
 * await gradcache.step([model.tokenize(texts)], { loss: { labels: [0, 1, 0, 1] } }); // the class of each text
 * ```
 */
export function supCon(options: SupConOptions = {}): TrainedLoss {
  checkKnown('supCon', options, ['temperature', 'similarity']);
  const { temperature = 0.1, similarity = 'cosine' } = options;
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  return new SupCon(scaleFrom(temperature), similarity === 'cosine');
}

class SupCon extends TiledLoss implements TrainedLoss {
  readonly #temperature: () => number;

  constructor({ scale, temperature }: Scale, cosine: boolean) {
    super({
      name: 'sup_con',
      cosine,
      numbers: { scale },
      settings: (options, _, rows) => {
        checkKnown('the loss of supCon', options, ['labels']);
        return { classes: classesOf('supCon', options, rows) };
      },
    });
    this.#temperature = temperature;
  }

  get temperature(): number {
    return this.#temperature();
  }
}

/** Supervised contrastive learning in a configuration. */
export interface SupConSettings extends TemperatureSettings {
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: 'cosine' | 'dot';
}

/** The same in `train`. */
export const supConKind: LossKind<SupConSettings> = {
  about: 'each text against all others of the batch: those of its class are its positives',
  columns: { least: 1, needed: 'one or more different columns of texts', usual: ['text'] },
  label: { type: 'class', needed: 'the class of each row' },
  settings: { ...temperatureSettings(0.1), similarity: SIMILARITY },
  check: checkTemperature,
  make: ({ similarity, ...settings }) => supCon({ temperature: temperatureFrom(settings), similarity }),
  temperature: ({ temperature }) => temperature,
};
