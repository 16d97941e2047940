import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tensor, type LossOptions, type LossWithGradients } from '../../lib/index.js';
import { relativeError } from '../oracle/compare.js';
import { splitCases, type Rows } from './split-losses.js';
import { device } from './support.js';

// On a GPU `exact` of many float32 rows is computed by products of float16 rows, two for each. Here every loss is, so that a CPU
// checks it too: the native setting `split` asks for it.

async function results(loss: LossWithGradients, of: readonly Rows[], dtype: 'float32' | 'float64') {
  const where = dtype === 'float64' ? 'cpu' : device;
  const tensors = of.map(({ values, shape }) =>
    Tensor.from(dtype === 'float64' ? Float64Array.from(values) : values, { shape, device: where }),
  );
  const options: LossOptions = {};
  const { loss: value, gradients } = await loss.compute(tensors, 1, options);
  const all = gradients.map(async (gradient) => (await gradient!.values()) as Float32Array);
  return { loss: value, gradients: await Promise.all(all) };
}

for (const { title, towers: of, exact, split, error: allowed = 2e-6 } of splitCases) {
  test(`products of split rows give the value and gradients of float64: ${title}`, async () => {
    const expected = await results(exact, of, 'float64');
    const found = await results(split(), of, 'float32');
    assert.ok(
      Math.abs(found.loss - expected.loss) <= 1e-6 * (1 + expected.loss),
      `${found.loss}, ${expected.loss}`,
    );
    for (const [tower, gradient] of found.gradients.entries()) {
      const error = relativeError(gradient, expected.gradients[tower]!);
      assert.ok(error <= allowed, `tower ${tower}: relative error ${error}`);
    }
    assert.deepEqual(await results(split(), of, 'float32'), found, 'the same bits twice');
  });
}
