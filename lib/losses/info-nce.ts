import { checkKnown } from '../options/known-options.js';
import { requireBoolean, requireOneOf } from '../options/option-values.js';
import { SIMILARITY, type LossKind, type TrainedLoss } from './loss-kind.js';
import {
  checkTemperature,
  scaleFrom,
  temperatureSettings,
  type Scale,
  type Temperature,
  type TemperatureSettings,
} from './temperature.js';
import { targetsOf, TiledLoss } from './tiled-loss.js';

/** Settings of {@link infoNCE}. */
export interface InfoNCEOptions {
  /**
   * Similarities are divided by it. Default 0.05. `{ initial, learned: true }` trains the logarithm of its inverse, as CLIP
   * does (Radford et al. 2021, 2.5). The inverse never exceeds 100. The optimizer gets the parameter from `parameters()`.
   */
  readonly temperature?: Temperature;
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
  /** Averages the losses anchor to candidate and candidate to anchor. Default: only anchor to candidate. */
  readonly symmetric?: boolean;
}

/** What {@link infoNCE} returns. */
export type InfoNCELoss = TrainedLoss;

/**
 * InfoNCE, the contrastive loss of Gao et al. 2021 (equation 1): each anchor is to find its positive among all candidates
 * of the batch.
 *
 * Towers: anchors [N, d], positives [N, d], then any number of hard negatives [M_k, d]. Anchor i belongs to candidate i,
 * unless `step(inputs, { loss: { targets } })` gives the number of each anchor's candidate, counted through positives
 * and hard negatives. Computed in row tiles: N x N scores never exist at once.
 *
 * @throws GradCacheError `INPUT` for a temperature that is not positive; at the step: `SHAPE`, `NON_FINITE`
 */
export function infoNCE(options: InfoNCEOptions = {}): InfoNCELoss {
  checkKnown('infoNCE', options, ['temperature', 'similarity', 'symmetric']);
  const { temperature = 0.05, similarity = 'cosine', symmetric = false } = options;
  const scale = scaleFrom(temperature);
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  requireBoolean('symmetric', symmetric);
  return new InfoNCE({ ...scale, cosine: similarity === 'cosine', symmetric });
}

class InfoNCE extends TiledLoss implements InfoNCELoss {
  readonly #temperature: () => number;

  constructor(parts: Scale & { cosine: boolean; symmetric: boolean }) {
    const { scale, temperature, cosine, symmetric } = parts;
    super({
      name: 'info_nce',
      cosine,
      numbers: { scale },
      settings: (options, anchors) => {
        checkKnown('the loss of infoNCE', options, ['targets']);
        return { symmetric, targets: targetsOf(options, anchors) };
      },
    });
    this.#temperature = temperature;
  }

  get temperature(): number {
    return this.#temperature();
  }
}

/** InfoNCE in a configuration. */
export interface InfoNCESettings extends TemperatureSettings {
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: 'cosine' | 'dot';
  /** Also compare each positive with all anchors. Default false. */
  readonly symmetric: boolean;
}

/** InfoNCE in `train`. */
export const infoNCEKind: LossKind<InfoNCESettings> = {
  about: "each anchor's positive against all other candidates",
  columns: { least: 2, needed: 'two or more different columns: anchor, positive, hard negatives' },
  takesMemory: true,
  settings: {
    ...temperatureSettings(0.05),
    similarity: SIMILARITY,
    symmetric: {
      kind: 'switch',
      default: false,
      flag: 'symmetric',
      help: 'compare each positive with all anchors as well',
    },
  },
  check: checkTemperature,
  make: ({ temperature: initial, learned, similarity, symmetric }) =>
    infoNCE({ temperature: { initial, learned }, similarity, symmetric }),
  temperature: ({ temperature }) => temperature,
};
