import type { StoredTensor } from '../safetensors/safetensors.js';
import type { TableWithGradient } from '../tensor/parameter-set.js';
import { RowParameter } from '../tensor/row-parameter.js';
import type { Rounding } from './rounding.js';
import type { Update } from './slot-optimizer-parts.js';
import type { Slot, StateTensors } from './slots.js';
import { requireStored } from './stored-state.js';
import { TableState } from './table-state.js';

/** Gradients of rows with their tables. */
type Tables<Name extends string> = readonly TableWithGradient<Slot<Name>>[];

/** The states of the tables of an optimizer whose gradients are of rows. */
export class TableStates<Name extends string> {
  readonly #kinds: StateTensors<Name>;
  readonly #rounding: Rounding;
  readonly #states = new Map<Slot<Name>, TableState<Name>>();

  /** @param rounding of tables that are kept in bfloat16 */
  constructor(kinds: StateTensors<Name>, rounding: Rounding) {
    this.#kinds = kinds;
    this.#rounding = rounding;
  }

  /** Takes the memory that the state of these rows needs. */
  async admit(tables: Tables<Name>): Promise<void> {
    for (const { parameter: slot, table, rows, values } of tables) {
      let state = this.#states.get(slot);
      if (state === undefined) {
        state = new TableState(table, this.#kinds, values.dtype);
        this.#states.set(slot, state);
      }
      await state.admit(rows);
    }
  }

  /** Updates these rows as any other parameter: their moments, and those of no other row. */
  async update(
    lr: number,
    tables: Tables<Name>,
    run: (update: Update<Name>) => Promise<void>,
  ): Promise<void> {
    for (const { parameter: slot, table, rows, values } of tables) {
      const { lrScale, weightDecay } = slot;
      await this.#states
        .get(slot)!
        .update(
          table,
          { rows, values },
          (lists) => run({ ...lists, lr: lr * lrScale, weightDecay }),
          this.#rounding,
        );
    }
  }

  /** Adds what a checkpoint has of the tables: `TENSOR.PARAMETER`, as {@link storeState} names it. */
  async store(into: Map<string, StoredTensor>): Promise<void> {
    for (const [{ key }, state] of this.#states)
      for (const [name, tensor] of await state.stored()) into.set(`${name}.${key}`, tensor);
  }

  /**
   * The states of stored tables, for {@link TableStates.replace}.
   *
   * @throws GradCacheError `CHECKPOINT` when a tensor is missing or of another shape or element type; `OUT_OF_MEMORY`, after
   * which nothing is left
   */
  read(
    stored: ReadonlyMap<string, StoredTensor>,
    slots: readonly Slot<Name>[],
  ): Map<Slot<Name>, TableState<Name>> {
    const made = new Map<Slot<Name>, TableState<Name>>();
    try {
      for (const slot of slots) {
        const { key, tensor: table } = slot;
        const names = TableState.namesOf(this.#kinds);
        if (!(table instanceof RowParameter) || !names.some((name) => stored.has(`${name}.${key}`))) continue;
        const state = new TableState(table, this.#kinds, table.dtype === 'float64' ? 'float64' : 'float32');
        made.set(slot, state);
        state.load(key, (name, shape, dtype) => requireStored(stored, `${name}.${key}`, { shape, dtype }));
      }
      return made;
    } catch (error) {
      for (const state of made.values()) state.dispose();
      throw error;
    }
  }

  replace(states: ReadonlyMap<Slot<Name>, TableState<Name>>): void {
    this.dispose();
    for (const [slot, state] of states) this.#states.set(slot, state);
  }

  dispose(): void {
    for (const state of this.#states.values()) state.dispose();
    this.#states.clear();
  }
}
