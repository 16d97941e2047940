import assert from 'node:assert/strict';
import { test } from 'node:test';
import { infoNCE, sigLIP, Tensor } from '../../lib/index.js';
import { fails } from '../robustness/failures.js';

const towers = [1, 2].map((seed) => Tensor.from([seed, 2, -3, 4, 5, 6 * seed], { shape: [3, 2] }));

test('a learned number that is no longer finite is told by its name', async () => {
  const infonce = () => infoNCE({ temperature: { initial: 0.1, learned: true } });
  for (const [make, name, value] of [
    [sigLIP, 'loss.log_scale', NaN],
    [sigLIP, 'loss.log_scale', 800],
    [sigLIP, 'loss.bias', NaN],
    [sigLIP, 'loss.bias', -Infinity],
    [infonce, 'loss.log_scale', NaN],
  ] as const) {
    const loss = make();
    const { tensor } = loss.parameters().find((parameter) => parameter.name === name)!;
    tensor.copyFrom(Tensor.from(Float64Array.of(value)));
    await assert.rejects(loss.compute(towers, 1, {}), fails('NON_FINITE', new RegExp(name)));
    assert.equal(tensor.grad!.item(), 0);
  }
});

test('a learned number whose parameter requires no gradient has none', async () => {
  for (const loss of [sigLIP(), infoNCE({ temperature: { initial: 0.1, learned: true } })]) {
    const [first, ...others] = loss.parameters();
    first!.tensor.requiresGrad = false;
    await loss.compute(towers, 1, {});
    assert.equal(first!.tensor.grad!.item(), 0);
    for (const { tensor } of others) assert.notEqual(tensor.grad!.item(), 0);
  }
});
