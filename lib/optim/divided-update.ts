/*
 * An update whose work and state are divided over ranks (ZeRO's first stage, Rajbhandari et al. 2020). Each rank updates its own
 * share of the weights and keeps the state of those alone. Ranks then give each other the weights. These travel in the memory of
 * the gradients, which the update has used up.
 */
import { takeShares, buffersOf, setDivided } from '../distributed/divided-gradients.js';
import type { Ranks } from '../distributed/ranks.js';
import { flatOf, gatherShares, partOf, sharesWithin } from '../distributed/shares.js';
import { toStored } from '../safetensors/stored-tensor.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { noGrad } from '../tensor/autograd.js';
import { ModelParameter } from '../tensor/model-parameter.js';
import { call, callAsync } from '../tensor/operators.js';
import type { WithGradients } from '../tensor/parameter-set.js';
import { orDispose, untracked } from '../tensor/scope.js';
import { forAlike, TensorList, withPlaces } from '../tensor/tensor-list.js';
import { Tensor, type DType, type Parameter } from '../tensor/tensor.js';
import { gatherRows, ownRows, putRows, type OwnRows } from './divided-tables.js';

const GATHER = 'gathering updated weights';
const STORE = 'gathering the state of the optimizer';

/** The elements of parameters and their gradients that a rank updates, each a view of one dimension. */
export interface OwnShare<P extends Parameter> extends Omit<WithGradients<P>, 'tables'> {
  dispose(): void;
}

/** The same, with the rows of tables that the rank updates. */
export interface OwnShareAndRows<P extends Parameter> extends OwnShare<P> {
  readonly tables: readonly OwnRows<P>[];
}

/** A tensor of the state of a parameter, of which ranks keep shares, or the same. */
export interface DividedTensor {
  /** In a checkpoint. */
  readonly name: string;
  readonly parameter: Tensor;
  /** Of the numbers that are kept; default: that of the parameter. */
  readonly dtype?: DType;
  /** What this rank keeps, on any device: its share, or the same as others. Null: nothing. */
  readonly own: Tensor | null;
  /** Whether it is a share of a tensor like the parameter. */
  readonly isShare: boolean;
}

/** What is divided over ranks of the parameters of an optimizer. */
export class DividedUpdate {
  readonly ranks: Ranks;
  readonly #release: () => void;

  constructor(ranks: Ranks, parameters: readonly Parameter[]) {
    this.ranks = ranks;
    this.#release = takeShares(parameters);
  }

  /** What this rank updates of parameters that have a gradient. */
  ownShare<P extends Parameter>({ parameters }: Pick<WithGradients<P>, 'parameters'>): OwnShare<P> {
    const made: Tensor[] = [];
    const views = (of: (parameter: P) => Tensor): TensorList =>
      TensorList.of(
        own.map((parameter) => {
          const view = this.viewOfShare(parameter.tensor, of(parameter));
          made.push(view);
          return view;
        }),
      );
    const own = parameters.filter(({ tensor }) => this.#sharesOf(tensor)[this.ranks.rank]! > 0);
    try {
      const tensors = views(({ tensor }) => tensor);
      const gradients = views(({ tensor }) => {
        const gradient = untracked(() => tensor.grad!);
        made.push(gradient);
        return gradient;
      });
      const dispose = (): void => {
        tensors.dispose();
        gradients.dispose();
      };
      return { parameters: own, tensors, gradients, dispose };
    } finally {
      for (const tensor of made) tensor.dispose();
    }
  }

  /** What this rank updates of all that was found. */
  async ownShareAndRows<P extends Parameter>(found: WithGradients<P>): Promise<OwnShareAndRows<P>> {
    const tables = await ownRows(this.ranks, found.tables);
    const dispose = (): void => {
      for (const each of tables) each.dispose();
    };
    try {
      const share = this.ownShare(found);
      return {
        ...share,
        tables,
        dispose: () => {
          share.dispose();
          dispose();
        },
      };
    } catch (error) {
      dispose();
      throw error;
    }
  }

  /** Whether this rank updates a part of a parameter. */
  hasShareOf(parameter: Tensor): boolean {
    return this.#sharesOf(parameter)[this.ranks.rank]! > 0;
  }

  /** This rank's share of a tensor that is laid out like a parameter; the caller disposes it. */
  viewOfShare(parameter: Tensor, like: Tensor): Tensor {
    const counts = this.#sharesOf(parameter);
    const { rank } = this.ranks;
    const flat = flatOf(like);
    try {
      return partOf(
        flat,
        counts.slice(0, rank).reduce((sum, count) => sum + count, 0),
        counts[rank]!,
      );
    } finally {
      flat.dispose();
    }
  }

  /** Puts updated weights where the gradients are, from where {@link DividedUpdate.gather} takes them. */
  async put({ tensors, gradients, tables }: OwnShareAndRows<Parameter>): Promise<void> {
    await copyAlike(gradients, tensors);
    await putRows(this.ranks, tables);
  }

  /** Gives all ranks all updated weights, and leaves gradients that are zero. @param tables this rank's rows */
  async gather(found: WithGradients, { tables }: OwnShareAndRows<Parameter>): Promise<void> {
    const buffers = buffersOf(found.parameters);
    for (const buffer of buffers) await gatherShares(this.ranks, buffer, GATHER);
    for (const { tensor } of found.parameters) {
      if (tensor instanceof ModelParameter) continue;
      const gradient = untracked(() => tensor.grad!);
      const flat = flatOf(gradient);
      try {
        await gatherShares(this.ranks, flat, GATHER);
      } finally {
        flat.dispose();
        gradient.dispose();
      }
    }
    for (const buffer of buffers) setDivided(buffer, false);
    await this.ranks.agree(GATHER, async () => {
      await copyAlike(found.tensors, found.gradients);
      await forAlike(found.gradients, (alike) => callAsync('aten::_foreach_zero_', alike));
    });
    await gatherRows(this.ranks, tables);
  }

  /**
   * Tensors of a state, put together, as a checkpoint has them. All ranks call it.
   *
   * @returns on rank 0 those that any rank has, on the host; on others nothing
   */
  async stored(tensors: readonly DividedTensor[]): Promise<Map<string, StoredTensor>> {
    const { ranks } = this;
    const stored = new Map<string, StoredTensor>();
    const kept = await ranks.numbers(tensors.map(({ own }) => (own === null ? 0 : 1)));
    for (const [place, tensor] of tensors.entries()) {
      const owner = kept.findIndex((ofRank) => ofRank[place] === 1);
      if (owner < 0) continue;
      const whole = tensor.isShare ? await this.#wholeOf(tensor) : await this.#sameOf(tensor, owner);
      try {
        await ranks.agree(STORE, async () => {
          if (ranks.rank === 0) stored.set(tensor.name, await toStored(whole));
        });
      } finally {
        whole.dispose();
      }
    }
    return stored;
  }

  /** A tensor like a parameter and on its device, of the shares of all ranks. */
  async #wholeOf({ parameter, dtype = parameter.dtype, own }: DividedTensor): Promise<Tensor> {
    return this.#received(
      () => {
        const whole: Tensor = call('aten::empty_like', parameter, { dtype });
        if (own === null) return whole;
        return orDispose(whole, () => {
          const share = this.viewOfShare(parameter, whole);
          share.copyFrom(own);
          share.dispose();
        });
      },
      async (whole) => {
        const flat = flatOf(whole);
        const counts = this.#sharesOf(parameter);
        await this.ranks
          .exchange((group) => group.allGather(flat.handle, counts, STORE))
          .finally(() => {
            flat.dispose();
          });
      },
    );
  }

  /** What is the same on all ranks that have it, such as a number of updates. */
  async #sameOf({ parameter: { device }, own }: DividedTensor, owner: number): Promise<Tensor> {
    return this.#received(
      () => {
        const same = Tensor.from(new Float32Array(1), { shape: [], device });
        if (own !== null) same.copyFrom(own);
        return same;
      },
      (tensor) => this.ranks.exchange((group) => group.broadcast(tensor.handle, owner, STORE)),
    );
  }

  async #received(make: () => Tensor, exchange: (tensor: Tensor) => Promise<void>): Promise<Tensor> {
    let tensor: Tensor | undefined;
    try {
      await this.ranks.agree(STORE, () => {
        tensor = untracked(() => noGrad(make));
      });
      await exchange(tensor!);
      return tensor!;
    } catch (error) {
      tensor?.dispose();
      throw error;
    }
  }

  dispose(): void {
    this.#release();
  }

  /** How many elements of a parameter each rank updates. */
  #sharesOf(parameter: Tensor): number[] {
    const { size } = this.ranks;
    if (!(parameter instanceof ModelParameter)) return sharesWithin(size, parameter.size, 0, parameter.size);
    const gradient = untracked(() => parameter.grad);
    if (gradient === null) return sharesWithin(size, parameter.size, 0, parameter.size);
    try {
      const begin = offsetOf(gradient) - offsetOf(parameter.buffer);
      return sharesWithin(size, parameter.buffer.size, begin, parameter.size);
    } finally {
      gradient.dispose();
    }
  }
}

const offsetOf = (tensor: Tensor): number => call<number>('aten::sym_storage_offset', tensor);

/** Copies each tensor of a list into that at the same place of another. */
export async function copyAlike(to: TensorList, from: TensorList): Promise<void> {
  for (const places of to.alike())
    await withPlaces([to, from], places, (target, source) =>
      callAsync('aten::_foreach_copy_', target, source),
    );
}
