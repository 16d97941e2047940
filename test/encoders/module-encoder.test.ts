import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ModuleEncoder, Tensor, type Parameter } from '../../lib/index.js';

test('an encoder says where its parameters are, or its batch, without asking for them at each look', () => {
  const weight = Tensor.from([1, 2], { shape: [1, 2] });
  let asked = 0;
  const encoder = (parameters: Parameter[]) =>
    new ModuleEncoder({
      forward: (input: Tensor) => input.linear(weight),
      parameters: () => {
        asked++;
        return parameters;
      },
    });
  for (const listed of [[], [{ name: 'weight', tensor: weight, decay: true }]]) {
    asked = 0;
    const made = encoder(listed);
    for (let look = 0; look < 5; look++) assert.equal(made.device, 'cpu');
    assert.equal(asked, 1);
  }
});
