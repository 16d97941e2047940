import { createHash } from 'node:crypto';
import { GradCacheError } from '../errors.js';
import { refused, show } from '../options/option-values.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored, requireStoredTensors, toStored } from '../safetensors/stored-tensor.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { takeRows } from '../tensor/rows.js';
import { untracked } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { requireForEach } from './labels.js';

/** What identifies an example: a whole number from 0 or a string. */
export type Identity = number | string;

/** Rows of earlier batches, oldest first. Nothing here changes: a later state is another object. */
export interface MemoryRows {
  /** [rows, dimension], without a graph; null while there is none. */
  readonly rows: Tensor | null;
  /** The identities of each row. */
  readonly ids: readonly (readonly number[])[];
  /** The label of each row; null if rows have none. */
  readonly labels: readonly number[] | null;
  /** Batches seen. */
  readonly steps: number;
}

/** The rows of a batch that are kept. */
export type BatchRows = Omit<MemoryRows, 'steps' | 'rows'> & { readonly rows: Tensor };

export const NO_ROWS: MemoryRows = { rows: null, ids: [], labels: null, steps: 0 };

/** The rows with those of a batch behind them; the oldest beyond `capacity` are left out. The caller frees the old ones. */
export function withBatch(memory: MemoryRows, batch: BatchRows, capacity: number): MemoryRows {
  const old = Math.min(memory.ids.length, Math.max(0, capacity - batch.ids.length));
  const taken = Math.min(batch.ids.length, capacity);
  const rows = untracked(() =>
    noGrad(() => {
      const parts = [...(old > 0 ? [last(memory.rows!, old)] : []), last(batch.rows, taken)];
      const joined = call<Tensor>('aten::cat', parts, 0); // a copy, also of one part
      for (const part of parts) part.dispose();
      return joined;
    }),
  );
  const labels =
    batch.labels === null ? null : [...lastOf(memory.labels ?? [], old), ...lastOf(batch.labels, taken)];
  return {
    rows,
    ids: [...lastOf(memory.ids, old), ...lastOf(batch.ids, taken)],
    labels,
    steps: memory.steps,
  };
}

/** The numbers of the rows that share no identity with a batch. */
export function rowsWithoutIds({ ids }: MemoryRows, batch: Iterable<readonly number[]>): number[] {
  const present = new Set<number>();
  for (const each of batch) for (const id of each) present.add(id);
  return ids.flatMap((of, row) => (of.some((id) => present.has(id)) ? [] : [row]));
}

/** Some of the rows, which the caller frees; null if there are none. */
export function rowsAt({ rows, ids }: MemoryRows, kept: readonly number[]): Tensor | null {
  if (rows === null || kept.length === 0) return null;
  return untracked(() =>
    kept.length === ids.length ? rows.detach() : takeRows(rows, Int32Array.from(kept)),
  );
}

/**
 * The identities of a batch's rows as numbers.
 *
 * @param given for each row an identity or a list of them; undefined: the rows have none
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function idsOf(given: unknown, rows: number): number[][] {
  if (given === undefined) return Array.from({ length: rows }, () => []);
  requireForEach('ids', given, rows);
  return given.map((each, row) =>
    (Array.isArray(each) ? (each as readonly unknown[]) : [each]).map((id) => numberOf(id, row)),
  );
}

/** Strings become negative numbers of 48 bits of their hash: two that meet cost one row of the memory. */
function numberOf(id: unknown, row: number): number {
  if (typeof id === 'string') return -1 - createHash('sha256').update(id).digest().readUIntBE(0, 6);
  if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return id;
  throw refused(`an identity of row ${row}`, id, 'a string or a whole number from 0');
}

/** The state as tensors, for a checkpoint. */
export async function storedRows({
  rows,
  ids,
  labels,
  steps,
}: MemoryRows): Promise<Map<string, StoredTensor>> {
  const stored = new Map([['memory.steps', numbers([steps], [1])]]);
  if (rows === null) return stored;
  stored.set('memory.rows', await toStored(rows));
  const width = Math.max(1, ...ids.map(({ length }) => length));
  const flat = ids.flatMap((each) => [...each, ...Array<number>(width - each.length).fill(NaN)]);
  stored.set('memory.ids', numbers(flat, [ids.length, width]));
  if (labels !== null) stored.set('memory.labels', numbers(labels, [labels.length]));
  return stored;
}

/** @throws GradCacheError `CHECKPOINT`; `INPUT` for what is no Map */
export function rowsFromStored(stored: ReadonlyMap<string, StoredTensor>, capacity: number): MemoryRows {
  requireStoredTensors('the state of the memory', stored, damaged);
  const steps = numbersOf(stored, 'memory.steps', 1)?.at(0);
  if (steps === undefined) throw damaged('memory.steps is missing');
  const rows = stored.get('memory.rows');
  if (rows === undefined) return { ...NO_ROWS, steps };
  const [count = -1] = rows.shape;
  if (rows.shape.length !== 2 || count < 1 || !['float32', 'float64'].includes(rows.dtype))
    throw damaged(`memory.rows is ${rows.dtype} of shape [${rows.shape.join()}]`);
  if (count > capacity)
    throw damaged(`it holds ${count} rows and the memory has a capacity of ${show(capacity)}`);
  const flat = numbersOf(stored, 'memory.ids', count);
  if (flat === undefined) throw damaged('memory.ids is missing');
  const width = flat.length / count;
  const ids = Array.from({ length: count }, (_, row) =>
    [...flat.subarray(row * width, (row + 1) * width)].filter((id) => !Number.isNaN(id)),
  );
  const labels = numbersOf(stored, 'memory.labels', count);
  return { rows: fromStored(rows), ids, labels: labels === undefined ? null : [...labels], steps };
}

function numbers(values: readonly number[], shape: readonly number[]): StoredTensor {
  return { dtype: 'float64', shape: [...shape], bytes: new Uint8Array(Float64Array.from(values).buffer) };
}

function numbersOf(
  stored: ReadonlyMap<string, StoredTensor>,
  name: string,
  rows: number,
): Float64Array | undefined {
  const tensor = stored.get(name);
  if (tensor === undefined) return undefined;
  if (tensor.dtype !== 'float64' || tensor.shape[0] !== rows)
    throw damaged(`${name} is ${tensor.dtype} of shape [${tensor.shape.join()}]`);
  return new Float64Array(Uint8Array.from(tensor.bytes).buffer); // a copy begins at a multiple of 8 bytes
}

const damaged = (what: string): GradCacheError =>
  new GradCacheError('CHECKPOINT', `The state does not fit the memory: ${what}.`);

const last = (rows: Tensor, count: number): Tensor => rows.narrow(0, rows.shape[0]! - count, count);

const lastOf = <T>(list: readonly T[], count: number): readonly T[] => list.slice(list.length - count);
