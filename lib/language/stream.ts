import { GradCacheError } from '../errors.js';
import type { Ranks } from '../distributed/ranks.js';
import { fromEach } from '../distributed/shared-work.js';
import { faultIn } from '../files/file-fault.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored } from '../safetensors/stored-tensor.js';
import { disposeCarried } from './carried.js';
import { rowsOfRank, rowsOfStored, storedOverRanks } from './rows-of-ranks.js';
import type { Carried, SegmentModel } from './segment-model.js';
import { numbersIn, partOf, sameAs, STATE, storedNumbers } from './stored-state.js';

/** Where the rows of a batch are in their streams. */
export interface Stream {
  readonly rows: number;
  /** What the next segment starts from. */
  readonly carried: Carried;
  /** Rows that start anew in the next segment. */
  readonly anew: ReadonlySet<number>;
  /** How many tokens of each row were read. */
  readonly position: number;
}

export function newStream(model: SegmentModel, rows: number): Stream {
  const anew = new Set(Array.from({ length: rows }, (_, row) => row));
  return { rows, carried: model.initialState(rows), anew, position: 0 };
}

/** How many rows the streams of all ranks have. */
export async function rowsOfAll(ranks: Ranks | null, { rows }: Pick<Stream, 'rows'>): Promise<number> {
  if (ranks === null) return rows;
  const each = await fromEach(ranks, 'counting the rows of all ranks', rows);
  return each.reduce((sum, count) => sum + count, 0);
}

/** What {@link restoreStream} needs beside rows and position, of `all` rows of the ranks. */
export async function storeStream(
  { rows, carried, anew }: Stream,
  ranks: Ranks | null,
  all: number,
): Promise<Map<string, StoredTensor>> {
  const stored = new Map<string, StoredTensor>();
  for (const kind of ['state', 'memory'] as const)
    for (const [slot, tensor] of carried[kind].entries()) {
      stored.set(
        `${kind}.${slot}`,
        await storedOverRanks(ranks, tensor, rows, forRows(tensor.shape, rows, all)),
      );
    }
  const own = Array.from({ length: rows }, (_, row) => (anew.has(row) ? 1 : 0));
  const flags = ranks === null ? own : (await fromEach(ranks, 'gathering the state of all rows', own)).flat();
  stored.set('anew', storedNumbers(flags));
  return stored;
}

/** The stream of this rank's rows. @param rows of all ranks @throws GradCacheError `CHECKPOINT` */
export function restoreStream(
  model: SegmentModel,
  stored: ReadonlyMap<string, StoredTensor>,
  { rows, position, ranks }: { rows: number; position: number; ranks: Ranks | null },
): Stream {
  const like = model.initialState(rows);
  const own = rowsOfRank(ranks, rows);
  const count = own.to - own.from;
  const { device } = model;
  const restored = (tensor: StoredTensor) =>
    fromStored(rowsOfStored(tensor, rows, own, forRows(tensor.shape, rows, count)), device);
  try {
    const state = like.state.map((tensor, slot) => sameAs(stored, `state.${slot}`, tensor));
    const flags = numbersIn(sameAs(stored, 'anew', { dtype: 'float64', shape: [rows] }));
    // How long a memory is, is the model's own affair: there may be none before the first segment.
    const memory = inOrder(partOf(stored, 'memory.'));
    const uneven = memory.findIndex(({ shape }) => shape.length === 0 || shape[0]! % rows !== 0);
    if (uneven >= 0)
      throw faultIn(STATE, `memory.${uneven} is [${memory[uneven]!.shape.join(', ')}], not of ${rows} rows`);
    const anew = new Set(flags.slice(own.from, own.to).flatMap((flag, row) => (flag === 1 ? row : [])));
    return {
      rows: count,
      carried: { state: state.map(restored), memory: memory.map(restored) },
      anew,
      position,
    };
  } finally {
    disposeCarried(like);
  }
}

/** The shape of a tensor of `rows` rows, for another number of them. */
const forRows = ([first = 0, ...others]: readonly number[], rows: number, count: number): number[] => [
  (first / rows) * count,
  ...others,
];

/** Tensors that are named by their numbers; a file has its own order. @throws GradCacheError `CHECKPOINT` where one is missing */
function inOrder(numbered: ReadonlyMap<string, StoredTensor>): StoredTensor[] {
  return Array.from({ length: numbered.size }, (_, number) => {
    const tensor = numbered.get(String(number));
    if (tensor !== undefined) return tensor;
    throw new GradCacheError('CHECKPOINT', `State across segments: memory.${number} is missing.`);
  });
}
