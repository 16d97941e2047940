import { noGrad } from './autograd.js';
import { call } from './operators.js';
import type { Parameter, Tensor } from './tensor.js';

/**
 * The gradients as they are now, so that a step that fails can leave them so. Gradients that are all zero, the usual
 * case, are not copied.
 */
export class GradientSnapshot {
  readonly #saved: { readonly gradient: Tensor; readonly copy: Tensor | null }[];
  readonly #without: Tensor[];

  /**
   * @param buffers tensors that hold gradients
   * @param parameters those of them that have no gradient yet have none again after {@link GradientSnapshot.restore}
   */
  constructor(buffers: readonly Tensor[], parameters: readonly Parameter[]) {
    this.#without = parameters
      .map(({ tensor }) => tensor)
      .filter((tensor) => !tensor.disposed && tensor.grad === null);
    this.#saved = noGrad(() =>
      buffers.map((gradient) => ({ gradient, copy: isZero(gradient) ? null : gradient.clone() })),
    );
  }

  restore(): void {
    noGrad(() => {
      for (const { gradient, copy } of this.#saved) {
        if (gradient.disposed) continue;
        if (copy === null) call('aten::zero_', gradient).dispose();
        else gradient.copyFrom(copy);
      }
      for (const tensor of this.#without) if (!tensor.disposed) tensor.grad = null;
    });
  }

  dispose(): void {
    for (const { copy } of this.#saved) copy?.dispose();
  }
}

function isZero(tensor: Tensor): boolean {
  const any = call('aten::any', tensor);
  const zero = any.item() === 0;
  any.dispose();
  return zero;
}
