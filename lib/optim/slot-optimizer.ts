import { types } from 'node:util';
import { requireWhole } from '../distributed/divided-gradients.js';
import { requireRanks } from '../distributed/ranks.js';
import { GradCacheError } from '../errors.js';
import { reasonOf } from '../options/realms.js';
import { refused, requireNumber } from '../options/option-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { call, callAsync } from '../tensor/operators.js';
import { ParameterSet, type WithGradients } from '../tensor/parameter-set.js';
import { untracked } from '../tensor/scope.js';
import { forAlike, TensorList, withPlaces } from '../tensor/tensor-list.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { clipGradients } from './clip.js';
import { DividedUpdate, type OwnShare, type OwnShareAndRows } from './divided-update.js';
import type { Optimizer } from './optimizer.js';
import { requireOwnSettings } from './own-settings.js';
import { OwnStates, type Dense } from './own-states.js';
import { requireAlike } from './parameters.js';
import type { OptimizerParts, SlotOptimizerOptions } from './slot-optimizer-parts.js';
import { byName, namesOf, slotsOf, type ParameterGroup, type Slot, type SlotState } from './slots.js';
import { readState, storeState } from './stored-state.js';

/**
 * An optimizer that keeps state tensors for each parameter. A particular optimizer names them and supplies its update. This
 * class does the rest: groups, clipping, the check for finite gradients, and checkpoints.
 *
 * All work is off the event loop. This class reads only the norm of the gradients back from the device.
 */
export class SlotOptimizer<Name extends string> implements Optimizer {
  /** The learning rate of the next update; set it from a schedule. */
  lr: number;
  readonly #parts: OptimizerParts<Name>;
  readonly #maxGradNorm: number;
  readonly #slots: ParameterSet<Slot<Name>>;
  /** Null where this process keeps the state of all parameters. */
  readonly #divided: DividedUpdate | null;
  /** Of tables whose gradients are of rows, and of weights that are kept in bfloat16. */
  readonly #own: OwnStates<Name>;
  /** What the last update was of, and its state. */
  #lists: {
    readonly slots: readonly Slot<Name>[];
    readonly state: Readonly<Record<Name, TensorList>>;
  } | null = null;
  /** How much is at work on the state. */
  #working = 0;
  #disposed = false;
  /** Not null: after an update that was made in part. */
  #torn: GradCacheError | null = null;

  /** @throws GradCacheError `INPUT` for a setting out of range, no parameters, or a parameter given twice */
  constructor(
    parts: OptimizerParts<Name>,
    parameters: Iterable<Parameter> | readonly ParameterGroup[],
    options: SlotOptimizerOptions,
  ) {
    const { name } = parts;
    const { lr, weightDecay, maxGradNorm, ranks = null } = options;
    requireNumber(`lr of ${name}`, lr, { from: 0 });
    requireNumber(`weightDecay of ${name}`, weightDecay, { from: 0 });
    requireNumber(`maxGradNorm of ${name}`, maxGradNorm, { above: 0, infinite: true });
    requireRanks(`ranks of ${name}`, ranks);
    this.lr = lr;
    this.#parts = parts;
    this.#maxGradNorm = maxGradNorm;
    this.#slots = new ParameterSet(slotsOf<Name>(name, parameters, weightDecay));
    requireOwnSettings(name, this.#slots.list, options);
    this.#divided = ranks === null ? null : new DividedUpdate(ranks, this.#slots.list);
    this.#own = new OwnStates(parts, this.#slots.list, options, this.#divided);
  }

  /**
   * Clips the gradients, updates every parameter that has one, and sets the gradients to zero in place.
   *
   * @returns the global 2-norm of the gradients before clipping
   * @throws GradCacheError `NON_FINITE` if that norm is NaN or infinite (parameters, state and gradients are unchanged);
   * `INPUT` if no parameter has a gradient. An encoder's parameters always have one. Before the first step it is zero, and
   * an update only decays weights. Divided over ranks: the error of a rank that cannot make its part, on all of them. The
   * message says so where weights differ between ranks then, and only `loadState` makes the optimizer usable again.
   */
  async step(): Promise<{
    /** The norm, before clipping. */
    gradNorm: number;
  }> {
    this.#requireWhole();
    const { lr } = this; // a schedule may set the next one before this update is made
    requireNumber(`lr of ${this.#parts.name}`, lr, { from: 0 });
    return this.#atWork(() =>
      this.#slots.whileUpdating(() => this.#slots.withGradients((found) => this.#step(lr, found))),
    );
  }

  async #step(lr: number, found: WithGradients<Slot<Name>>): Promise<{ gradNorm: number }> {
    if (this.#divided !== null) return this.#stepDivided(this.#divided, lr, found);
    requireWhole(this.#parts.name, found.parameters);
    return this.#own.apart(found, async (narrow, others) => {
      requireAny(found);
      this.#own.requireAlike(narrow);
      this.#requireUpdatable(others);
      const gradNorm = await clipGradients(found, this.#maxGradNorm);
      this.#makeState(others);
      await this.#own.make(narrow, others.tables);
      await this.#own.update(lr, narrow, others.tables);
      await this.#update(lr, others);
      await clear(found);
      return { gradNorm };
    });
  }

  /** Each rank updates its share, once all have the memory for that. */
  async #stepDivided(
    divided: DividedUpdate,
    lr: number,
    found: WithGradients<Slot<Name>>,
  ): Promise<{ gradNorm: number }> {
    const { ranks } = divided;
    let all: OwnShareAndRows<Slot<Name>> | undefined;
    /** Of what is not kept in bfloat16. */
    let own: OwnShare<Slot<Name>> | undefined;
    let begun = false;
    await this.#own.requireSameRows(divided, found.tables);
    return this.#own.apart(found, async (narrow, others) => {
      try {
        await ranks.agree('preparing an update', async () => {
          requireAny(found);
          all = await divided.ownShareAndRows(found);
          own = divided.ownShare(others);
          this.#own.requireAlike(narrow);
          this.#requireUpdatable(others, own);
          this.#makeState(own);
          await this.#own.make(narrow, all.tables);
        });
        const { tables } = all!;
        const gradNorm = await clipGradients(all!, this.#maxGradNorm, ranks);
        begun = true;
        await ranks.agree('updating parameters', async () => {
          await this.#own.update(lr, narrow, tables);
          await this.#update(lr, own!);
          await divided.put(all!);
        });
        await divided.gather(found, all!);
        return { gradNorm };
      } catch (error) {
        if (!begun) throw error;
        this.#torn = tornBy(error, this.#parts.name);
        await clear(found).catch(() => undefined); // some hold weights
        throw this.#torn;
      } finally {
        all?.dispose();
        own?.dispose();
      }
    });
  }

  /** @param own what is updated of what was found */
  #requireUpdatable(found: Dense<Name>, own = found): void {
    const { parameters, tensors, gradients } = found;
    requireAlike('gradient', parameters, tensors, gradients);
    this.#requireStateAlike(own.parameters, own.tensors);
  }

  #makeState({ parameters: slots }: Dense<Name>): void {
    for (const slot of slots) slot.state ??= this.#freshState(slot.tensor);
  }

  async #update(lr: number, { parameters: slots, tensors, gradients }: Dense<Name>): Promise<void> {
    const state = this.#listed(slots);
    const names = namesOf(this.#parts.state);
    const settings = Int32Array.from(slots, (slot) => slot.settings);
    for (const places of tensors.alike(settings)) {
      const { lrScale, weightDecay } = slots[places[0]!]!;
      const states = names.map((name) => state[name]);
      await withPlaces([tensors, gradients, ...states], places, (parameters, theirs, ...parts) =>
        this.#parts.update({
          parameters,
          gradients: theirs,
          state: byName(this.#parts.state, (name) => parts[names.indexOf(name)]!),
          lr: lr * lrScale,
          weightDecay,
        }),
      );
    }
  }

  /** The states of these slots as lists, which are kept for as long as the same slots are updated. */
  #listed(slots: readonly Slot<Name>[]): Readonly<Record<Name, TensorList>> {
    const same =
      this.#lists?.slots.length === slots.length && slots.every((slot, k) => slot === this.#lists!.slots[k]);
    if (!same) {
      this.#dropLists();
      this.#lists = {
        slots,
        state: byName(this.#parts.state, (name) => TensorList.of(slots.map(({ state }) => state![name]))),
      };
    }
    return this.#lists!.state;
  }

  #dropLists(): void {
    for (const list of Object.values<TensorList>(this.#lists?.state ?? {})) list.dispose();
    this.#lists = null;
  }

  /** State that was made for parameters whose memory layout has changed since cannot be used. */
  #requireStateAlike(slots: readonly Slot<Name>[], tensors: TensorList): void {
    const places = Int32Array.from(slots.keys()).filter((place) => slots[place]!.state !== null);
    if (places.length === 0) return;
    const updated = Array.from(places, (place) => slots[place]!);
    const beside = this.#listed(updated);
    const these = tensors.select(places);
    try {
      for (const name of namesOf(this.#parts.state))
        if (this.#parts.state[name] === 'like') requireAlike('state', updated, these, beside[name]);
    } finally {
      these.dispose();
    }
  }

  /** Sets every gradient to zero in place, as `step` does after the update. Use it to skip an update. */
  async zeroGrad(): Promise<void> {
    await this.#slots.whileUpdating(() => this.#slots.withGradients(clear));
  }

  /** Whether the state is divided over ranks, so that all of them must call `state`. */
  get divided(): boolean {
    return this.#divided !== null;
  }

  /**
   * The state for a checkpoint, on the host: `TENSOR.PARAMETER` for each tensor of each parameter updated so far. It does
   * not hold the learning rate, which follows from the schedule and the step. A state that is divided over ranks is put together
   * on rank 0, while all ranks call this; the others get an empty map.
   *
   * @throws GradCacheError `INPUT` while an update runs; `DISPOSED`
   */
  async state(): Promise<Map<string, StoredTensor>> {
    this.#requireWhole();
    const { list } = this.#slots;
    const { state: kinds } = this.#parts;
    return this.#atWork(() =>
      this.#slots.whileReading(async () => this.#own.store(await storeState(list, kinds, this.#divided))),
    );
  }

  /**
   * Restores a state that `state` returned: all of it or none. Over ranks each is given the whole, and keeps its share.
   *
   * @throws GradCacheError `CHECKPOINT` when a tensor is missing, left over, or of another shape or element type; `INPUT`
   * while `step` or `state` runs; `DISPOSED`
   */
  loadState(stored: ReadonlyMap<string, StoredTensor>): void {
    this.#requireState();
    if (this.#working > 0)
      throw new GradCacheError(
        'INPUT',
        'step() or state() of the optimizer is still running: await it first',
      );
    if (!types.isMap(stored))
      throw refused(`the state of ${this.#parts.name}`, stored, 'the Map that state() gave');
    // All tensors are made before any is replaced: memory may run out.
    const own = this.#own.read(stored);
    const others = this.#slots.list.filter((slot) => !this.#own.has(slot));
    let states: (SlotState<Name> | null)[];
    try {
      states = readState(stored, others, this.#parts.state, this.#divided, this.#own.names());
    } catch (error) {
      own.dispose();
      throw error;
    }
    own.replace();
    this.#dropLists();
    this.#torn = null;
    for (const [index, slot] of others.entries()) {
      disposeState(slot);
      slot.state = states[index] ?? null;
    }
  }

  /** Runs what needs the state from beginning to end. */
  async #atWork<T>(run: () => Promise<T>): Promise<T> {
    this.#requireState();
    this.#working++;
    try {
      return await run();
    } finally {
      if (--this.#working === 0 && this.#disposed) this.dispose();
    }
  }

  /** @throws GradCacheError after an update that was made in part */
  #requireWhole(): void {
    if (this.#torn === null) return;
    const { code, message } = this.#torn;
    throw new GradCacheError(code, `An earlier update failed: ${message}`);
  }

  /** @throws GradCacheError `DISPOSED` */
  #requireState(): void {
    if (this.#disposed)
      throw new GradCacheError('DISPOSED', `this ${this.#parts.name} was disposed: its state is gone`);
  }

  /** Frees the state, when what is at work on it has ended; the parameters stay. */
  dispose(): void {
    this.#disposed = true;
    if (this.#working > 0) return;
    this.#dropLists();
    this.#slots.list.forEach(disposeState);
    this.#own.dispose();
    this.#divided?.dispose();
  }

  /** Frees the state at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #freshState(parameter: Tensor): SlotState<Name> {
    const like = this.#divided === null ? parameter : this.#divided.viewOfShare(parameter, parameter);
    try {
      return untracked(() =>
        byName(this.#parts.state, (name) =>
          this.#parts.state[name] === 'like'
            ? call('aten::zeros_like', like)
            : Tensor.from(new Float32Array(1), { shape: [], device: like.device }),
        ),
      );
    } finally {
      if (like !== parameter) like.dispose();
    }
  }
}

function disposeState(slot: Slot<string>): void {
  for (const tensor of Object.values(slot.state ?? {})) tensor.dispose();
  slot.state = null;
}

/** What a rank is told of an update that some ranks, or all, have made but in part. */
function tornBy(error: unknown, name: string): GradCacheError {
  const code = error instanceof GradCacheError ? error.code : 'DISTRIBUTED';
  return new GradCacheError(
    code,
    `${reasonOf(error)}. The update was made in part: weights differ between ranks. Go on from the last checkpoint: load the weights ` +
      `on all ranks, and the state with loadState() of ${name}`,
    { cause: error },
  );
}

async function clear({ gradients, tables }: WithGradients): Promise<void> {
  await forAlike(gradients, (alike) => callAsync('aten::_foreach_zero_', alike));
  for (const { table } of tables) table.grad = null;
}

/** @throws GradCacheError `INPUT` where no parameter has a gradient */
function requireAny({ parameters, tables }: WithGradients): void {
  if (parameters.length + tables.length > 0) return;
  throw new GradCacheError(
    'INPUT',
    'No parameter has a gradient: call gradcache.step(…) before optimizer.step().',
  );
}
