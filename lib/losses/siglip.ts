import { checkKnown } from '../options/known-options.js';
import { requireBoolean, requireNumber, requireOneOf } from '../options/option-values.js';
import { fixedNumber, learnedNumber, type LossNumber } from './loss-number.js';
import { SIMILARITY, type LossKind, type TrainedLoss } from './loss-kind.js';
import {
  PRECISION,
  precisionFor,
  requirePrecision,
  type LossPrecision,
  type PrecisionSettings,
} from './precision.js';
import { targetSettings } from './targets.js';
import { TiledLoss } from './tiled-loss.js';

/** Settings of {@link sigLIP}; the defaults are those of the paper. */
export interface SigLIPOptions {
  /** Similarities are multiplied by it; above 0. The initial value if learned. Default 10. */
  readonly scale?: number;
  /** Added to every scaled similarity; below 0, as most pairs do not match. The initial value if learned. Default -10. */
  readonly bias?: number;
  /** Trains the logarithm of the scale, and the bias. The optimizer gets them from `parameters()`. Default true. */
  readonly learned?: boolean;
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
  /** How scores are computed. Default `exact`. */
  readonly precision?: LossPrecision;
}

/** What {@link sigLIP} returns. */
export interface SigLIPLoss extends TrainedLoss {
  /** If learned, the value of the last awaited update. */
  readonly scale: number;
  /** What is added to every score, after the last awaited update. */
  readonly bias: number;
}

/**
 * The sigmoid loss of SigLIP (Zhai et al. 2023). It classifies every pair of an anchor and a candidate as matching (+) or
 * not (-): `-log(sigmoid(±(scale * similarity + bias)))`, summed over all pairs and divided by the number of anchors.
 * Candidates do not compete with each other, so exchanging anchors and positives changes nothing.
 *
 * Towers: anchors [N, d], positives [N, d]; further ones are hard negatives [M_k, d]. Anchor i belongs to candidate i
 * alone, unless `step(inputs, { loss: { targets } })` gives the number of each anchor's candidate, or a list of several,
 * counted through positives and hard negatives. Computed in row tiles: N x N scores never exist at once.
 *
 * @throws GradCacheError `INPUT` for a scale that is not above 0; at the step: `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: sigLIP() });
 * await gradcache.step([model.tokenize(anchors), model.tokenize(positives)]);
 * ```
 */
export function sigLIP(options: SigLIPOptions = {}): SigLIPLoss {
  checkKnown('sigLIP', options, ['scale', 'bias', 'learned', 'similarity', 'precision']);
  const { scale = 10, bias = -10, learned = true, similarity = 'cosine', precision = 'exact' } = options;
  requireNumber('scale', scale, { above: 0 });
  requireNumber('bias', bias);
  requireBoolean('learned', learned);
  requireOneOf('similarity', similarity, ['cosine', 'dot']);
  requirePrecision(precision);
  if (!learned) return new SigLIP(fixedNumber(scale), fixedNumber(bias), similarity, precision);
  return new SigLIP(
    learnedNumber({ name: 'loss.log_scale', initial: Math.log(scale), valueAt: Math.exp }),
    learnedNumber({ name: 'loss.bias', initial: bias, valueAt: (value) => value }),
    similarity,
    precision,
  );
}

class SigLIP extends TiledLoss implements SigLIPLoss {
  readonly #scale: LossNumber;
  readonly #bias: LossNumber;

  constructor(scale: LossNumber, bias: LossNumber, similarity: 'cosine' | 'dot', precision: LossPrecision) {
    super({
      name: 'siglip',
      cosine: similarity === 'cosine',
      numbers: { scale, bias },
      settings: (options, _, rows) => {
        checkKnown('the loss of sigLIP', options, ['targets']);
        return { ...targetSettings(options, rows), fast: precision === 'fast' };
      },
    });
    this.#scale = scale;
    this.#bias = bias;
  }

  get scale(): number {
    return this.#scale.value;
  }

  get bias(): number {
    return this.#bias.value;
  }

  get temperature(): number {
    return 1 / this.scale;
  }
}

/** SigLIP in a configuration: {@link SigLIPOptions}. */
export interface SigLIPSettings extends PrecisionSettings, Required<Omit<SigLIPOptions, 'precision'>> {}

/** SigLIP in `train`. */
export const sigLIPKind: LossKind<SigLIPSettings> = {
  about: 'whether each anchor and candidate belong together',
  columns: { least: 2, needed: 'two or more different columns: anchor, positive, hard negatives' },
  takesMemory: true,
  settings: {
    scale: { kind: 'number', above: 0, default: 10, help: 'multiplies similarities; default 10' },
    bias: { kind: 'number', default: -10, help: 'added to every score; default -10' },
    learned: { kind: 'switch', default: true, help: 'learn scale and bias, starting from those (default)' },
    similarity: SIMILARITY,
    precision: PRECISION,
  },
  make: ({ precision, ...settings }, model) =>
    sigLIP({ ...settings, precision: precisionFor(precision, model, true) }),
  temperature: ({ scale }) => 1 / scale,
};
