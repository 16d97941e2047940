import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromHalf, quantized, rangesOf, toHalf } from '../../lib/vectors/quantize.js';

const VECTORS = Float32Array.of(0.5, -1, 0, 0.25, 3, -0.5, 1, -0, 0.125, 2, -2, 7);

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

test('bytes and the numbers of JSON lines are the same', () => {
  const ranges = rangesOf(VECTORS, 3);
  assert.deepEqual([...ranges], [0.25, -2, -0.5, 2, 3, 7]);
  for (const [type, Read] of [
    ['float32', Float32Array],
    ['int8', Int8Array],
    ['uint8', Uint8Array],
    ['binary', Int8Array],
    ['ubinary', Uint8Array],
  ] as const) {
    const { numbers, bytes, width } = quantized(VECTORS, 3, type, ranges);
    const read = new Read(Uint8Array.from(bytes).buffer);
    assert.deepEqual([...numbers], [...read]);
    assert.equal(numbers.length, 4 * width);
  }
  const half = quantized(VECTORS, 3, 'float16', null);
  assert.equal(half.bytes.length, 24);
  assert.deepEqual([...half.numbers], [...VECTORS]);
});

test('numbers outside the ranges become the least or the greatest, and equal ranges give one step', () => {
  const ranges = Float32Array.of(-1, 2, 1, 2);
  const vectors = Float32Array.of(-5, 2, 5, 2, 0, 9);
  assert.deepEqual([...quantized(vectors, 2, 'uint8', ranges).numbers], [0, 0, 255, 0, 127, 7]);
  assert.deepEqual([...quantized(vectors, 2, 'int8', ranges).numbers], [-128, -128, 127, -128, -1, -121]);
});
