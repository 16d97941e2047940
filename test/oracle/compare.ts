import assert from 'node:assert/strict';

export type Numbers = ArrayLike<number>;

/** Euclidean norm. */
export function norm(values: Numbers): number {
  let sum = 0;
  for (let k = 0; k < values.length; k++) sum += values[k]! * values[k]!;
  return Math.sqrt(sum);
}

/** The cosine of the angle between two lists of numbers: 1 where they point the same way. */
export function cosine(a: Numbers, b: Numbers): number {
  assert.equal(a.length, b.length, 'number of elements');
  let product = 0;
  for (let k = 0; k < a.length; k++) product += a[k]! * b[k]!;
  return product / (norm(a) * norm(b));
}

/** |actual - expected|, as one number. */
export function distance(actual: Numbers, expected: Numbers): number {
  assert.equal(actual.length, expected.length, 'number of elements');
  let sum = 0;
  for (let k = 0; k < actual.length; k++) sum += (actual[k]! - expected[k]!) ** 2;
  return Math.sqrt(sum);
}

/** |actual - expected| / |expected|. */
export function relativeError(actual: Numbers, expected: Numbers): number {
  return distance(actual, expected) / norm(expected);
}

/** Largest difference of two elements. */
export function largestDifference(actual: Numbers, expected: Numbers): number {
  assert.equal(actual.length, expected.length, 'number of elements');
  let largest = 0;
  for (let k = 0; k < actual.length; k++) {
    const difference = Math.abs(actual[k]! - expected[k]!);
    // NaN on one side must not pass.
    if (!(difference <= largest)) largest = difference;
    if (Number.isNaN(difference)) return NaN;
  }
  return largest;
}

export function assertClose(actual: Numbers, expected: Numbers, tolerance: number, what: string): void {
  const error = relativeError(actual, expected);
  assert.ok(error <= tolerance, `${what}: relative error ${error.toExponential(2)}, allowed ${tolerance}`);
}

/**
 * Every gradient of `expected` against the one of the same name, relative to its own norm, and no name missing on either
 * side. A gradient that is zero in exact arithmetic (a key's bias: softmax does not see it) holds rounding alone and has
 * no relative error; it is one whose norm is below `tolerance` times that of the whole gradient, and so must ours be.
 */
export function assertSameGradients(
  actual: ReadonlyMap<string, Numbers>,
  expected: ReadonlyMap<string, Numbers>,
  tolerance: number,
  what: string,
): void {
  assert.deepEqual([...actual.keys()].sort(), [...expected.keys()].sort(), `${what}: names of the gradients`);
  const whole = Math.hypot(...[...expected.values()].map(norm));
  assert.ok(whole > 0, `${what}: the whole gradient is zero`);
  for (const [name, gradient] of expected) {
    const ours = actual.get(name)!;
    if (norm(gradient) <= tolerance * whole) {
      assert.ok(norm(ours) <= tolerance * whole, `${what}: ${name} should vanish, its norm is ${norm(ours)}`);
    } else {
      assertClose(ours, gradient, tolerance, `${what}: gradient of ${name}`);
    }
  }
}
