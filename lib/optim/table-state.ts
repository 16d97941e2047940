/*
 * The state of a table of words whose gradients are of rows: of the rows alone that steps have had.
 */
import { faultIn } from '../files/file-fault.js';
import { fromStored } from '../safetensors/stored-tensor.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { noGrad } from '../tensor/autograd.js';
import { call, callAsync } from '../tensor/operators.js';
import type { RowGradient, RowParameter } from '../tensor/row-parameter.js';
import { untracked } from '../tensor/scope.js';
import { TensorList } from '../tensor/tensor-list.js';
import type { DType, Tensor } from '../tensor/tensor.js';
import type { Among } from './divided-tables.js';
import type { Rounding } from './rounding.js';
import { byName, namesOf, type StateTensors } from './slots.js';

/** The name under which a checkpoint has the numbers of the rows. */
const ROWS = 'rows';

/** Rows of a table, their gradients and their state, each list of one tensor. */
export interface RowsUpdate<Name extends string> {
  readonly parameters: TensorList;
  readonly gradients: TensorList;
  readonly state: Readonly<Record<Name, TensorList>>;
}

/** Rows are updated as so many numbers, or a multiple: kernels round what does not fill a vector in another way than the rest. */
const ALIGNMENT = 64;

/** Memory grows by at least this part of itself, so that a few new rows in each step do not have all copied each time. */
const GROWTH = 1.25;

/** The state of the rows of a table that were updated so far, in the order of their first update. */
export class TableState<Name extends string> {
  readonly #kinds: StateTensors<Name>;
  /** The type of the state: that of the gradients. */
  readonly #dtype: DType;
  readonly #vocabulary: number;
  #count = 0;
  /** Of each row of the table its place in the state, or -1; int64. */
  readonly #places: Tensor;
  /** The row at each place; int64. */
  #rows: Tensor;
  /** `'like'`: [places, width]; `'count'`: a scalar, the number of updates of the table. */
  #state: Record<Name, Tensor>;

  constructor(table: Tensor, kinds: StateTensors<Name>, dtype: DType) {
    const [vocabulary = 0, width = 0] = table.shape;
    const { device } = table;
    this.#kinds = kinds;
    this.#dtype = dtype;
    this.#vocabulary = vocabulary;
    this.#places = plain(() => call('aten::full', [vocabulary], -1, { dtype: 'int64', device }));
    this.#rows = zeros([0], 'int64', device);
    this.#state = byName(kinds, (name) =>
      kinds[name] === 'like' ? zeros([0, width], dtype, device) : zeros([], 'float32', device),
    );
  }

  /** The names without the parameter's that a checkpoint has of a table. */
  static namesOf(kinds: StateTensors<string>): string[] {
    return [ROWS, ...namesOf(kinds)];
  }

  /** Takes memory for rows that are new, whose state is zero. If it throws, nothing has changed. */
  async admit(rows: Tensor): Promise<void> {
    const made: Tensor[] = [];
    const keep = async (tensor: Promise<Tensor>): Promise<Tensor> => {
      const one = await tensor;
      made.push(one);
      return one;
    };
    try {
      const places = await keep(callAsync('aten::index_select', this.#places, 0, rows));
      const isNew = await keep(callAsync('aten::lt.Scalar', places, 0));
      const added = await keep(callAsync('aten::masked_select', rows, isNew));
      const begin = this.#count;
      const end = begin + added.size;
      if (end === begin) return;
      this.#reserve(end);
      const numbers = await keep(
        callAsync('aten::arange.start', begin, end, { dtype: 'int64', device: rows.device }),
      );
      const here = plain(() => this.#rows.narrow(0, begin, end - begin));
      made.push(here);
      here.copyFrom(added);
      await keep(callAsync('aten::index_copy_', this.#places, 0, added, numbers));
      this.#count = end;
    } finally {
      for (const tensor of made) tensor.dispose();
    }
  }

  /** All is made before any is replaced: memory may run out. */
  #reserve(count: number): void {
    const [capacity = 0] = this.#rows.shape;
    if (count <= capacity) return;
    const most = Math.min(this.#vocabulary, Math.max(count, Math.ceil(capacity * GROWTH)));
    const made: Tensor[] = [];
    const grown = (old: Tensor): Tensor => {
      const fresh = zeros([most, ...old.shape.slice(1)], old.dtype, old.device);
      made.push(fresh);
      plain(() => {
        const [from, to] = [old.narrow(0, 0, this.#count), fresh.narrow(0, 0, this.#count)];
        to.copyFrom(from);
        from.dispose();
        to.dispose();
      });
      return fresh;
    };
    try {
      const rows = grown(this.#rows);
      const state = byName(this.#kinds, (name) =>
        this.#kinds[name] === 'like' ? grown(this.#state[name]) : this.#state[name],
      );
      this.#rows.dispose();
      for (const name of namesOf(this.#kinds))
        if (state[name] !== this.#state[name]) this.#state[name].dispose();
      this.#rows = rows;
      this.#state = state;
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    }
  }

  /**
   * Updates rows, all of which were admitted, with their state. A row is updated alike, whichever others are beside it.
   *
   * @param rounding of the rows of a table that is kept in bfloat16
   */
  async update(
    table: RowParameter,
    { rows, values, among }: Pick<RowGradient, 'rows' | 'values'> & { readonly among?: Among },
    run: (update: RowsUpdate<Name>) => Promise<void>,
    rounding: Rounding,
  ): Promise<void> {
    const made: (Tensor | TensorList)[] = [];
    const keep = <T extends Tensor | TensorList>(one: T): T => {
      made.push(one);
      return one;
    };
    const selected = async (from: Tensor, at: Tensor): Promise<Tensor> =>
      keep(await callAsync<Tensor>('aten::index_select', from, 0, at));
    const extra = missingRows(rows.size, values.shape[1]!);
    const filled = (tensor: Tensor): Tensor =>
      extra === 0 ? tensor : keep(plain(() => call('aten::constant_pad_nd', tensor, [0, 0, 0, extra])));
    const without = (tensor: Tensor): Tensor =>
      extra === 0 ? tensor : keep(plain(() => tensor.narrow(0, 0, rows.size)));
    try {
      const places = await selected(this.#places, rows);
      const own = await selected(table, rows);
      const same = own.dtype === values.dtype;
      const wide = filled(same ? own : keep(plain(() => own.to({ dtype: values.dtype }))));
      const state = { ...this.#state };
      for (const name of namesOf(this.#kinds))
        if (this.#kinds[name] === 'like') state[name] = filled(await selected(this.#state[name], places));
      await run({
        parameters: keep(TensorList.of([wide])),
        gradients: keep(TensorList.of([filled(values)])),
        state: byName(this.#kinds, (name) => keep(TensorList.of([state[name]]))),
      });
      const updated = without(wide);
      if (!same) await rounding.roundRows(own, updated, among);
      for (const name of namesOf(this.#kinds))
        if (this.#kinds[name] === 'like')
          keep(await callAsync('aten::index_copy_', this.#state[name], 0, places, without(state[name])));
      keep(await callAsync('aten::index_copy_', table, 0, rows, same ? updated : own));
    } finally {
      for (const each of made) each.dispose();
    }
  }

  /** What a checkpoint has of a table, by names without the parameter's; `put` gets a tensor that is disposed behind it. */
  async store(put: (name: string, tensor: Tensor, isOfRows: boolean) => Promise<void>): Promise<void> {
    const putRows = async (name: string, whole: Tensor): Promise<void> => {
      const part = plain(() => whole.narrow(0, 0, this.#count));
      await put(name, part, true).finally(() => {
        part.dispose();
      });
    };
    await putRows(ROWS, this.#rows);
    for (const name of namesOf(this.#kinds))
      if (this.#kinds[name] === 'like') await putRows(name, this.#state[name]);
      else await put(name, this.#state[name], false);
  }

  /**
   * Puts a stored state into one that is new.
   *
   * @param take the stored tensor of a name, of a shape and type @throws GradCacheError `CHECKPOINT`
   * @param keeps which rows this rank keeps
   */
  load(
    key: string,
    take: (name: string, shape: readonly number[] | null, dtype: DType) => StoredTensor,
    keeps: (row: bigint) => boolean = () => true,
  ): void {
    const stored = take(ROWS, null, 'int64');
    const [total = 0] = stored.shape;
    const rows = rowsIn(`${ROWS}.${key}`, stored, this.#vocabulary);
    const places = [...rows.keys()].filter((place) => keeps(rows[place]!));
    const count = places.length;
    this.#rows.dispose();
    this.#rows = fromStored(only(stored, places), this.#places.device);
    for (const name of namesOf(this.#kinds)) {
      const old = this.#state[name];
      const isLike = this.#kinds[name] === 'like';
      const shape = isLike ? [total, old.shape[1]!] : [];
      const tensor = take(name, shape, isLike ? this.#dtype : 'float32');
      this.#state[name] = fromStored(isLike ? only(tensor, places) : tensor, old.device);
      old.dispose();
    }
    plain(() => {
      const numbers = call('aten::arange', count, { dtype: 'int64', device: this.#places.device });
      call('aten::index_copy_', this.#places, 0, this.#rows, numbers).dispose();
      numbers.dispose();
    });
    this.#count = count;
  }

  dispose(): void {
    for (const tensor of [this.#places, this.#rows, ...Object.values<Tensor>(this.#state)]) tensor.dispose();
  }
}

/** @throws GradCacheError `CHECKPOINT` unless these are numbers of rows, each once */
function rowsIn(name: string, { shape, bytes }: StoredTensor, vocabulary: number): bigint[] {
  if (shape.length !== 1) throw faultIn('Optimizer state', `${name} is no list of rows`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const seen = new Set<bigint>();
  for (let at = 0; at < bytes.byteLength; at += 8) {
    const row = view.getBigInt64(at, true);
    if (row < 0n || row >= BigInt(vocabulary) || seen.has(row))
      throw faultIn(
        'Optimizer state',
        `${name} has row ${row} of ${vocabulary} ${seen.has(row) ? 'twice' : 'rows'}`,
      );
    seen.add(row);
  }
  return [...seen];
}

/** Some rows of a stored tensor. */
function only(stored: StoredTensor, places: readonly number[]): StoredTensor {
  const [total = 0, ...rest] = stored.shape;
  if (places.length === total) return stored;
  const length = stored.bytes.byteLength / total;
  const bytes = new Uint8Array(places.length * length);
  for (const [place, from] of places.entries())
    bytes.set(stored.bytes.subarray(from * length, (from + 1) * length), place * length);
  return { ...stored, shape: [places.length, ...rest], bytes };
}

/** How many rows are missing for their numbers to fill vectors. */
function missingRows(count: number, width: number): number {
  let unit = ALIGNMENT;
  while (unit > 1 && ((unit / 2) * width) % ALIGNMENT === 0) unit /= 2;
  return (unit - (count % unit)) % unit;
}

const plain = <T>(make: () => T): T => untracked(() => noGrad(make));

const zeros = (shape: readonly number[], dtype: DType, device: string): Tensor =>
  plain(() => call('aten::zeros', shape, { dtype, device }));
