import { types } from 'node:util';
import { GradCacheError } from '../errors.js';
import { noGrad } from '../tensor/autograd.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireBoolean, requireNumber, requireOneOf, show } from '../options/option-values.js';
import { guardedAsync, native } from '../addon/native.js';
import { untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { requireFinite, type LossGradients, type LossOptions, type LossWithGradients } from './loss.js';

/** Settings of {@link infoNCE}. */
export interface InfoNCEOptions {
  /**
   * What similarities are divided by; default 0.05. `{ initial, learned: true }` trains its inverse's logarithm as CLIP
   * does (Radford et al. 2021, 2.5): the inverse never exceeds 100, and the parameter goes to the optimizer through
   * `parameters()`.
   */
  readonly temperature?: number | { readonly initial: number; readonly learned: boolean };
  /** Default: cosine. */
  readonly similarity?: 'cosine' | 'dot';
  /** The mean of anchor to candidate and candidate to anchor; default: anchor to candidate alone. */
  readonly symmetric?: boolean;
}

/** What {@link infoNCE} returns. */
export interface InfoNCELoss extends LossWithGradients {
  /** What similarities are divided by: as given, or as learned up to the last update that was awaited. */
  readonly temperature: number;
}

/** The largest inverse temperature that a learned one reaches, as in CLIP. */
const GREATEST_SCALE = 100;

/**
 * InfoNCE, the contrastive loss of Gao et al. 2021 (equation 1): each anchor's positive against all other candidates of
 * the batch.
 *
 * Towers: anchors [N, d], positives [N, d], then any number of hard negatives [M_k, d]. Anchor i belongs to candidate i,
 * unless `step(inputs, { loss: { targets } })` gives the number of each anchor's candidate, counted through positives
 * and hard negatives. Computed in row tiles: N x N scores never exist at once.
 *
 * @throws GradCacheError `INPUT` for a temperature that is not positive; at the step: `SHAPE`, `NON_FINITE`
 */
export function infoNCE(options: InfoNCEOptions = {}): InfoNCELoss {
  return new InfoNCE(options);
}

class InfoNCE implements InfoNCELoss {
  readonly #settings: { readonly cosine: boolean; readonly symmetric: boolean };
  readonly #fixed: number;
  /** The logarithm of the inverse temperature, where that is learned. */
  readonly #logScale: Tensor | null = null;

  constructor(options: InfoNCEOptions) {
    checkKnown('infoNCE', options, ['temperature', 'similarity', 'symmetric']);
    const { temperature = 0.05, similarity = 'cosine', symmetric = false } = options;
    const { initial: value, learned } = temperatureOf(temperature);
    requireNumber('temperature', value, { above: 0 });
    if (!Number.isFinite(1 / value)) throw refused('temperature', value, 'a number whose inverse is finite');
    requireOneOf('similarity', similarity, ['cosine', 'dot']);
    requireBoolean('symmetric', symmetric);
    if (learned && 1 / value > GREATEST_SCALE) {
      throw new GradCacheError(
        'INPUT',
        `temperature ${show(value)} is below ${1 / GREATEST_SCALE}, where a learned one ends; a fixed one can be that low`,
      );
    }
    this.#settings = { cosine: similarity === 'cosine', symmetric };
    this.#fixed = value;
    if (learned) {
      this.#logScale = untracked(() => Tensor.from(Float64Array.of(Math.log(1 / value))));
      this.#logScale.requiresGrad = true;
      this.#logScale.grad = untracked(() => Tensor.from(Float64Array.of(0)));
    }
  }

  get temperature(): number {
    if (this.#logScale === null) return this.#fixed;
    return temperatureAt(this.#logScale.item());
  }

  parameters(): Parameter[] {
    return this.#logScale === null ? [] : [{ name: 'loss.log_scale', tensor: this.#logScale, decay: false }];
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
  ): Promise<LossGradients> {
    if (!Array.isArray(representations) || !representations.every((tensor) => tensor instanceof Tensor))
      throw refused('the representations', representations, 'a list with a Tensor for each tower');
    requireNumber('weight', weight);
    const targets = targetsOf(options, representations[0]?.shape[0] ?? 0);
    const scale = await this.#scale();
    const { loss, gradients, logScaleGradient } = await guardedAsync(() =>
      native().infoNce(
        representations.map((tensor) => tensor.handle),
        {
          scale,
          weight,
          ...this.#settings,
          learned: this.#logScale !== null,
          targets,
        },
      ),
    );
    const tensors = gradients.map((gradient) => new Tensor(gradient));
    try {
      requireFinite(loss);
    } catch (error) {
      for (const tensor of tensors) tensor.dispose();
      throw error;
    }
    this.#addToGradient(logScaleGradient);
    return { loss, gradients: tensors };
  }

  /** The inverse temperature, with a learned one put back where it has grown too large. */
  async #scale(): Promise<number> {
    if (this.#logScale === null) return 1 / this.#fixed;
    const greatest = Math.log(GREATEST_SCALE);
    const logScale = Number((await this.#logScale.values())[0]); // off the event loop, unlike item()
    if (logScale > greatest) {
      const limit = Tensor.from(Float64Array.of(greatest));
      this.#logScale.copyFrom(limit);
      limit.dispose();
    }
    return 1 / temperatureAt(logScale);
  }

  #addToGradient(value: number): void {
    const gradient = this.#logScale?.grad;
    if (gradient === null || gradient === undefined) {
      if (this.#logScale !== null) this.#logScale.grad = untracked(() => Tensor.from(Float64Array.of(value)));
      return;
    }
    noGrad(() => {
      const sum = gradient.add(value);
      gradient.copyFrom(sum);
      sum.dispose();
    });
    gradient.dispose();
  }
}

const temperatureAt = (logScale: number): number => Math.exp(-Math.min(logScale, Math.log(GREATEST_SCALE)));

function temperatureOf(given: unknown): { initial: unknown; learned: boolean } {
  if (typeof given !== 'object' || given === null) return { initial: given, learned: false };
  checkKnown('temperature', given, ['initial', 'learned']);
  const { initial, learned } = given as { initial?: unknown; learned?: unknown };
  requireBoolean('temperature.learned', learned);
  return { initial, learned };
}

function targetsOf(options: LossOptions, anchors: number): number[] | null {
  checkKnown('the loss of infoNCE', options, ['targets']);
  const { targets } = options;
  if (targets === undefined || targets === null) return null;
  if (!Array.isArray(targets) && !types.isInt32Array(targets)) {
    throw new GradCacheError('INPUT', 'targets must be a list of candidate numbers, one for each anchor');
  }
  const { length } = targets as ArrayLike<number>;
  if (length !== anchors) throw new GradCacheError('SHAPE', `${length} targets for ${anchors} anchors`);
  return Array.from(targets as ArrayLike<number>);
}
