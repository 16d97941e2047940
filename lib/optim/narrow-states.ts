/*
 * Weights that are kept in bfloat16, of which an update to the nearest loses what is small: either float32 copies on the host are
 * updated and cast, or weights are updated in float32, some tensors at a time, and rounded by
 * chance.
 */
import { fromStored, toStored } from '../safetensors/stored-tensor.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { noGrad } from '../tensor/autograd.js';
import { ModelParameter } from '../tensor/model-parameter.js';
import { call, callAsync } from '../tensor/operators.js';
import type { WithGradients } from '../tensor/parameter-set.js';
import { untracked } from '../tensor/scope.js';
import { TensorList, withPlaces } from '../tensor/tensor-list.js';
import type { Tensor } from '../tensor/tensor.js';
import { copyAlike, type DividedTensor, type DividedUpdate } from './divided-update.js';
import type { Rounding } from './rounding.js';
import type { MasterWeights, Update } from './slot-optimizer-parts.js';
import { byName, namesOf, type Slot, type SlotState, type StateTensors } from './slots.js';
import { requireStored } from './stored-state.js';

/** The name under which a checkpoint has the float32 copy of a parameter. */
const MASTER = 'master';

/** Elements that are updated at a time: what is made for an update takes at most some times four bytes of each. */
const MOST_ELEMENTS = 2 ** 24;

/** What is kept of a parameter, in float32. */
interface NarrowState<Name extends string> {
  readonly state: SlotState<Name>;
  /** Its copy on the host; null: there is none. */
  readonly master: Tensor | null;
}

/** The same, for a caller that may have no use for it. */
type Kept<Name extends string> = NarrowState<Name> & { readonly dispose: () => void };

/** What was found of some parameters. */
type Found<Name extends string> = Omit<WithGradients<Slot<Name>>, 'tables'>;

/** The states of those parameters of an optimizer that are kept in bfloat16. */
export class NarrowStates<Name extends string> {
  readonly #kinds: StateTensors<Name>;
  readonly #masters: MasterWeights;
  readonly #rounding: Rounding;
  /** Null: this process keeps the state of whole parameters. */
  readonly #divided: DividedUpdate | null;
  readonly #states = new Map<Slot<Name>, NarrowState<Name>>();

  constructor(
    kinds: StateTensors<Name>,
    masters: MasterWeights,
    rounding: Rounding,
    divided: DividedUpdate | null,
  ) {
    this.#kinds = kinds;
    this.#masters = masters;
    this.#rounding = rounding;
    this.#divided = divided;
  }

  /** Makes what is missing. A copy begins as the parameter is. */
  make(slots: readonly Slot<Name>[]): void {
    for (const slot of slots)
      if (!this.#states.has(slot) && this.#divided?.hasShareOf(slot.tensor) !== false)
        this.#states.set(slot, this.#fresh(slot.tensor));
  }

  #fresh(parameter: Tensor): NarrowState<Name> {
    const place = this.#placeOf(parameter);
    const made: Tensor[] = [];
    const keep = (one: Tensor): Tensor => {
      made.push(one);
      return one;
    };
    try {
      return this.#withOwn(parameter, (tensor) =>
        plain(() => ({
          state: byName(this.#kinds, (name) =>
            keep(
              this.#kinds[name] === 'like'
                ? call('aten::zeros_like', tensor, place)
                : call('aten::zeros', [], place),
            ),
          ),
          master: this.#masters === 'host' ? keep(tensor.to(place)) : null,
        })),
      );
    } catch (error) {
      for (const one of made) one.dispose();
      throw error;
    }
  }

  /** Runs `use` with what this rank updates of a parameter, or of what is laid out like it. */
  #withOwn<T>(parameter: Tensor, use: (own: Tensor) => T, like = parameter): T {
    const own = this.#divided === null ? like : this.#divided.viewOfShare(parameter, like);
    try {
      return use(own);
    } finally {
      if (own !== like) own.dispose();
    }
  }

  /** The type and the device of what is kept of a parameter. */
  #placeOf({ device }: Tensor): Place {
    return { dtype: 'float32', device: this.#masters === 'host' ? 'cpu' : device };
  }

  /** Updates parameters, all of which were made; divided over ranks this rank's shares of them. */
  async update(lr: number, found: Found<Name>, run: (update: Update<Name>) => Promise<void>): Promise<void> {
    const { parameters: slots, tensors, gradients } = found;
    const settings = Int32Array.from(slots, (slot) => slot.settings);
    for (const alike of tensors.alike(settings))
      for (const places of parts(alike, slots))
        await withPlaces([tensors, gradients], places, async (narrow, theirs) => {
          const parameters = Array.from(places, (place) => slots[place]!);
          const part = { parameters, tensors: narrow, gradients: theirs };
          const own = this.#divided?.ownShare(part);
          try {
            if (own?.parameters.length === 0) this.#rounding.skip();
            else await this.#updatePart(lr, part, own ?? part, run);
          } finally {
            own?.dispose();
          }
        });
  }

  /** @param own what this rank updates of it */
  async #updatePart(
    lr: number,
    part: Found<Name>,
    own: Found<Name>,
    run: (update: Update<Name>) => Promise<void>,
  ): Promise<void> {
    const { parameters: slots, tensors, gradients } = own;
    const { lrScale, weightDecay } = slots[0]!;
    const all = slots.map((slot) => this.#states.get(slot)!);
    const lists: TensorList[] = [];
    const listOf = (of: readonly Tensor[]): TensorList => {
      const list = TensorList.of(of);
      lists.push(list);
      return list;
    };
    const copiesOf =
      (place: Place) =>
      ({ tensor }: Slot<Name>): Tensor =>
        this.#withOwn(tensor, (like) => plain(() => call('aten::empty_like', like, place)));
    try {
      const state = byName(this.#kinds, (name) => listOf(all.map((each) => each.state[name])));
      const update = { state, lr: lr * lrScale, weightDecay };
      if (this.#masters === 'host') {
        const parameters = listOf(all.map(({ master }) => master!));
        await withMade(slots, copiesOf({ dtype: 'float32', device: 'cpu' }), async (copies) => {
          await callAsync('aten::_foreach_copy_', copies, gradients);
          await run({ ...update, parameters, gradients: copies });
        });
        await callAsync('aten::_foreach_copy_', tensors, parameters);
        return;
      }
      const wideOf = copiesOf({ dtype: 'float32' });
      await withMade(slots, wideOf, async (wide) => {
        await callAsync('aten::_foreach_copy_', wide, tensors);
        if (slots.every(hasWideGradient)) await run({ ...update, parameters: wide, gradients });
        else
          await withMade(slots, wideOf, async (wideGradients) => {
            await callAsync('aten::_foreach_copy_', wideGradients, gradients);
            await run({ ...update, parameters: wide, gradients: wideGradients });
          });
        if (own === part) await this.#rounding.round(tensors, wide);
        else await this.#roundShares(part, own, wide);
      });
    } finally {
      for (const list of lists) list.dispose();
    }
  }

  /**
   * Rounds shares as the undivided update does, which draws for whole parameters: the same numbers are drawn. The shares of other ranks
   * are then of no use until they are received.
   */
  async #roundShares(part: Found<Name>, own: Found<Name>, wide: TensorList): Promise<void> {
    const draw = async (whole: TensorList, shares: TensorList): Promise<void> => {
      await copyAlike(shares, wide);
      await this.#rounding.round(part.tensors, whole);
    };
    // Float32 gradients, which the update has used up, are the memory for it.
    if (part.parameters.every(hasWideGradient)) return draw(part.gradients, own.gradients);
    const wideOf = ({ tensor }: Slot<Name>): Tensor =>
      plain(() => call('aten::empty_like', tensor, { dtype: 'float32' }));
    await withMade(part.parameters, wideOf, (whole, made) => {
      const shares = own.parameters.map((slot) => {
        const of = made[part.parameters.indexOf(slot)]!;
        return this.#divided!.viewOfShare(slot.tensor, of);
      });
      const list = TensorList.of(shares);
      for (const share of shares) share.dispose();
      return draw(whole, list).finally(() => {
        list.dispose();
      });
    });
  }

  /** The names without the parameter's that a checkpoint has of each. */
  get names(): string[] {
    return [...namesOf(this.#kinds), ...(this.#masters === 'host' ? [MASTER] : [])];
  }

  /** Adds what a checkpoint has of them, as {@link storeState} names it. */
  async store(into: Map<string, StoredTensor>): Promise<void> {
    for (const [{ key }, { state, master }] of this.#states) {
      for (const name of namesOf(this.#kinds)) into.set(`${name}.${key}`, await toStored(state[name]));
      if (master !== null) into.set(`${MASTER}.${key}`, await toStored(master));
    }
  }

  /** What a checkpoint has of these, where it is divided over ranks. */
  dividedTensors(slots: readonly Slot<Name>[]): DividedTensor[] {
    return slots.flatMap((slot) => {
      const { key, tensor: parameter } = slot;
      const kept = this.#states.get(slot);
      return this.names.map((name): DividedTensor => {
        const own = (name === MASTER ? kept?.master : kept?.state[name as Name]) ?? null;
        const isShare = this.#isLike(name);
        return { name: `${name}.${key}`, parameter, dtype: 'float32', own, isShare };
      });
    });
  }

  #isLike(name: string): boolean {
    return name === MASTER || this.#kinds[name as Name] === 'like';
  }

  /**
   * The states of stored parameters, for {@link NarrowStates.replace}; divided over ranks this rank's shares.
   *
   * @throws GradCacheError `CHECKPOINT` when a tensor is missing or of another shape or element type; `OUT_OF_MEMORY`, after
   * which nothing is left
   */
  read(stored: ReadonlyMap<string, StoredTensor>, slots: readonly Slot<Name>[]): Map<Slot<Name>, Kept<Name>> {
    const { names } = this;
    const made = new Map<Slot<Name>, Kept<Name>>();
    try {
      for (const slot of slots) {
        const { key, tensor } = slot;
        if (!names.some((name) => stored.has(`${name}.${key}`))) continue;
        const all = names.map((name) => {
          const shape = this.#isLike(name) ? tensor.shape : [];
          return [name, requireStored(stored, `${name}.${key}`, { shape, dtype: 'float32' })] as const;
        });
        if (this.#divided?.hasShareOf(tensor) === false) continue;
        const fresh = this.#fresh(tensor);
        made.set(slot, { ...fresh, dispose: () => disposeOf(fresh) });
        for (const [name, each] of all)
          this.#put(name === MASTER ? fresh.master! : fresh.state[name as Name], each, {
            parameter: this.#isLike(name) ? tensor : null,
          });
      }
      return made;
    } catch (error) {
      for (const each of made.values()) each.dispose();
      throw error;
    }
  }

  /** @param parameter what the stored tensor is like; null: a number */
  #put(into: Tensor, stored: StoredTensor, { parameter }: { readonly parameter: Tensor | null }): void {
    const from = fromStored(stored);
    try {
      if (parameter === null || this.#divided === null) {
        into.copyFrom(from);
        return;
      }
      // Stored row by row; shares are of the memory of the parameter.
      const like = plain(() => call('aten::empty_like', parameter, { dtype: 'float32', device: 'cpu' }));
      try {
        like.copyFrom(from);
        this.#withOwn(parameter, (own) => into.copyFrom(own), like);
      } finally {
        like.dispose();
      }
    } finally {
      from.dispose();
    }
  }

  replace(states: ReadonlyMap<Slot<Name>, NarrowState<Name>>): void {
    this.dispose();
    for (const [slot, { state, master }] of states) this.#states.set(slot, { state, master });
  }

  dispose(): void {
    for (const each of this.#states.values()) disposeOf(each);
    this.#states.clear();
  }
}

function disposeOf({ state, master }: NarrowState<string>): void {
  for (const tensor of Object.values(state)) tensor.dispose();
  master?.dispose();
}

/** Places in parts of at most so many elements, or of one tensor that has more. */
function parts(places: Int32Array, slots: readonly { readonly tensor: Tensor }[]): Int32Array[] {
  const all: number[][] = [];
  let room = 0;
  for (const place of places) {
    const { size } = slots[place]!.tensor;
    if (all.length === 0 || size > room) {
      all.push([]);
      room = MOST_ELEMENTS;
    }
    all.at(-1)!.push(place);
    room -= size;
  }
  return all.map((part) => Int32Array.from(part));
}

/** Whether its gradient is float32, which those of native models are. */
const hasWideGradient = ({ tensor }: { readonly tensor: Tensor }): boolean =>
  tensor instanceof ModelParameter;

/** Runs `use` with a tensor for each, which it frees. */
async function withMade<T>(
  of: readonly T[],
  make: (one: T) => Tensor,
  use: (list: TensorList, made: readonly Tensor[]) => Promise<void>,
): Promise<void> {
  const made: Tensor[] = [];
  let list: TensorList | undefined;
  try {
    for (const one of of) made.push(make(one));
    list = TensorList.of(made);
    await use(list, made);
  } finally {
    for (const tensor of made) tensor.dispose();
    list?.dispose();
  }
}

/** The type and the device of a copy; undefined: those of what is copied. */
interface Place {
  readonly dtype: 'float32';
  readonly device?: string;
}

const plain = <T>(make: () => T): T => untracked(() => noGrad(make));
