import { call, callAsync } from '../tensor/operators.js';
import { withPlaces, type TensorList } from '../tensor/tensor-list.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import { ADAM_STATE, adamSettings, readAdamOptions } from './adam.js';
import type { AdamOptions, AdamRates, AdamSettings, AdamState, AdamUpdate } from './adam.js';
import type { OptimizerKind } from './optimizer-kind.js';
import { SlotOptimizer } from './slot-optimizer.js';
import type { ParameterGroup } from './slots.js';

/** Settings of {@link RAdam}; the defaults are those of `torch.optim.RAdam`. */
export interface RAdamOptions extends AdamOptions {
  /** Decoupled weight decay of parameters whose `decay` is true (weights, not biases or norms). Default 0. */
  readonly weightDecay?: number;
}

/**
 * RAdam (Liu et al. 2020): Adam whose first updates, while the running mean of squares is of few gradients, are those of
 * momentum alone. Weight decay is decoupled, as in `torch.optim.RAdam` with `decoupled_weight_decay=True`.
 *
 * An update reads from the device how many updates each parameter has had.
 *
 * @example
 * ```ts
 * const optimizer = new RAdam(gradcache.parameters(), { lr: 1e-3, maxGradNorm: 1 });
 * await gradcache.step(inputs);
 * await optimizer.step();
 * ```
 */
export class RAdam extends SlotOptimizer<AdamState> {
  /**
   * @param parameters what to update: `model.parameters()`, or groups with their own settings
   * @throws GradCacheError `INPUT` for a setting out of range, no parameters, or a parameter given twice
   */
  constructor(parameters: Iterable<Parameter> | readonly ParameterGroup[], options: RAdamOptions) {
    const { rates, settings } = readAdamOptions('RAdam', options, 0);
    const update = (alike: AdamUpdate) => rectified(alike, rates);
    super({ name: 'RAdam', state: ADAM_STATE, update }, parameters, settings);
  }
}

async function rectified(
  { parameters, gradients, state: { exp_avg, exp_avg_sq, step }, lr, weightDecay }: AdamUpdate,
  { beta1, beta2, eps }: AdamRates,
): Promise<void> {
  await callAsync('aten::_foreach_add_.Scalar', step, 1);
  const counts = await numbersOf(step);
  if (weightDecay > 0) await callAsync('aten::_foreach_mul_.Scalar', parameters, 1 - lr * weightDecay);
  await callAsync('aten::_foreach_lerp_.Scalar', exp_avg, gradients, 1 - beta1);
  await callAsync('aten::_foreach_mul_.Scalar', exp_avg_sq, beta2);
  await callAsync('aten::_foreach_addcmul_.Scalar', exp_avg_sq, gradients, gradients, 1 - beta2);
  const sizes = counts.map((count) => -lr / (1 - beta1 ** count));
  const factors = counts.map((count) => rectification(count, beta2));

  const places = (rectifies: boolean) =>
    Int32Array.from(counts.keys()).filter((place) => (factors[place] !== null) === rectifies);
  const [late, early] = [places(true), places(false)];
  if (late.length > 0)
    await withPlaces([parameters, exp_avg, exp_avg_sq], late, async (these, means, squares) => {
      const scales = Array.from(late, (place) => sizes[place]! * factors[place]!);
      await withMade(callAsync('aten::_foreach_sqrt', squares), async (denominators) => {
        await callAsync('aten::_foreach_add_.Scalar', denominators, eps);
        await callAsync('aten::_foreach_addcdiv_.ScalarList', these, means, denominators, scales);
      });
    });
  if (early.length > 0)
    await withPlaces([parameters, exp_avg], early, async (these, means) => {
      const scales = Array.from(early, (place) => sizes[place]!);
      await withMade(callAsync('aten::_foreach_mul.ScalarList', means, scales), (moves) =>
        callAsync('aten::_foreach_add_.List', these, moves),
      );
    });
}

/** Runs `use` with the tensors that an operator makes, and frees them at its end. */
async function withMade(
  made: Promise<Tensor[]>,
  use: (tensors: readonly Tensor[]) => Promise<unknown>,
): Promise<void> {
  const tensors = await made;
  try {
    await use(tensors);
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/**
 * What an update of Adam is multiplied by, the correction of its second mean included; null where the mean is of too few
 * gradients for the variance of the update to be finite.
 */
function rectification(count: number, beta2: number): number | null {
  const correction = 1 - beta2 ** count;
  const longest = 2 / (1 - beta2) - 1;
  const length = longest - (2 * count * beta2 ** count) / correction;
  if (length <= 5) return null;
  const ratio = ((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length);
  return Math.sqrt(ratio * correction);
}

async function numbersOf(scalars: TensorList): Promise<number[]> {
  const together = call('aten::stack', scalars);
  try {
    return Array.from(await together.values(), Number);
  } finally {
    together.dispose();
  }
}

/** RAdam in a configuration. */
export interface RAdamSettings extends AdamSettings {
  /** Default 3e-4. */
  readonly lr: number;
  /** Default 0.1; biases and norms never decay. */
  readonly weightDecay: number;
}

/** RAdam in `train`. The defaults are those that SRU++ was published with. */
export const rAdamKind: OptimizerKind<RAdamSettings> = {
  about: 'Adam whose first updates are those of momentum, with decoupled weight decay',
  settings: adamSettings({ lr: 3e-4, weightDecay: 0.1 }),
  make: (parameters, { lr, betas, eps, weightDecay, maxGradNorm }, ranks, narrow) =>
    new RAdam(parameters, { lr, betas, eps, weightDecay, maxGradNorm, ranks, ...narrow }),
};
