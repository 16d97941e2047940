/*
 * Parameters of which an optimizer keeps other state than tensors like them: tables whose gradients are of rows, and weights that are
 * kept in bfloat16.
 */
import { faultIn } from '../files/file-fault.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import type { WithGradients } from '../tensor/parameter-set.js';
import type { OwnRows } from './divided-tables.js';
import { requireSameRows } from './divided-tables.js';
import type { DividedUpdate } from './divided-update.js';
import { NarrowStates } from './narrow-states.js';
import { isTable } from './own-settings.js';
import { requireAlike } from './parameters.js';
import { Rounding } from './rounding.js';
import type { MasterWeights, OptimizerParts, SlotOptimizerOptions } from './slot-optimizer-parts.js';
import { isNarrow, type Slot } from './slots.js';
import { requireStored } from './stored-state.js';
import { TableState } from './table-state.js';
import { TableStates } from './table-states.js';

/** The name under which a checkpoint has the number of updates that were rounded by chance. */
const UPDATES = 'updates';

/** What was found, but for tables. */
export type Dense<Name extends string> = Omit<WithGradients<Slot<Name>>, 'tables'>;

/** Tables that were found, or this rank's rows of them. */
type Tables<Name extends string> = WithGradients<Slot<Name>>['tables'] | readonly OwnRows<Slot<Name>>[];

/** State that was read and is not in use. */
interface Read {
  /** Puts it in the place of what is there. */
  readonly replace: () => void;
  readonly dispose: () => void;
}

/** The states of parameters that have one of their own kind. */
export class OwnStates<Name extends string> {
  readonly #parts: Pick<OptimizerParts<Name>, 'state' | 'update'>;
  readonly #masters: MasterWeights | undefined;
  readonly #rounding: Rounding;
  readonly #divided: DividedUpdate | null;
  readonly #tables: TableStates<Name>;
  readonly #narrow: NarrowStates<Name> | null;
  /** Those that have such a state. */
  readonly #slots: readonly Slot<Name>[];

  /**
   * @param settings were checked by `requireOwnSettings`
   * @param divided the ranks over which states are divided, or null
   */
  constructor(
    parts: OptimizerParts<Name>,
    slots: readonly Slot<Name>[],
    { masterWeights, seed }: Pick<SlotOptimizerOptions, 'masterWeights' | 'seed'>,
    divided: DividedUpdate | null,
  ) {
    const { state, update } = parts;
    this.#parts = { state, update };
    this.#masters = masterWeights;
    this.#rounding = new Rounding(seed ?? 0);
    this.#divided = divided;
    this.#tables = new TableStates(state, this.#rounding, divided?.ranks ?? null);
    this.#narrow =
      masterWeights === undefined ? null : new NarrowStates(state, masterWeights, this.#rounding, divided);
    this.#slots = slots.filter((slot) => this.has(slot));
  }

  /** Whether a parameter has such a state. */
  has(slot: Slot<Name>): boolean {
    return isTable(slot) || (this.#masters !== undefined && isNarrow(slot));
  }

  /** Runs `use` with the parameters of an update that are kept in bfloat16, and with the others. */
  async apart<T>(
    { parameters, tensors, gradients, tables }: WithGradients<Slot<Name>>,
    use: (narrow: Dense<Name>, others: WithGradients<Slot<Name>>) => Promise<T>,
  ): Promise<T> {
    const part = (isIn: boolean): Dense<Name> => {
      const places = Int32Array.from(parameters.keys()).filter((k) => this.has(parameters[k]!) === isIn);
      return {
        parameters: Array.from(places, (place) => parameters[place]!),
        tensors: tensors.select(places),
        gradients: gradients.select(places),
      };
    };
    if (this.#narrow === null) {
      const none = { parameters: [], tensors: tensors.select(NONE), gradients: gradients.select(NONE) };
      return use(none, { parameters, tensors, gradients, tables }).finally(() => disposeLists(none));
    }
    const narrow = part(true);
    const others = part(false);
    return use(narrow, { ...others, tables }).finally(() => {
      disposeLists(narrow);
      disposeLists(others);
    });
  }

  /** @throws GradCacheError for a gradient that does not fit its parameter */
  requireAlike({ parameters, tensors, gradients }: Dense<Name>): void {
    requireAlike('gradient', parameters, tensors, gradients, true);
  }

  /** Checks that ranks found the same rows of tables. All call it. @throws GradCacheError `INPUT` on all */
  async requireSameRows({ ranks }: DividedUpdate, tables: Tables<Name>): Promise<void> {
    await requireSameRows(ranks, this.#slots.filter(isTable), tables);
  }

  /** Takes the memory that the state of these needs; of tables that are divided, of this rank's rows. */
  async make(narrow: Dense<Name>, tables: Tables<Name>): Promise<void> {
    this.#narrow?.make(narrow.parameters);
    await this.#tables.admit(tables);
  }

  /** Updates these, which were made; divided over ranks this rank's share of them. */
  async update(lr: number, narrow: Dense<Name>, tables: Tables<Name>): Promise<void> {
    const run = this.#parts.update;
    this.#rounding.begin();
    await this.#tables.update(lr, tables, run);
    await this.#narrow?.update(lr, narrow, run);
  }

  /** Adds what a checkpoint has of them. Divided over ranks all call it, and rank 0 has the result. */
  async store(into: Map<string, StoredTensor>): Promise<Map<string, StoredTensor>> {
    const divided = this.#divided;
    await this.#tables.store(into, this.#slots.filter(isTable));
    if (divided === null) await this.#narrow?.store(into);
    else if (this.#narrow !== null) {
      const tensors = this.#narrow.dividedTensors(this.#slots.filter((slot) => !isTable(slot)));
      for (const [name, tensor] of await divided.stored(tensors)) into.set(name, tensor);
    }
    if (this.#masters === 'none' && (divided === null || divided.ranks.rank === 0))
      into.set(UPDATES, storedCount(this.#rounding.updates));
    return into;
  }

  /** The names that a checkpoint can have of them. */
  names(): string[] {
    const own = this.#slots.flatMap((slot) => {
      const names = isTable(slot) ? TableState.namesOf(this.#parts.state) : this.#narrow!.names;
      return names.map((name) => `${name}.${slot.key}`);
    });
    return this.#masters === 'none' ? [...own, UPDATES] : own;
  }

  /** @throws GradCacheError `CHECKPOINT`, `OUT_OF_MEMORY` */
  read(stored: ReadonlyMap<string, StoredTensor>): Read {
    const updates = this.#masters === 'none' ? countIn(stored) : 0;
    const tables = this.#tables.read(stored, this.#slots.filter(isTable));
    const dispose = (): void => {
      for (const each of tables.values()) each.dispose();
    };
    try {
      const narrow = this.#narrow?.read(
        stored,
        this.#slots.filter((slot) => !isTable(slot)),
      );
      return {
        replace: () => {
          this.#tables.replace(tables);
          if (narrow !== undefined) this.#narrow!.replace(narrow);
          this.#rounding.updates = updates;
        },
        dispose: () => {
          dispose();
          for (const each of narrow?.values() ?? []) each.dispose();
        },
      };
    } catch (error) {
      dispose();
      throw error;
    }
  }

  dispose(): void {
    this.#tables.dispose();
    this.#narrow?.dispose();
  }
}

const NONE = new Int32Array();

function disposeLists({ tensors, gradients }: Dense<string>): void {
  tensors.dispose();
  gradients.dispose();
}

function storedCount(count: number): StoredTensor {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, BigInt(count), true);
  return { dtype: 'int64', shape: [], bytes };
}

/** @throws GradCacheError `CHECKPOINT` */
function countIn(stored: ReadonlyMap<string, StoredTensor>): number {
  const { bytes } = requireStored(stored, UPDATES, { shape: [], dtype: 'int64' });
  const count = Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigInt64(0, true));
  if (Number.isSafeInteger(count) && count >= 0) return count;
  throw faultIn('Optimizer state', `${UPDATES} is ${count}, which is no number of updates`);
}
