import assert from 'node:assert/strict';
import { Tensor, type Loss, type LossOptions, type LossWithGradients } from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { norm, type Numbers } from '../oracle/compare.js';

/** Rows of numbers between -2 and 2 that look random, the same for the same seed. */
export function rowsOf(count: number, dimension: number, seed: number): number[][] {
  return Array.from({ length: count }, (_, row) =>
    Array.from(
      { length: dimension },
      (_, column) => 2 * Math.sin(1 + 12.9898 * row + 78.233 * column + 37.7 * seed),
    ),
  );
}

/** Representations [rows, dimension] in float64. */
export const tensorOf = (rows: readonly (readonly number[])[]): Tensor =>
  Tensor.from(Float64Array.from(rows.flat()), { shape: [rows.length, rows[0]!.length] });

/** Shapes [rows, dimension]: a pair alone, dimensions that are no multiple of 8, rows that are no multiple of a tile. */
export const SHAPES = [
  [1, 3],
  [2, 1],
  [5, 6],
  [9, 8],
  [33, 13],
  [67, 5],
] as const;

/**
 * Towers of each of {@link SHAPES}, of random rows; and of rows that are all the same, that are the same in all towers, and
 * that are far longer or shorter than others.
 */
export function towersOf(count: number): { what: string; towers: number[][][] }[] {
  const towers = (make: (tower: number) => number[][]) =>
    Array.from({ length: count }, (_, tower) => make(tower));
  return [
    ...SHAPES.map(([rows, dimension]) => ({
      what: `[${rows}, ${dimension}]`,
      towers: towers((tower) => rowsOf(rows, dimension, tower)),
    })),
    { what: 'identical rows', towers: towers((tower) => Array<number[]>(6).fill(rowsOf(1, 5, tower)[0]!)) },
    { what: 'identical towers', towers: towers(() => rowsOf(6, 5, 1)) },
    {
      what: 'lengths far apart',
      towers: towers((tower) =>
        rowsOf(6, 5, tower).map((row, k) => row.map((value) => value * 10 ** (k - 3))),
      ),
    },
  ];
}

/** Asserts that a loss and its gradients are those of its plain twin, a function of the same tensors. */
export async function assertLikeTwin(
  loss: LossWithGradients,
  twin: Loss,
  towers: readonly (readonly (readonly number[])[])[],
  options: LossOptions,
  what: string,
  tolerance = 1e-10,
): Promise<void> {
  const weight = 0.7;
  const [ours, theirs] = [
    await loss.compute(towers.map(tensorOf), weight, options),
    await withGradients(twin).compute(towers.map(tensorOf), weight, {}),
  ];
  assertNear([ours.loss], [theirs.loss], tolerance, `${what}: the loss`);
  for (const tower of towers.keys()) {
    const [actual, expected] = await Promise.all(
      [ours, theirs].map(({ gradients }) => gradients[tower]!.values() as Promise<Float64Array>),
    );
    assertNear(actual!, expected!, tolerance, `${what}: the gradient of tower ${tower}`);
  }
}

/** Like {@link assertClose}, but what is zero in exact arithmetic may hold rounding. */
export function assertNear(actual: Numbers, expected: Numbers, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, what);
  const difference = Array.from(actual, (value, k) => value - expected[k]!);
  const allowed = tolerance * Math.max(norm(expected), 1e-3);
  assert.ok(norm(difference) <= allowed, `${what}: differs by ${norm(difference)} from ${norm(expected)}`);
}
