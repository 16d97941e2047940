import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromHalf, toHalf, toHalves } from '../../lib/tensor/half.js';

test('float16 is the nearest, and of two as near the even one', () => {
  for (const [value, bits] of [
    [0, 0],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519.99, 0x7bff],
    [65520, 0x7c00],
    [-1e30, 0xfc00],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
    [1 + 2 ** -11 + 2 ** -20, 0x3c01],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [3 * 2 ** -25, 0x0002],
    [2 ** -14 - 2 ** -26, 0x0400],
    [0.1, 0x2e66],
  ] as const)
    assert.equal(toHalf(value), bits, `${value}`);
  for (let half = 0; half < 0x10000; half++) {
    const value = fromHalf(half);
    if (!Number.isNaN(value)) assert.equal(toHalf(value), half);
  }
  assert.ok(Number.isNaN(fromHalf(toHalf(NaN))));
});

test('many numbers become what each becomes alone', () => {
  // The bits of all exponents, with fractions about where rounding goes the other way, in both signs.
  const words = Array.from({ length: 256 }, (_, exponent) =>
    [0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x3001, 0x7fefff, 0x7ff000, 0x7fffff].flatMap((fraction) =>
      [0, 1].map((sign) => ((sign << 31) | (exponent << 23) | fraction) >>> 0),
    ),
  ).flat();
  const values = new Float32Array(Uint32Array.from(words).buffer);
  assert.deepEqual([...toHalves(values)], Array.from(values, toHalf));
  const behind = values.subarray(3);
  assert.deepEqual([...toHalves(behind)], Array.from(behind, toHalf), 'numbers that begin behind others');
});
