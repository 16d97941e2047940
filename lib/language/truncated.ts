/*
 * Truncated backpropagation through time: a segment hands its state on, and no gradient comes back. With a seed for the state
 * the same walk is that of synthetic gradients.
 */
import { disposeAll, disposeCarried } from './carried.js';
import type { Carried, State } from './segment-model.js';
import type { Walk, Walked } from './walk.js';

/** What a method does at each segment of a walk from the first to the last. */
export interface Around {
  /** Before a segment runs. */
  begin(index: number, before: State): Promise<void>;
  /** The seed of the state that a segment hands on, which the walk disposes; null: none. */
  seed(index: number, after: State): Promise<State | null>;
  /** With the gradient that reached the state before the segment. */
  end(index: number, gradient: State): Promise<void>;
}

/** Walks from the first segment to the last, with a backward through each. */
export async function walkForward(walk: Walk, first: Carried, around?: Around): Promise<Walked> {
  let carried = first;
  for (let index = 0; index < walk.segments.length; index++) {
    const before = carried;
    try {
      carried = walk.handOn(index, await throughSegment(walk, index, before, around));
    } finally {
      if (before !== first) disposeCarried(before);
    }
  }
  return { after: carried, retained: walk.segments.length };
}

/** A segment forward and backward. Gives what it hands on. */
async function throughSegment(walk: Walk, index: number, before: Carried, around?: Around): Promise<Carried> {
  await around?.begin(index, before.state);
  const pass = await walk.forward(index, before, true);
  let seed: State | null = null;
  let gradient: State = [];
  try {
    seed = (await around?.seed(index, pass.after.state)) ?? null;
    gradient = await pass.backward(walk.weight, seed);
    await around?.end(index, gradient);
    return pass.after;
  } catch (error) {
    disposeCarried(pass.after);
    throw error;
  } finally {
    pass.dispose();
    disposeAll(gradient);
    disposeAll(seed ?? []);
  }
}
