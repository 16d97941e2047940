import type { Ranks } from '../distributed/ranks.js';
import { toStored } from '../safetensors/stored-tensor.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import type { TableWithGradient } from '../tensor/parameter-set.js';
import { RowParameter } from '../tensor/row-parameter.js';
import type { Tensor } from '../tensor/tensor.js';
import { isOwnRow, rowsOfAll, type Among } from './divided-tables.js';
import type { Rounding } from './rounding.js';
import type { Update } from './slot-optimizer-parts.js';
import type { Slot, StateTensors } from './slots.js';
import { requireStored } from './stored-state.js';
import { TableState } from './table-state.js';

/** Gradients of rows with their tables: of all rows, or of those that this rank updates. */
type Tables<Name extends string> = readonly (TableWithGradient<Slot<Name>> & { readonly among?: Among })[];

const STORE = 'gathering the state of the optimizer';

/** The states of the tables of an optimizer whose gradients are of rows. */
export class TableStates<Name extends string> {
  readonly #kinds: StateTensors<Name>;
  readonly #rounding: Rounding;
  /** Over which the rows are divided; null: all are kept. */
  readonly #ranks: Ranks | null;
  readonly #states = new Map<Slot<Name>, TableState<Name>>();

  /** @param rounding of tables that are kept in bfloat16 */
  constructor(kinds: StateTensors<Name>, rounding: Rounding, ranks: Ranks | null) {
    this.#kinds = kinds;
    this.#rounding = rounding;
    this.#ranks = ranks;
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
    for (const { parameter: slot, table, ...gradient } of tables) {
      const { lrScale, weightDecay } = slot;
      await this.#states
        .get(slot)!
        .update(table, gradient, (lists) => run({ ...lists, lr: lr * lrScale, weightDecay }), this.#rounding);
    }
  }

  /**
   * Adds what a checkpoint has of the tables: `TENSOR.PARAMETER`, as {@link storeState} names it. Divided over ranks all call it, and
   * rank 0 gets all rows, the others nothing.
   *
   * @param slots all tables
   */
  async store(into: Map<string, StoredTensor>, slots: readonly Slot<Name>[]): Promise<void> {
    const ranks = this.#ranks;
    if (ranks !== null) await this.#makeOnAll(ranks, slots);
    for (const [{ key }, state] of this.#states)
      await state.store(async (name, own, isOfRows) => {
        if (ranks === null) into.set(`${name}.${key}`, await toStored(own));
        else {
          const all = isOfRows ? await rowsOfAll(ranks, own, STORE) : own;
          await ranks
            .agree(STORE, async () => {
              if (ranks.rank === 0) into.set(`${name}.${key}`, await toStored(all));
            })
            .finally(() => {
              if (all !== own) all.dispose();
            });
        }
      });
  }

  /** Makes an empty state of each table that another rank has one of. */
  async #makeOnAll(ranks: Ranks, slots: readonly Slot<Name>[]): Promise<void> {
    if (slots.length === 0) return;
    const all = await ranks.numbers(slots.map((slot) => (this.#states.has(slot) ? 1 : 0)));
    const wanted = slots.filter((_, place) => all.some((ofRank) => ofRank[place] === 1));
    await ranks.agree(STORE, () => {
      const states = wanted.map(
        (slot) => [slot, this.#states.get(slot) ?? this.#fresh(slot.tensor)] as const,
      );
      this.#states.clear(); // in the order of all ranks
      for (const [slot, state] of states) this.#states.set(slot, state);
    });
  }

  #fresh(table: Tensor): TableState<Name> {
    return new TableState(table, this.#kinds, table.dtype === 'float64' ? 'float64' : 'float32');
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
        const state = this.#fresh(table);
        made.set(slot, state);
        const ranks = this.#ranks;
        state.load(
          key,
          (name, shape, dtype) => requireStored(stored, `${name}.${key}`, { shape, dtype }),
          ranks === null ? undefined : (row) => isOwnRow(ranks, row),
        );
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
