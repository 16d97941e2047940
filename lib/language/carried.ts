import { refused } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy, untracked } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Carried, State } from './segment-model.js';

/** @throws GradCacheError `INPUT` unless it is a list of tensors */
export function requireTensors(name: string, value: unknown): asserts value is readonly Tensor[] {
  if (!Array.isArray(value) || !Array.from(value as unknown[]).every((item) => item instanceof Tensor))
    throw refused(name, value, 'a list of tensors');
}

/** @throws GradCacheError `INPUT` unless it is what a model hands from segment to segment */
export function requireCarried(value: unknown): asserts value is Carried {
  const { state, memory } = readGiven('the state before', () => ({
    ...(value as { state?: unknown; memory?: unknown } | null),
  }));
  requireTensors('state of the state before', state);
  requireTensors('memory of the state before', memory);
}

export function disposeAll(tensors: readonly Tensor[]): void {
  for (const tensor of tensors) tensor.dispose();
}

export function disposeCarried({ state, memory }: Carried): void {
  disposeAll(state);
  disposeAll(memory);
}

/** Elements of a row in all slots together. */
export function widthOf(state: State): number {
  return state.reduce((sum, { shape }) => sum + shape.slice(1).reduce((size, extent) => size * extent, 1), 0);
}

/** What a caller's block makes of tensors, outside of any graph and of any block of tidy. */
export function computed<T>(fn: () => T): T {
  return untracked(() => noGrad(() => tidy(fn)));
}

/** Which rows are meant, as a boolean tensor [rows, 1]. */
export function rowMask(rows: number, meant: (row: number) => boolean, device: string): Tensor {
  const flags = Uint8Array.from({ length: rows }, (_, row) => (meant(row) ? 1 : 0));
  return Tensor.from(flags, { shape: [rows, 1], dtype: 'bool', device });
}

/** Tensors with zeros in the rows of a mask; every tensor has its rows in order, in one or several places each. */
export function withoutRows(tensors: readonly Tensor[], mask: Tensor): Tensor[] {
  const rows = mask.shape[0]!;
  return tensors.map((tensor) => {
    const byRow = tensor.reshape([rows, tensor.size / rows]);
    const here = mask.to({ device: tensor.device });
    return call('aten::masked_fill.Scalar', byRow, here, 0).reshape(tensor.shape);
  });
}

/** The rows of `state` that a mask leaves, and those of `initial` where it says so. */
function startedAnew(state: State, initial: State, mask: Tensor): Tensor[] {
  return state.map((slot, index) => call('aten::where.self', mask, initial[index], slot));
}

/**
 * What is handed on after a segment in which the documents of some rows end. Takes `after` over.
 *
 * @param alone whether these are all rows that there are: where all end, the next segment then begins without any memory
 */
export function afterEnds(
  after: Carried,
  rows: number,
  ends: readonly number[],
  initialState: () => Carried,
  alone = true,
): Carried {
  if (ends.length === 0) return after;
  const initial = initialState();
  const ended = new Set(ends);
  const startsAll = alone && ended.size === rows;
  try {
    if (startsAll) return { ...initial };
    return computed(() => {
      const mask = rowMask(
        rows,
        (row) => ended.has(row),
        (after.state[0] ?? after.memory[0])?.device ?? 'cpu',
      );
      return {
        state: startedAnew(after.state, initial.state, mask),
        memory: withoutRows(after.memory, mask),
      };
    });
  } finally {
    disposeCarried(after);
    if (!startsAll) disposeCarried(initial);
  }
}
