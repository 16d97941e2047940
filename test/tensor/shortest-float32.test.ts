import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinedFloat32, shortestFloat32 } from '../../lib/tensor/shortest-float32.js';

/** The decimal number of so many digits that is nearest. */
const rounded = (value: number, digits: number): number => Number(value.toPrecision(digits));

/** Of those from six digits on, the first that is read back as the number, in JavaScript's own words. */
function expected(value: number): string {
  const digits = [6, 7, 8].find((count) => Object.is(Math.fround(rounded(value, count)), value));
  return String(rounded(value, digits ?? 9));
}

test('a number is written as short as it is read back', () => {
  const bits = new Uint32Array(1);
  const number = new Float32Array(bits.buffer);
  let state = 7;
  for (let k = 0; k < 60_000; k++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // Every exponent, and twice as often those of numbers from 0.00006 to 16.
    const exponent = k % 2 === 0 ? (state >>> 8) % 255 : 113 + ((state >>> 8) % 18);
    bits[0] = ((state & 1) << 31) | (exponent << 23) | (Math.imul(state, 2_654_435_761) >>> 9);
    const text = shortestFloat32(number[0]!);
    assert.equal(text, expected(number[0]!));
    assert.equal(Math.fround(Number(text)), number[0]);
  }
  for (const value of [
    0, 1, -1, 0.5, 0.1, 10, 9.999999, 1e-4, 9.9e-5, 0.99999994, 0.001, 2.5, 1e20, -1e-30,
  ]) {
    const single = Math.fround(value);
    assert.equal(shortestFloat32(single), expected(single));
  }
});

test('numbers are joined by commas', () => {
  assert.equal(joinedFloat32(new Float32Array()), '');
  assert.equal(joinedFloat32(Float32Array.of(0.1)), '0.1');
  assert.equal(joinedFloat32(Float32Array.of(0.1, -2, 0.00025)), '0.1,-2,0.00025');
});
