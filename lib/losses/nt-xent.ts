import { checkKnown } from '../options/known-options.js';
import { refused, requireOneOf } from '../options/option-values.js';
import { classesOf } from './class-settings.js';
import { SIMILARITY, type LossKind, type TrainedLoss } from './loss-kind.js';
import {
  PRECISION,
  precisionFor,
  requirePrecision,
  type LossPrecision,
  type PrecisionSettings,
} from './precision.js';
import {
  checkTemperature,
  scaleFrom,
  temperatureFrom,
  temperatureSettings,
  type Temperature,
  type TemperatureSettings,
} from './temperature.js';
import {
  requireCheckable,
  type Length,
  type LossGradients,
  type LossOptions,
  type LossShare,
} from './loss.js';
import { requirePairs } from './tensor-loss.js';
import { TiledLoss } from './tiled-loss.js';
import type { Tensor } from '../tensor/tensor.js';

/** Settings of {@link ntXent}. */
export interface NTXentOptions {
  /** Similarities are divided by it, as in {@link InfoNCEOptions}. Default 0.5. */
  readonly temperature?: Temperature;
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
  /** How scores are computed. Default `exact`. `fast` takes no `labels`. */
  readonly precision?: LossPrecision;
}

/**
 * NT-Xent, the loss of SimCLR (Chen et al. 2020): of two views of N examples, each of the 2N views is to find the other
 * view of its example among the 2N - 1 that are not itself. Mean over the 2N views.
 *
 * Towers: first views [N, d], second views [N, d]; further ones [M_k, d] are candidates that belong to no view. Computed in
 * row tiles: 2N x 2N scores never exist at once.
 *
 * With `step(inputs, { loss: { labels } })` it is pytorch-metric-learning's NTXentLoss: every two rows of one class, through
 * any number of towers, are a pair, which has the first one's rows of other classes in its denominator and no others of its
 * class. Mean over the pairs. `labels` are those of {@link supCon}. Without labels it is SimCLR's, where each view has one
 * pair.
 *
 * @throws GradCacheError `INPUT` for a temperature that is not positive; at the step: `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: ntXent({ temperature: 0.5 }) });
 * const views = model.tokenize(texts); // two views of each text, by dropout
 * await gradcache.step([views, views]);
 * ```
 */
export function ntXent(options: NTXentOptions = {}): TrainedLoss {
  checkKnown('ntXent', options, ['temperature', 'similarity', 'precision']);
  const { temperature = 0.5, similarity = 'cosine', precision = 'exact' } = options;
  const scale = scaleFrom(temperature);
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  requirePrecision(precision);
  return new NTXent(scale, similarity === 'cosine', precision);
}

class NTXent extends TiledLoss implements TrainedLoss {
  readonly #temperature: () => number;
  /** Of pairs that labels tell. */
  readonly #ofClasses: TiledLoss;

  constructor(
    { scale, temperature }: ReturnType<typeof scaleFrom>,
    cosine: boolean,
    precision: LossPrecision,
  ) {
    const fast = precision === 'fast';
    super({
      name: 'nt_xent',
      cosine,
      numbers: { scale },
      settings: (options, _, rows) => {
        checkKnown('the loss of ntXent', options, []);
        requirePairs('ntXent', ['first views', 'second views'], rows);
        return { fast };
      },
    });
    this.#temperature = temperature;
    this.#ofClasses = new TiledLoss({
      name: 'class_nt_xent',
      cosine,
      numbers: { scale },
      settings: (options, _, rows) => {
        checkKnown('the loss of ntXent', options, ['labels']);
        if (fast) throw refused('precision', precision, '"exact" beside labels');
        return { classes: classesOf('ntXent', options, rows) };
      },
    });
  }

  override checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    if (options.labels === undefined) super.checkOptions(options, rows);
    else this.#ofClasses.checkOptions(options, rows);
  }

  override computeAt(
    lengths: readonly Length[],
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
    share?: LossShare,
  ): Promise<LossGradients | null> {
    return options.labels === undefined
      ? super.computeAt(lengths, representations, weight, options, trained, share)
      : this.#ofClasses.computeAt(lengths, representations, weight, options, trained, share);
  }

  get temperature(): number {
    return this.#temperature();
  }
}

/** NT-Xent in a configuration. */
export interface NTXentSettings extends TemperatureSettings, PrecisionSettings {
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: 'cosine' | 'dot';
}

/** NT-Xent in `train`. */
export const ntXentKind: LossKind<NTXentSettings> = {
  about: 'each of two views of an example against all other views',
  columns: { least: 2, needed: 'two or more different columns: first view, second view, further candidates' },
  takesMemory: true,
  settings: { ...temperatureSettings(0.5), similarity: SIMILARITY, precision: PRECISION },
  check: checkTemperature,
  make: ({ similarity, precision, ...settings }, model) =>
    ntXent({
      temperature: temperatureFrom(settings),
      similarity,
      precision: precisionFor(precision, model, true),
    }),
  temperature: ({ temperature }) => temperature,
};
