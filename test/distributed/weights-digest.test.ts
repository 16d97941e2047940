import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../lib/distributed/weights-digest.js';
import { Tensor } from '../../lib/index.js';

test('a digest of weights follows from their bits and names', async () => {
  for (const [dtype, Numbers, step] of [
    ['float32', Float32Array, 2 ** -23],
    ['float64', Float64Array, 2 ** -52],
  ] as const) {
    const of = (name: string, first: number): Promise<string> => {
      const tensor = Tensor.from(Numbers.of(first, -2, NaN, 0), { shape: [2, 2] });
      assert.equal(tensor.dtype, dtype);
      return digestOf([{ name, tensor, decay: true }]);
    };
    assert.equal(await of('a', 1), await of('a', 1));
    // The nearest other number.
    assert.notEqual(await of('a', 1), await of('a', 1 + step));
    assert.notEqual(await of('a', 1), await of('b', 1));
  }
});
