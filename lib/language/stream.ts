import { GradCacheError } from '../errors.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored, toStored } from '../safetensors/stored-tensor.js';
import { disposeCarried } from './carried.js';
import type { Carried, SegmentModel } from './segment-model.js';
import { numbersIn, partOf, sameAs, storedNumbers } from './stored-state.js';

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

/** What {@link restoreStream} needs beside rows and position. */
export async function storeStream({ rows, carried, anew }: Stream): Promise<Map<string, StoredTensor>> {
  const stored = new Map<string, StoredTensor>();
  for (const kind of ['state', 'memory'] as const)
    for (const [slot, tensor] of carried[kind].entries())
      stored.set(`${kind}.${slot}`, await toStored(tensor));
  stored.set('anew', storedNumbers(Array.from({ length: rows }, (_, row) => (anew.has(row) ? 1 : 0))));
  return stored;
}

/** @throws GradCacheError `CHECKPOINT` */
export function restoreStream(
  model: SegmentModel,
  stored: ReadonlyMap<string, StoredTensor>,
  rows: number,
  position: number,
): Stream {
  const like = model.initialState(rows);
  try {
    const state = like.state.map((tensor, slot) => sameAs(stored, `state.${slot}`, tensor));
    const flags = numbersIn(sameAs(stored, 'anew', { dtype: 'float64', shape: [rows] }));
    const { device } = model;
    // How many rows a memory has is the model's own affair: there may be none before the first segment.
    const memory = inOrder(partOf(stored, 'memory.')).map((tensor) => fromStored(tensor, device));
    const anew = new Set(flags.flatMap((flag, row) => (flag === 1 ? row : [])));
    return {
      rows,
      carried: { state: state.map((tensor) => fromStored(tensor, device)), memory },
      anew,
      position,
    };
  } finally {
    disposeCarried(like);
  }
}

/** Tensors that are named by their numbers; a file has its own order. @throws GradCacheError `CHECKPOINT` where one is missing */
function inOrder(numbered: ReadonlyMap<string, StoredTensor>): StoredTensor[] {
  return Array.from({ length: numbered.size }, (_, number) => {
    const tensor = numbered.get(String(number));
    if (tensor !== undefined) return tensor;
    throw new GradCacheError('CHECKPOINT', `State across segments: memory.${number} is missing.`);
  });
}
