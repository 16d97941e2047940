import type { Initial } from '../addon/native.js';
import { noGrad, withSeed } from './autograd.js';
import { call } from './operators.js';
import type { Parameter, Tensor } from './tensor.js';

/**
 * Sets weights as they are before training. All parameters must be 0 before.
 *
 * @param initial by name, as the native side lists it with the parameters
 * @param options.deviation standard deviation of the matrices of which `initial` says nothing
 */
export function fillRandomly(
  parameters: readonly Parameter[],
  initial: ReadonlyMap<string, Initial>,
  { deviation, seed }: { readonly deviation: number; readonly seed: number },
): void {
  withSeed(seed, () => {
    noGrad(() => {
      for (const { name, tensor } of parameters) fill(name, tensor, initial.get(name) ?? null, deviation);
    });
  });
}

function fill(name: string, tensor: Tensor, initial: Initial, deviation: number): void {
  if (initial !== null && 'uniform' in initial)
    call('aten::uniform_', tensor, -initial.uniform, initial.uniform).dispose();
  else if (initial !== null) call('aten::fill_.Scalar', tensor, initial.constant).dispose();
  else if (tensor.shape.length > 1) call('aten::normal_', tensor, 0, deviation).dispose();
  else if (name.endsWith('.weight')) call('aten::fill_.Scalar', tensor, 1).dispose();
}
