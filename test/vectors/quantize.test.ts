import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantized, rangesOf } from '../../lib/vectors/quantize.js';

const VECTORS = Float32Array.of(0.5, -1, 0, 0.25, 3, -0.5, 1, -0, 0.125, 2, -2, 7);

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
