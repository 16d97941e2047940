import { buffersOf, isDivided, isTakenInShares, setDivided } from './divided-gradients.js';
import type { Ranks } from './ranks.js';
import { partOf, reduceToShares, sharesWithin, zeroOthers } from './shares.js';
import { noGrad } from '../tensor/autograd.js';
import { NativeParameter } from '../tensor/native-parameter.js';
import { call, callAsync } from '../tensor/operators.js';
import { RowParameter } from '../tensor/row-parameter.js';
import { untracked } from '../tensor/scope.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';
import type { Reduction } from './reduction.js';
import { addUpRows } from './table-gradients.js';

const WHAT = 'adding up gradients';

/** Some elements of a buffer. */
export interface Range {
  readonly begin: number;
  readonly length: number;
}

/** The gradients of parameters, which ranks add up. */
export class SharedGradients {
  /** The buffers of native models. */
  readonly buffers: readonly Tensor[];
  /** Tensors with a gradient of their own, or none. */
  readonly #others: readonly Tensor[];
  /** Tables whose gradients are of rows. */
  readonly #tables: readonly RowParameter[];
  readonly #narrows: boolean;
  /** What is sent of a buffer, where that is not the buffer itself. */
  readonly #narrow = new Map<Tensor, Tensor>();
  /** Copies of the other gradients, one behind the other: a copy for each device and type. */
  #flat: { readonly tensors: readonly Tensor[]; readonly gradients: Tensor }[] = [];
  /** Buffers that ranks have begun to add up. */
  readonly #begun = new Set<Tensor>();

  constructor(parameters: readonly Parameter[], { type = 'own' }: Reduction = {}) {
    this.buffers = buffersOf(parameters);
    const tensors = parameters.map(({ tensor }) => tensor);
    this.#tables = tensors.filter((tensor) => tensor instanceof RowParameter);
    this.#others = tensors.filter((tensor) => !(tensor instanceof NativeParameter));
    this.#narrows = type === 'bfloat16';
  }

  /** How many numbers are exchanged: ranks must have as many. */
  get size(): number {
    return [...this.buffers, ...this.#tables, ...this.#others].reduce((sum, { size }) => sum + size, 0);
  }

  /** How many tables have gradients of rows: ranks must have as many. */
  get tables(): number {
    return this.#tables.length;
  }

  /** Sees to it that what earlier steps added up, which all ranks have, goes into the sum once. */
  countOnce(ranks: Ranks): void {
    for (const buffer of this.buffers)
      if (isDivided(buffer)) zeroOthers(ranks, buffer);
      else if (ranks.rank > 0) zero(buffer);
    if (ranks.rank > 0) this.#zeroOthers();
  }

  /** Sets all gradients to zero. */
  zero(): void {
    for (const buffer of this.buffers) zero(buffer);
    this.#zeroOthers();
  }

  #zeroOthers(): void {
    for (const table of this.#tables) table.grad = null;
    for (const tensor of this.#others) {
      const gradient = untracked(() => tensor.grad);
      if (gradient === null) continue;
      zero(gradient);
      gradient.dispose();
    }
  }

  /** Takes the memory that adding up buffers needs. */
  reserve(): void {
    if (!this.#narrows) return;
    for (const buffer of this.buffers)
      if (!this.#narrow.has(buffer))
        this.#narrow.set(
          buffer,
          untracked(() => noGrad(() => call('aten::empty_like', buffer, { dtype: 'bfloat16' }))),
        );
  }

  /** Takes all memory that adding up needs. @returns for each tensor with a gradient of its own 1 if it has one, else 0 */
  prepare(): number[] {
    this.reserve();
    const alike = new Map<string, Tensor[]>();
    for (const tensor of this.#others) {
      const key = `${tensor.device} ${tensor.dtype}`;
      alike.set(key, [...(alike.get(key) ?? []), tensor]);
    }
    this.#flat = [...alike.values()].map((tensors) => ({
      tensors,
      gradients: flatGradients(tensors, this.#narrows),
    }));
    return this.#others.map((tensor) => {
      const gradient = untracked(() => tensor.grad);
      gradient?.dispose();
      return gradient === null ? 0 : 1;
    });
  }

  /**
   * Begins to add up a part of a buffer, which nothing may touch until {@link SharedGradients.reduce}; `reserve` comes before.
   * All parts of it are begun.
   */
  async begin(ranks: Ranks, buffer: Tensor, { begin, length }: Range): Promise<void> {
    this.#begun.add(buffer);
    const narrow = this.#narrow.get(buffer);
    const part = partOf(narrow ?? buffer, begin, length);
    try {
      if (narrow !== undefined) copyPart(part, buffer, begin);
      const counts = sharesWithin(ranks.size, buffer.size, begin, length);
      await ranks.exchange((group) =>
        isTakenInShares(buffer)
          ? group.reduceScatter(part.handle, counts, WHAT, true)
          : group.allReduce(part.handle, WHAT, true),
      );
    } finally {
      part.dispose();
    }
  }

  /** @param present what `prepare` returned on each rank */
  async reduce(ranks: Ranks, present: readonly (readonly number[])[]): Promise<void> {
    if (this.#begun.size > 0) await ranks.exchange((group) => group.finish(WHAT));
    for (const buffer of this.buffers) {
      if (!this.#begun.delete(buffer)) await this.#send(ranks, buffer);
      const narrow = this.#narrow.get(buffer);
      if (narrow !== undefined) await copy(buffer, narrow);
      setDivided(buffer, isTakenInShares(buffer));
    }
    for (const table of this.#tables) await addUpRows(ranks, table, this.#narrows ? 'bfloat16' : 'own', WHAT);
    for (const { gradients } of this.#flat)
      await ranks.exchange((group) => group.allReduce(gradients.handle, WHAT));
    const wanted = new Set(this.#others.filter((_, place) => present.some((ofRank) => ofRank[place] === 1)));
    for (const { tensors, gradients } of this.#flat) putBack(tensors, gradients, wanted);
  }

  /** Waits for what was begun, whose sums are of no use any more. */
  async settle(ranks: Ranks): Promise<void> {
    if (this.#begun.size > 0) await ranks.exchange((group) => group.finish(WHAT)).catch(() => undefined);
    this.#begun.clear();
  }

  dispose(): void {
    for (const { gradients } of this.#flat) gradients.dispose();
    for (const narrow of this.#narrow.values()) narrow.dispose();
    this.#flat = [];
    this.#narrow.clear();
  }

  async #send(ranks: Ranks, buffer: Tensor): Promise<void> {
    const narrow = this.#narrow.get(buffer);
    if (narrow !== undefined) await copy(narrow, buffer);
    const sent = narrow ?? buffer;
    if (isTakenInShares(buffer)) await reduceToShares(ranks, sent, WHAT);
    else await ranks.exchange((group) => group.allReduce(sent.handle, WHAT));
  }
}

/** At once: a job would wait for the backward that still adds to other parts. */
function copyPart(to: Tensor, buffer: Tensor, begin: number): void {
  const from = partOf(buffer, begin, to.size);
  untracked(() => noGrad(() => to.copyFrom(from)));
  from.dispose();
}

function zero(tensor: Tensor): void {
  noGrad(() => {
    call('aten::zero_', tensor).dispose();
  });
}

async function copy(to: Tensor, from: Tensor): Promise<void> {
  (await callAsync('aten::copy_', to, from)).dispose();
}

/** Zeros for a tensor without a gradient. */
function flatGradients(tensors: readonly Tensor[], narrows: boolean): Tensor {
  const size = tensors.reduce((sum, tensor) => sum + tensor.size, 0);
  const type = narrows ? [{ dtype: 'bfloat16' }] : [];
  return untracked(() =>
    noGrad(() => {
      const flat: Tensor = call('aten::new_zeros', tensors[0]!, [size], ...type);
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
          tensor.grad = part.dtype === tensor.dtype ? part.clone() : part.to({ dtype: tensor.dtype });
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
