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

/** The states of those parameters of an optimizer that are kept in bfloat16. */
export class NarrowStates<Name extends string> {
  readonly #kinds: StateTensors<Name>;
  readonly #masters: MasterWeights;
  readonly #rounding: Rounding;
  readonly #states = new Map<Slot<Name>, NarrowState<Name>>();

  constructor(kinds: StateTensors<Name>, masters: MasterWeights, rounding: Rounding) {
    this.#kinds = kinds;
    this.#masters = masters;
    this.#rounding = rounding;
  }

  /** Makes what is missing. A copy begins as the parameter is. */
  make(slots: readonly Slot<Name>[]): void {
    for (const slot of slots) if (!this.#states.has(slot)) this.#states.set(slot, this.#fresh(slot.tensor));
  }

  #fresh(tensor: Tensor): NarrowState<Name> {
    const place = this.#placeOf(tensor);
    const made: Tensor[] = [];
    const keep = (one: Tensor): Tensor => {
      made.push(one);
      return one;
    };
    try {
      return plain(() => ({
        state: byName(this.#kinds, (name) =>
          keep(
            this.#kinds[name] === 'like'
              ? call('aten::zeros_like', tensor, place)
              : call('aten::zeros', [], place),
          ),
        ),
        master: this.#masters === 'host' ? keep(tensor.to(place)) : null,
      }));
    } catch (error) {
      for (const one of made) one.dispose();
      throw error;
    }
  }

  /** The type and the device of what is kept of a parameter. */
  #placeOf({ device }: Tensor): { readonly dtype: 'float32'; readonly device: string } {
    return { dtype: 'float32', device: this.#masters === 'host' ? 'cpu' : device };
  }

  /** Updates parameters, all of which were made. */
  async update(
    lr: number,
    { parameters: slots, tensors, gradients }: Omit<WithGradients<Slot<Name>>, 'tables'>,
    run: (update: Update<Name>) => Promise<void>,
  ): Promise<void> {
    const settings = Int32Array.from(slots, (slot) => slot.settings);
    for (const alike of tensors.alike(settings))
      for (const places of parts(alike, slots))
        await withPlaces([tensors, gradients], places, async (narrow, theirs) => {
          const these = Array.from(places, (place) => slots[place]!);
          const { lrScale, weightDecay } = these[0]!;
          const all = these.map((slot) => this.#states.get(slot)!);
          const lists: TensorList[] = [];
          const listOf = (of: readonly Tensor[]): TensorList => {
            const list = TensorList.of(of);
            lists.push(list);
            return list;
          };
          try {
            const state = byName(this.#kinds, (name) => listOf(all.map((each) => each.state[name])));
            const update = { state, lr: lr * lrScale, weightDecay };
            if (this.#masters === 'host') {
              const parameters = listOf(all.map(({ master }) => master!));
              await withCopies(these, { dtype: 'float32', device: 'cpu' }, async (copies) => {
                await callAsync('aten::_foreach_copy_', copies, theirs);
                await run({ ...update, parameters, gradients: copies });
              });
              await callAsync('aten::_foreach_copy_', narrow, parameters);
            } else
              await withCopies(these, { dtype: 'float32' }, async (wide) => {
                await callAsync('aten::_foreach_copy_', wide, narrow);
                await withWide(these, theirs, (wideGradients) =>
                  run({ ...update, parameters: wide, gradients: wideGradients }),
                );
                await this.#rounding.round(narrow, wide);
              });
          } finally {
            for (const list of lists) list.dispose();
          }
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

  /**
   * The states of stored parameters, for {@link NarrowStates.replace}.
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
        const fresh = this.#fresh(tensor);
        made.set(slot, { ...fresh, dispose: () => disposeOf(fresh) });
        const put = (name: string, into: Tensor): void => {
          const from = fromStored(
            requireStored(stored, `${name}.${key}`, { shape: into.shape, dtype: 'float32' }),
          );
          into.copyFrom(from);
          from.dispose();
        };
        for (const name of namesOf(this.#kinds)) put(name, fresh.state[name]);
        if (fresh.master !== null) put(MASTER, fresh.master);
      }
      return made;
    } catch (error) {
      for (const each of made.values()) each.dispose();
      throw error;
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

/** Runs `use` with gradients in float32, which those of native models are. */
async function withWide(
  slots: readonly { readonly tensor: Tensor }[],
  gradients: TensorList,
  use: (wide: TensorList) => Promise<void>,
): Promise<void> {
  if (slots.every(({ tensor }) => tensor instanceof ModelParameter)) return use(gradients);
  return withCopies(slots, { dtype: 'float32' }, async (wide) => {
    await callAsync('aten::_foreach_copy_', wide, gradients);
    await use(wide);
  });
}

/** Runs `use` with memory like these parameters, of another type or on another device. */
async function withCopies(
  slots: readonly { readonly tensor: Tensor }[],
  place: { readonly dtype: 'float32'; readonly device?: string },
  use: (copies: TensorList) => Promise<void>,
): Promise<void> {
  const made: (Tensor | TensorList)[] = [];
  try {
    for (const { tensor } of slots) made.push(plain(() => call('aten::empty_like', tensor, place)));
    const list = TensorList.of(made as Tensor[]);
    made.push(list);
    await use(list);
  } finally {
    for (const each of made) each.dispose();
  }
}

const plain = <T>(make: () => T): T => untracked(() => noGrad(make));
