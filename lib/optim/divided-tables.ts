/*
 * Tables whose gradients are of rows, in an update that is divided over ranks. All ranks have the gradient of all rows of a step. Each
 * updates rows of its own, by their numbers, and keeps the state of these alone. Ranks then give each other the rows.
 */
import type { Ranks } from '../distributed/ranks.js';
import { GradCacheError } from '../errors.js';
import { noGrad } from '../tensor/autograd.js';
import { call, callAsync } from '../tensor/operators.js';
import type { TableWithGradient } from '../tensor/parameter-set.js';
import { untracked } from '../tensor/scope.js';
import type { Parameter, Tensor } from '../tensor/tensor.js';

const GATHER = 'gathering updated rows of tables';

/** Where some rows are among all rows of a gradient. */
export interface Among {
  /** int64, a place for each. */
  readonly places: Tensor;
  readonly total: number;
}

/** The rows of a table that this rank updates, with their gradients, which are copies. */
export interface OwnRows<P extends Parameter> extends TableWithGradient<P> {
  readonly among: Among;
  /** How many each rank updates. */
  readonly counts: readonly number[];
  /** The numbers of all rows, one rank's behind the other's. */
  readonly order: Tensor;
  /** Memory for all rows in that order. */
  readonly received: Tensor;
}

/** Whether a rank updates a row. */
export const isOwnRow = ({ rank, size }: Ranks, row: bigint): boolean => row % BigInt(size) === BigInt(rank);

/**
 * What this rank updates of tables; the caller disposes it.
 *
 * @throws GradCacheError `OUT_OF_MEMORY`, after which nothing is left
 */
export async function ownRows<P extends Parameter>(
  ranks: Ranks,
  tables: readonly TableWithGradient<P>[],
): Promise<OwnRows<P>[]> {
  const made: OwnRows<P>[] = [];
  try {
    for (const table of tables) made.push(await ownRowsOf(ranks, table));
    return made;
  } catch (error) {
    for (const each of made) each.dispose();
    throw error;
  }
}

async function ownRowsOf<P extends Parameter>(
  { rank, size }: Ranks,
  { parameter, table, rows, values }: TableWithGradient<P>,
): Promise<OwnRows<P>> {
  const kept: Tensor[] = [];
  const passing: Tensor[] = [];
  const put = (into: Tensor[], tensor: Tensor): Tensor => {
    into.push(tensor);
    return tensor;
  };
  const part = (of: Tensor, begin: number, length: number): Tensor =>
    put(
      kept,
      plain(() => of.narrow(0, begin, length)),
    );
  const dispose = (): void => {
    for (const tensor of kept) tensor.dispose();
  };
  try {
    const owners = put(passing, await callAsync('aten::remainder.Scalar', rows, size));
    const numbers = put(passing, await callAsync('aten::bincount', owners, null, size));
    const counts = Array.from(await numbers.values(), Number);
    const sorted = await callAsync<[Tensor, Tensor]>('aten::sort.stable', owners, true, 0, false);
    put(passing, sorted[0]);
    const places = put(kept, sorted[1]);
    const order = put(kept, await callAsync('aten::index_select', rows, 0, places));
    const begin = counts.slice(0, rank).reduce((sum, count) => sum + count, 0);
    const own = part(places, begin, counts[rank]!);
    const received = put(
      kept,
      plain(() =>
        call('aten::empty.memory_format', [rows.size, table.shape[1]!], {
          dtype: table.dtype,
          device: table.device,
        }),
      ),
    );
    return {
      parameter,
      table,
      rows: part(order, begin, counts[rank]!),
      values: put(kept, await callAsync('aten::index_select', values, 0, own)),
      among: { places: own, total: rows.size },
      counts,
      order,
      received,
      dispose,
    };
  } catch (error) {
    dispose();
    throw error;
  } finally {
    for (const tensor of passing) tensor.dispose();
  }
}

/**
 * Checks that ranks have gradients of the same rows.
 *
 * @param parameters all tables, of which some have a gradient
 * @throws GradCacheError `INPUT` on all ranks
 */
export async function requireSameRows<P extends Parameter>(
  ranks: Ranks,
  parameters: readonly P[],
  tables: readonly TableWithGradient<P>[],
): Promise<void> {
  if (parameters.length === 0) return;
  const own = parameters.map((each) => tables.find(({ parameter }) => parameter === each)?.rows.size ?? 0);
  const all = await ranks.numbers(own);
  const place = own.findIndex((_, k) => all.some((ofRank) => ofRank[k] !== all[0]![k]));
  if (place < 0) return;
  throw new GradCacheError(
    'INPUT',
    `Ranks have gradients of ${all.map((ofRank) => ofRank[place]).join(', ')} rows of ${parameters[place]!.name}; the rows of a ` +
      'step over these ranks are needed: make the GradCache with ranks too.',
  );
}

/** Puts updated rows where {@link gatherRows} takes them. */
export async function putRows(ranks: Ranks, tables: readonly OwnRows<Parameter>[]): Promise<void> {
  for (const { table, rows, counts, received } of tables) {
    const updated: Tensor = await callAsync('aten::index_select', table, 0, rows);
    const begin = counts.slice(0, ranks.rank).reduce((sum, count) => sum + count, 0);
    const part = plain(() => received.narrow(0, begin, rows.size));
    try {
      part.copyFrom(updated);
    } finally {
      part.dispose();
      updated.dispose();
    }
  }
}

/** Gives all ranks all updated rows, and leaves tables without a gradient. */
export async function gatherRows(ranks: Ranks, tables: readonly OwnRows<Parameter>[]): Promise<void> {
  for (const { counts, received } of tables)
    await ranks.exchange((group) => group.allGather(received.handle, counts, GATHER));
  if (tables.length === 0) return;
  await ranks.agree(GATHER, async () => {
    for (const { table, order, received } of tables) {
      (await callAsync<Tensor>('aten::index_copy_', table, 0, order, received)).dispose();
      table.grad = null;
    }
  });
}

/**
 * Rows of all ranks, one rank's behind the other's. All ranks call it.
 *
 * @param own this rank's, on the device of the ranks
 * @returns a new tensor
 */
export async function rowsOfAll(ranks: Ranks, own: Tensor, what: string): Promise<Tensor> {
  const [count = 0, ...shape] = own.shape;
  const counts = (await ranks.numbers([count])).map(([ofRank]) => ofRank!);
  const begin = counts.slice(0, ranks.rank).reduce((sum, each) => sum + each, 0);
  const total = counts.reduce((sum, each) => sum + each, 0);
  let all: Tensor | undefined;
  try {
    await ranks.agree(what, () => {
      all = plain(() =>
        call('aten::empty.memory_format', [total, ...shape], { dtype: own.dtype, device: own.device }),
      );
      const part = plain(() => all!.narrow(0, begin, count));
      part.copyFrom(own);
      part.dispose();
    });
    if (total > 0) await ranks.exchange((group) => group.allGather(all!.handle, counts, what));
    return all!;
  } catch (error) {
    all?.dispose();
    throw error;
  }
}

const plain = <T>(make: () => T): T => untracked(() => noGrad(make));
