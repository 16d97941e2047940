/*
 * Parameters of which an optimizer keeps other state than tensors like them: tables whose gradients are of rows, and weights that are
 * kept in bfloat16.
 */
import { GradCacheError } from '../errors.js';
import { faultIn } from '../files/file-fault.js';
import { refused, requireOneOf } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { NativeParameter } from '../tensor/native-parameter.js';
import type { WithGradients } from '../tensor/parameter-set.js';
import { RowParameter } from '../tensor/row-parameter.js';
import type { Parameter } from '../tensor/tensor.js';
import { NarrowStates } from './narrow-states.js';
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
type Dense<Name extends string> = Omit<WithGradients<Slot<Name>>, 'tables'>;

/** State that was read and is not in use. */
interface Read {
  /** Puts it in the place of what is there. */
  readonly replace: () => void;
  readonly dispose: () => void;
}

/** The states of parameters that have one of their own kind. */
export class OwnStates<Name extends string> {
  readonly #parts: OptimizerParts<Name>;
  readonly #masters: MasterWeights | undefined;
  readonly #rounding: Rounding;
  readonly #tables: TableStates<Name>;
  readonly #narrow: NarrowStates<Name> | null;
  /** Those that have such a state. */
  readonly #slots: readonly Slot<Name>[];

  /** @throws GradCacheError `INPUT` for settings that do not fit the parameters */
  constructor(
    parts: OptimizerParts<Name>,
    slots: readonly Slot<Name>[],
    { ranks = null, masterWeights, seed }: SlotOptimizerOptions,
  ) {
    const { name } = parts;
    if (masterWeights !== undefined)
      requireOneOf(`masterWeights of ${name}`, masterWeights, ['host', 'none']);
    if (seed !== undefined) {
      requireSeed(seed);
      if (masterWeights !== 'none')
        throw refused(
          `seed of ${name}`,
          seed,
          "none unless masterWeights is 'none', which alone rounds by chance,",
        );
    }
    requireMasters(name, slots, masterWeights);
    const tables = slots.filter(isTable);
    if (ranks !== null && tables.length > 0)
      throw new GradCacheError(
        'INPUT',
        `${name} with ranks divides its state, and ${tables[0]!.name} has gradients of rows, whose state is not divided: leave out ` +
          "ranks (divideOptimizer of a run), or load the model with embeddingGradients 'dense'.",
      );
    if (ranks !== null && masterWeights !== undefined)
      throw refused(
        `masterWeights of ${name}`,
        masterWeights,
        'none where ranks divide the state, or no ranks',
      );
    if (masterWeights === 'host' && tables.some(isNarrow))
      throw refused(
        `masterWeights of ${name}`,
        masterWeights,
        `'none' beside gradients of rows (${tables[0]!.name}), whose state is on the device,`,
      );
    this.#parts = parts;
    this.#masters = masterWeights;
    this.#rounding = new Rounding(seed ?? 0);
    this.#tables = new TableStates(parts.state, this.#rounding);
    this.#narrow =
      masterWeights === undefined ? null : new NarrowStates(parts.state, masterWeights, this.#rounding);
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

  /** Takes the memory that the state of these needs. */
  async make(narrow: Dense<Name>, { tables }: WithGradients<Slot<Name>>): Promise<void> {
    this.#narrow?.make(narrow.parameters);
    await this.#tables.admit(tables);
  }

  async update(lr: number, narrow: Dense<Name>, { tables }: WithGradients<Slot<Name>>): Promise<void> {
    const run = this.#parts.update;
    this.#rounding.begin();
    await this.#tables.update(lr, tables, run);
    await this.#narrow?.update(lr, narrow, run);
  }

  /** Adds what a checkpoint has of them. */
  async store(into: Map<string, StoredTensor>): Promise<Map<string, StoredTensor>> {
    await this.#tables.store(into);
    await this.#narrow?.store(into);
    if (this.#masters === 'none') into.set(UPDATES, storedCount(this.#rounding.updates));
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

/** Whether the gradient of a parameter is of rows. */
const isTable = ({ tensor }: Parameter): boolean => tensor instanceof RowParameter;

function disposeLists({ tensors, gradients }: Dense<string>): void {
  tensors.dispose();
  gradients.dispose();
}

/** @throws GradCacheError `INPUT` for weights of bfloat16 with wider gradients and no word about them, and for a word about none */
function requireMasters(
  name: string,
  slots: readonly Parameter[],
  masterWeights: MasterWeights | undefined,
): void {
  const narrow = slots.filter(isNarrow);
  if (masterWeights !== undefined && narrow.length === 0)
    throw refused(
      `masterWeights of ${name}`,
      masterWeights,
      "weights of bfloat16 (weights: 'bfloat16' of an encoder), or none of this setting,",
    );
  const native = narrow.find(({ tensor }) => tensor instanceof NativeParameter);
  if (masterWeights === undefined && native !== undefined)
    throw refused(
      `masterWeights of ${name}`,
      masterWeights,
      `'host' or 'none' for weights that are kept in bfloat16 (${native.name})`,
    );
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
