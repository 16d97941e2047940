import { GradCacheError } from '../errors.js';
import { refuse } from '../options/fields.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireBoolean, requireNumber, requireOneOf, show } from '../options/option-values.js';
import { fixedNumber, learnedNumber, type LossNumber } from './loss-number.js';
import { SIMILARITY, type LossKind, type TrainedLoss } from './loss-kind.js';
import { targetsOf, TiledLoss } from './tiled-loss.js';

/** Settings of {@link infoNCE}. */
export interface InfoNCEOptions {
  /**
   * Similarities are divided by it. Default 0.05. `{ initial, learned: true }` trains the logarithm of its inverse, as CLIP
   * does (Radford et al. 2021, 2.5). The inverse never exceeds 100. The optimizer gets the parameter from `parameters()`.
   */
  readonly temperature?: number | { readonly initial: number; readonly learned: boolean };
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
  /** Averages the losses anchor to candidate and candidate to anchor. Default: only anchor to candidate. */
  readonly symmetric?: boolean;
}

/** What {@link infoNCE} returns. */
export type InfoNCELoss = TrainedLoss;

/** The largest inverse temperature that a learned one reaches, as in CLIP. */
const GREATEST_SCALE = 100;

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

  constructor(parts: { scale: LossNumber; temperature: () => number; cosine: boolean; symmetric: boolean }) {
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

/** The factor of similarities, and its inverse, the temperature. */
function scaleFrom(given: unknown): { scale: LossNumber; temperature: () => number } {
  const { initial, learned } = temperatureOf(given);
  requireNumber('temperature', initial, { above: 0 });
  if (!Number.isFinite(1 / initial))
    throw refused('temperature', initial, 'a number whose inverse is finite');
  if (!learned) return { scale: fixedNumber(1 / initial), temperature: () => initial };
  if (1 / initial > GREATEST_SCALE) {
    throw new GradCacheError(
      'INPUT',
      `temperature ${show(initial)} is below ${1 / GREATEST_SCALE}, where a learned one ends; a fixed one can be that low`,
    );
  }
  const scale = learnedNumber({
    name: 'loss.log_scale',
    initial: Math.log(1 / initial),
    most: Math.log(GREATEST_SCALE),
    valueAt: (logarithm) => 1 / Math.exp(-logarithm),
  });
  return { scale, temperature: () => 1 / scale.value };
}

function temperatureOf(given: unknown): { initial: unknown; learned: boolean } {
  if (typeof given !== 'object' || given === null) return { initial: given, learned: false };
  checkKnown('temperature', given, ['initial', 'learned']);
  const { initial, learned } = given as { initial?: unknown; learned?: unknown };
  requireBoolean('temperature.learned', learned);
  return { initial, learned };
}

/** InfoNCE in a configuration. */
export interface InfoNCESettings {
  /** Divides similarities; smaller is sharper. Default 0.05. */
  readonly temperature: number;
  /** Learn the temperature, as CLIP does. Default false. */
  readonly learned: boolean;
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: 'cosine' | 'dot';
  /** Also compare each positive with all anchors. Default false. */
  readonly symmetric: boolean;
}

/** InfoNCE in `train`. */
export const infoNCEKind: LossKind<InfoNCESettings> = {
  about: "each anchor's positive against all other candidates",
  columns: { least: 2, needed: 'two or more different columns: anchor, positive, hard negatives' },
  settings: {
    temperature: { kind: 'number', above: 0, default: 0.05, flag: 'temperature', help: 'default 0.05' },
    learned: {
      kind: 'switch',
      default: false,
      flag: 'learn-temperature',
      help: 'learn it, starting from that (0.01 or more, and never below)',
    },
    similarity: SIMILARITY,
    symmetric: {
      kind: 'switch',
      default: false,
      flag: 'symmetric',
      help: 'compare each positive with all anchors as well',
    },
  },
  check({ learned, temperature }, fields) {
    if (!learned || temperature >= 1 / GREATEST_SCALE) return;
    throw refuse(
      fields.at('temperature'),
      temperature,
      `a finite number from ${1 / GREATEST_SCALE}, which a learned temperature never falls below`,
    );
  },
  make: ({ temperature: initial, learned, similarity, symmetric }) =>
    infoNCE({ temperature: { initial, learned }, similarity, symmetric }),
  temperature: ({ temperature }) => temperature,
};
