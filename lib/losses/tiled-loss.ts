import { types } from 'node:util';
import { guardedAsync, native, type LossSettings } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { requireNumber } from '../options/option-values.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import type { LossNumber } from './loss-number.js';
import {
  requireFinite,
  requireTowers,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';

/** What defines a loss over all pairs of anchors and candidates. */
export interface TiledLossParts {
  /** Its name in the native code: native/losses/losses.h. */
  readonly name: string;
  /** True: cosine similarity; false: dot product. */
  readonly cosine: boolean;
  /** True if the first candidates are the anchors themselves: none is compared with itself. Default: false. */
  readonly withoutSelf?: boolean;
  /** The native settings that are numbers, learned or not. `scale` multiplies similarities. */
  readonly numbers: Readonly<Record<string, LossNumber>> & { readonly scale: LossNumber };
  /**
   * The other native settings.
   *
   * @param options the option `loss` of `step`
   * @param anchors the number of anchors
   * @throws GradCacheError for options that do not fit
   */
  readonly settings: (options: LossOptions, anchors: number) => LossSettings;
}

/**
 * A loss over all pairs of anchors and candidates. Native code computes the loss and its gradients in tiles.
 */
export class TiledLoss implements LossWithGradients {
  readonly #parts: TiledLossParts;

  constructor(parts: TiledLossParts) {
    this.#parts = parts;
  }

  parameters(): Parameter[] {
    return Object.values(this.#parts.numbers).flatMap((number) => number.parameters());
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
  ): Promise<LossGradients> {
    requireTowers(representations);
    requireNumber('weight', weight);
    const { name, cosine, withoutSelf = false, numbers } = this.#parts;
    const settings: Record<string, LossSettings[string]> = {
      ...this.#parts.settings(options, representations[0]?.shape[0] ?? 0),
      cosine,
      withoutSelf,
      weight,
      learned: this.parameters().length > 0,
    };
    for (const [key, number] of Object.entries(numbers)) settings[key] = await number.read();
    const { loss, gradients, slopes } = await guardedAsync(() =>
      native().loss(
        name,
        representations.map((tensor) => tensor.handle),
        settings,
      ),
    );
    const tensors = gradients.map((gradient) => new Tensor(gradient));
    try {
      requireFinite(loss);
    } catch (error) {
      for (const tensor of tensors) tensor.dispose();
      throw error;
    }
    for (const [key, slope] of Object.entries(slopes)) numbers[key]!.addGradient(slope);
    return { loss, gradients: tensors };
  }
}

/**
 * The option `targets` of a step: the number of each anchor's candidate, counted through positives and hard negatives.
 *
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function targetsOf({ targets }: LossOptions, anchors: number): number[] | null {
  if (targets === undefined || targets === null) return null;
  if (!Array.isArray(targets) && !types.isInt32Array(targets)) {
    throw new GradCacheError('INPUT', 'targets must be a list of candidate numbers, one for each anchor');
  }
  const { length } = targets as ArrayLike<number>;
  if (length !== anchors) throw new GradCacheError('SHAPE', `${length} targets for ${anchors} anchors`);
  return Array.from(targets as ArrayLike<number>);
}
