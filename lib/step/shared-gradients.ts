import { buffersOf, isDivided, isTakenInShares, setDivided } from '../distributed/divided-gradients.js';
import type { Ranks } from '../distributed/ranks.js';
import { reduceToShares, zeroOthers } from '../distributed/shares.js';
import { noGrad } from '../tensor/autograd.js';
import { ModelParameter } from '../tensor/model-parameter.js';
import { call } from '../tensor/operators.js';
import { untracked } from '../tensor/scope.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';

const WHAT = 'adding up gradients';

/** The gradients of parameters, which ranks add up. */
export class SharedGradients {
  /** The buffers of native models. */
  readonly #buffers: readonly Tensor[];
  /** Tensors with a gradient of their own, or none. */
  readonly #others: readonly Tensor[];
  /** Copies of those gradients, one behind the other: a copy for each device and type. */
  #flat: { readonly tensors: readonly Tensor[]; readonly gradients: Tensor }[] = [];

  constructor(parameters: readonly Parameter[]) {
    const tensors = parameters.map(({ tensor }) => tensor);
    this.#buffers = buffersOf(parameters);
    this.#others = tensors.filter((tensor) => !(tensor instanceof ModelParameter));
  }

  /** Sees to it that what earlier steps added up, which all ranks have, goes into the sum once. */
  countOnce(ranks: Ranks): void {
    for (const buffer of this.#buffers)
      if (isDivided(buffer)) zeroOthers(ranks, buffer);
      else if (ranks.rank > 0) zero(buffer);
    if (ranks.rank > 0) this.#zeroOwn();
  }

  /** Sets all gradients to zero. */
  zero(): void {
    for (const buffer of this.#buffers) zero(buffer);
    this.#zeroOwn();
  }

  #zeroOwn(): void {
    for (const tensor of this.#others) {
      const gradient = untracked(() => tensor.grad);
      if (gradient === null) continue;
      zero(gradient);
      gradient.dispose();
    }
  }

  /** Takes all memory that adding up needs. @returns for each tensor with a gradient of its own 1 if it has one, else 0 */
  prepare(): number[] {
    const alike = new Map<string, Tensor[]>();
    for (const tensor of this.#others) {
      const key = `${tensor.device} ${tensor.dtype}`;
      alike.set(key, [...(alike.get(key) ?? []), tensor]);
    }
    this.#flat = [...alike.values()].map((tensors) => ({ tensors, gradients: flatGradients(tensors) }));
    return this.#others.map((tensor) => {
      const gradient = untracked(() => tensor.grad);
      gradient?.dispose();
      return gradient === null ? 0 : 1;
    });
  }

  /** @param present what `prepare` returned on each rank */
  async reduce(ranks: Ranks, present: readonly (readonly number[])[]): Promise<void> {
    const reduce = (tensor: Tensor): Promise<void> =>
      ranks.exchange((group) => group.allReduce(tensor.handle, WHAT));
    for (const buffer of this.#buffers) {
      const shares = isTakenInShares(buffer);
      await (shares ? reduceToShares(ranks, buffer, WHAT) : reduce(buffer));
      setDivided(buffer, shares);
    }
    for (const { gradients } of this.#flat) await reduce(gradients);
    const wanted = new Set(this.#others.filter((_, place) => present.some((ofRank) => ofRank[place] === 1)));
    for (const { tensors, gradients } of this.#flat) putBack(tensors, gradients, wanted);
  }

  dispose(): void {
    for (const { gradients } of this.#flat) gradients.dispose();
    this.#flat = [];
  }
}

function zero(tensor: Tensor): void {
  noGrad(() => {
    call('aten::zero_', tensor).dispose();
  });
}

/** Zeros for a tensor without a gradient. */
function flatGradients(tensors: readonly Tensor[]): Tensor {
  const size = tensors.reduce((sum, tensor) => sum + tensor.size, 0);
  return untracked(() =>
    noGrad(() => {
      const flat: Tensor = call('aten::new_zeros', tensors[0]!, [size]);
      eachPart(tensors, flat, (tensor, part) => {
        const gradient = tensor.grad;
        if (gradient === null) return;
        part.copyFrom(gradient);
        gradient.dispose();
      });
      return flat;
    }),
  );
}

function putBack(tensors: readonly Tensor[], flat: Tensor, wanted: ReadonlySet<Tensor>): void {
  untracked(() =>
    noGrad(() => {
      eachPart(tensors, flat, (tensor, part) => {
        if (!wanted.has(tensor)) return;
        const gradient = tensor.grad;
        if (gradient === null) {
          tensor.grad = part.clone();
          return;
        }
        gradient.copyFrom(part);
        gradient.dispose();
      });
    }),
  );
}

function eachPart(
  tensors: readonly Tensor[],
  flat: Tensor,
  visit: (tensor: Tensor, part: Tensor) => void,
): void {
  let begin = 0;
  for (const tensor of tensors) {
    const range = flat.narrow(0, begin, tensor.size);
    const part = range.reshape(tensor.shape);
    visit(tensor, part);
    part.dispose();
    range.dispose();
    begin += tensor.size;
  }
}
