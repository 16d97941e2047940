import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AdamW,
  call,
  callAsync,
  GradCache,
  infoNCE,
  Tensor,
  withSeed,
  type LossOptions,
  type Parameter,
} from '../../lib/index.js';
import { assertClose, assertSameGradients } from '../oracle/compare.js';
import {
  clear,
  device,
  fullBatch,
  gradients,
  plainInfoNCE,
  precisions,
  tenTexts,
  textEncoder,
  whole,
} from './support.js';

/** A loss as a user writes one: NT-Xent over both views (Chen et al. 2020), of plain operators. */
function ownLoss(a: Tensor, b: Tensor, temperature: number): Tensor {
  const rows = a.shape[0]!;
  const views = call('aten::cat', [a, b], 0).normalize();
  const self = call('aten::eye', 2 * rows, { dtype: views.dtype, device: views.device }).mul(1e9);
  const scores = views.matmul(views.t()).div(temperature).sub(self);
  const partner = Array.from({ length: 2 * rows }, (_, row) => (row + rows) % (2 * rows));
  return call(
    'aten::cross_entropy_loss',
    scores,
    Tensor.from(partner, { dtype: 'int64', device: views.device }),
  );
}

test("a loss of one's own, with keyword arguments", async () => {
  for (const [precision, tolerance] of precisions) {
    const encoder = await textEncoder(precision);
    const batches = [tenTexts(1), tenTexts(2)];
    const pieces = batches.map((batch) => whole(encoder, batch));
    const expected = await fullBatch([encoder, encoder], pieces, (a, b) => ownLoss(a, b, 0.4));
    const seen: LossOptions[] = [];
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: (a: Tensor, b: Tensor, options: LossOptions) => {
        seen.push(options);
        return ownLoss(a, b, options['temperature'] as number);
      },
      chunk: { sequences: 3 },
    });
    const { loss } = await gradcache.step(batches, { loss: { temperature: 0.4 } });
    assert.deepEqual(seen, [{ temperature: 0.4 }]);
    assert.ok(Math.abs(loss - expected.loss) <= tolerance * loss);
    assertSameGradients(await gradients([encoder]), expected.gradients, tolerance, precision);
  }
});

test("a loss of one's own over one tower and over three", async () => {
  const encoder = await textEncoder('float64');
  for (const towers of [1, 3]) {
    const batches = [1, 2, 3].slice(0, towers).map(tenTexts);
    const spread = (...args: unknown[]) => {
      const joined: Tensor = call('aten::cat', args.slice(0, towers), 0);
      return joined.mul(joined).mean().add(joined.sum().tanh());
    };
    const pieces = batches.map((batch) => whole(encoder, batch));
    const encoders = batches.map(() => encoder);
    const expected = await fullBatch(encoders, pieces, spread);
    const gradcache = new GradCache({ encoders, loss: spread, chunk: { sequences: 3 }, accumulate: 4 });
    const { loss } = await gradcache.step(batches);
    assert.ok(
      Math.abs(loss - expected.loss) <= 1e-10 * Math.abs(loss),
      'the loss is reported without the share of accumulation',
    );
    const quarter = new Map(
      [...expected.gradients].map(([name, all]) => [name, Float64Array.from(all, (x) => x / 4)]),
    );
    assertSameGradients(await gradients([encoder]), quarter, 1e-10, `${towers} towers`);
    clear([encoder]);
  }
});

test('the gradient of a learned temperature, by autograd and by finite differences', async () => {
  const encoder = await textEncoder('float64');
  const batches = [tenTexts(1), tenTexts(2), tenTexts(3)];
  const pieces = batches.map((batch) => whole(encoder, batch));
  const encoders = batches.map(() => encoder);
  for (const symmetric of [false, true]) {
    const initial = 0.13;
    const loss = infoNCE({ temperature: { initial, learned: true }, symmetric });
    const gradcache = new GradCache({ encoders, loss, chunk: { sequences: 3 }, accumulate: 2 });
    const [parameter, ...others] = loss.parameters();
    assert.equal(others.length, 0);
    assert.ok(gradcache.parameters().some(({ tensor }) => tensor === parameter!.tensor));
    assert.ok(Math.abs(Math.exp(-parameter!.tensor.item()) - initial) < 1e-12);

    const logScale = Tensor.from(Float64Array.of(-Math.log(initial)), { device });
    logScale.requiresGrad = true;
    const expected = await fullBatch(encoders, pieces, (...representations) =>
      plainInfoNCE({ temperature: logScale.neg().exp(), symmetric })(...representations),
    );
    await gradcache.step(batches);
    const ours = parameter!.tensor.grad!.item();
    const theirs = logScale.grad!.item() / 2;
    assert.ok(Math.abs(ours - theirs) <= 1e-10 * Math.abs(theirs), `${ours} for ${theirs}`);
    const half = new Map(
      [...expected.gradients].map(([name, all]) => [name, Float64Array.from(all, (x) => x / 2)]),
    );
    assertSameGradients(await gradients([encoder]), half, 1e-10, 'encoder');
    clear([encoder]);

    const at = async (shift: number) => {
      const moved = infoNCE({ temperature: initial * Math.exp(-shift), symmetric });
      const { loss: value } = await new GradCache({ encoders, loss: moved, chunk: { sequences: 3 } }).step(
        batches,
      );
      return value;
    };
    const step = 1e-5;
    const difference = ((await at(step)) - (await at(-step))) / (2 * step) / 2;
    assert.ok(
      Math.abs(ours - difference) <= 1e-6 * Math.abs(difference),
      `${ours}, finite difference ${difference}`,
    );
    clear([encoder]);
  }
});

test('a step, an update and clipping read no number by waiting for the device', async (t) => {
  const encoder = await textEncoder('float32');
  const loss = infoNCE({ temperature: { initial: 0.0101, learned: true } });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 4 } });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 0.5, maxGradNorm: 1 });
  const waits = ['item', 'valuesSync'] as const;
  const waited = waits.map((name) =>
    t.mock.method(Tensor.prototype, name, () => assert.fail(`${name}() waits`)),
  );
  for (let step = 0; step < 3; step++) {
    await gradcache.step([tenTexts(1), tenTexts(2)]);
    await optimizer.step();
  }
  for (const method of waited) method.mock.restore();
});

test('a learned temperature is read after what was queued before it, and put back where it is too low', async () => {
  const loss = infoNCE({ temperature: { initial: 0.05, learned: true } });
  const [{ tensor: logScale }] = loss.parameters() as [Parameter];
  const towers = [1, 2].map((seed) => withSeed(seed, () => call('aten::randn', [6, 4])));
  const lossAt = async (temperature: number) => (await infoNCE({ temperature }).compute(towers, 1, {})).loss;
  const queued = async (value: number) => {
    const busy = call('aten::ones', [600, 600]);
    const before = [callAsync('aten::mm', busy, busy), callAsync('aten::fill_.Scalar', logScale, value)];
    const { loss: found } = await loss.compute(towers, 1, {});
    await Promise.all(before);
    return found;
  };
  assert.equal(await queued(Math.log(4)), await lossAt(1 / Math.exp(Math.log(4))));
  const least = Math.exp(-Math.log(100));
  assert.equal(await queued(7), await lossAt(least));
  assert.equal(loss.temperature, least);
  assert.equal(logScale.item(), Math.log(100));
});

test("a parameter's gradient is the slope of the loss: finite differences through the whole step", async () => {
  const encoder = await textEncoder('float64', { dropout: 0.2 });
  const batches = [tenTexts(1), tenTexts(2)];
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.3 }),
    chunk: { tokens: 30 },
  });
  await gradcache.step(batches, { seed: 3 });
  const slopes = await gradients([encoder]);
  const step = 1e-6;
  for (const { name, tensor } of encoder.parameters()) {
    const element = Math.floor(tensor.size / 3);
    const expected = slopes.get(`0:${name}`)![element]!;
    const at = async (shift: number) => {
      const values = (await tensor.values()) as Float64Array;
      const moved = Float64Array.from(values);
      moved[element]! += shift;
      tensor.copyFrom(Tensor.from(moved, { shape: tensor.shape, device }));
      const { loss } = await gradcache.step(batches, { seed: 3 });
      tensor.copyFrom(Tensor.from(values, { shape: tensor.shape, device }));
      return loss;
    };
    const slope = ((await at(step)) - (await at(-step))) / (2 * step);
    assertClose([slope + 1], [expected + 1], 2e-8, name);
  }
});
