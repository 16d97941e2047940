import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  AdamW,
  backward,
  batches,
  call,
  constantSchedule,
  GradCache,
  infoNCE,
  linearSchedule,
  readPairs,
  Tensor,
  type GradCacheOptions,
  type TextEncoder,
} from '../../lib/index.js';
import { GradCacheError } from '../../lib/errors.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { device, gradients, tenTexts, textEncoder } from '../exactness/support.js';
import { fails } from './failures.js';

const inputs = [tenTexts(1), tenTexts(2)];

/** The gradient cache of an encoder in small chunks. */
function cacheOf(encoder: TextEncoder, options: Partial<GradCacheOptions> = {}): GradCache {
  return new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE(),
    chunk: { sequences: 3 },
    ...options,
  });
}

test("the gradient of an encoder's parameter cannot be replaced, nor be switched off", async () => {
  const encoder = await textEncoder('float32');
  await cacheOf(encoder).step(inputs);
  const before = await gradients([encoder]);
  for (const { tensor } of encoder.parameters()) {
    assert.throws(() => (tensor.grad = null), fails('INPUT', /cannot be replaced/));
    assert.throws(() => (tensor.grad = tensor.detach()), fails('INPUT', /cannot be replaced/));
    assert.throws(() => (tensor.requiresGrad = false), fails('INPUT', /leave it out of the optimizer/));
    tensor.requiresGrad = true;
  }
  assert.deepEqual(await gradients([encoder]), before);
});

for (const how of ['a retry', 'an abort'] as const) {
  test(`a tensor that a loss of one's own trains keeps its gradient after ${how}`, async () => {
    const run = async (fail: boolean) => {
      const encoder = await textEncoder('float32');
      const scale = Tensor.from(2.5, { device });
      scale.requiresGrad = true;
      const gradcache = cacheOf(encoder, {
        loss: (a, b) => call('aten::diagonal', a.matmul(b.t()).mul(scale.exp()).logSoftmax(1)).mean().neg(),
      });
      await gradcache.step(inputs, { seed: 1 }); // so that there is a gradient to keep
      const controller = new AbortController();
      let left = fail ? 1 : 0;
      const onProgress = ({ phase }: { phase: string }): void => {
        if (phase !== 'backward' || left-- !== 1) return;
        if (how === 'an abort') controller.abort();
        else throw new GradCacheError('OUT_OF_MEMORY', 'as if');
      };
      const step = gradcache.step(inputs, { seed: 2, signal: controller.signal, onProgress });
      if (fail && how === 'an abort') {
        await assert.rejects(step, fails('ABORTED'));
        await gradcache.step(inputs, { seed: 2 });
      } else assert.equal((await step).retries, fail ? 1 : 0);
      return scale.grad!.item();
    };
    const [expected, found] = [await run(false), await run(true)];
    assert.ok(Math.abs(found - expected) <= 1e-5 * Math.abs(expected), `${found} in place of ${expected}`);
  });
}

for (const phase of ['forward', 'loss', 'backward']) {
  test(`a tensor that a loss of one's own trains keeps what earlier steps added when one fails: ${phase}`, async () => {
    const encoder = await textEncoder('float32');
    const scale = Tensor.from(2.5, { device });
    scale.requiresGrad = true;
    let fail = false;
    const gradcache = cacheOf(encoder, {
      loss: (a, b) => {
        const scores = a.matmul(b.t()).mul(scale.exp());
        return fail && phase === 'loss' ? scores.mul(NaN).sum() : scores.logSoftmax(1).mean().neg();
      },
    });
    await gradcache.step(inputs);
    const before = scale.grad!.item();
    assert.notEqual(before, 0);
    fail = true;
    const onProgress = (progress: { phase: string }): void => {
      if (progress.phase === phase && phase !== 'loss') throw new Error('as if');
    };
    await assert.rejects(gradcache.step(inputs, { onProgress }), /as if|NON_FINITE|not finite|NaN/i);
    assert.equal(scale.grad!.item(), before);
  });
}

test('an optimizer and a step at once are refused, and leave everything as it is', async () => {
  const encoder = await textEncoder('float32');
  const gradcache = cacheOf(encoder);
  const optimizer = new AdamW(encoder.parameters(), { lr: 1e-2 });
  await gradcache.step(inputs);
  const updating = optimizer.step();
  await assert.rejects(gradcache.step(inputs), fails('INPUT', /optimizer.step\(\) is still running/));
  await assert.rejects(optimizer.step(), fails('INPUT', /still at work/));
  await updating;
  const stepping = gradcache.step(inputs);
  await new Promise(setImmediate);
  await assert.rejects(optimizer.step(), fails('INPUT', /gradcache.step\(\) is still running/));
  await assert.rejects(optimizer.zeroGrad(), fails('INPUT', /gradcache.step\(\) is still running/));
  await stepping;
  await optimizer.step();
});

test('what is saved is of one moment: an update meanwhile is refused', async (t) => {
  const encoder = await textEncoder('float32');
  const optimizer = new AdamW(encoder.parameters(), { lr: 1e-2 });
  await cacheOf(encoder).step(inputs);
  await optimizer.step();
  const folder = join(await temporaryFolder(t), 'model');
  for (const read of [() => encoder.save(folder), () => optimizer.state()]) {
    const reading = read();
    await assert.rejects(optimizer.step(), fails('INPUT', /save\(\) or state\(\) is still running/));
    await reading;
    const updating = optimizer.step();
    await assert.rejects(read(), fails('INPUT', /optimizer.step\(\) is still running/));
    await updating;
  }
});

test('AdamW refuses views that are not dense, groups it does not know, and rates that are no numbers', async () => {
  const base = Tensor.from([1, 1, 1, 1, 1, 1, 1, 1], { shape: [2, 4] });
  const view = base.narrow(1, 0, 2).detach();
  const make = (tensor: Tensor) => new AdamW([{ name: 'p', tensor, decay: false }], { lr: 0.1 });
  assert.throws(() => make(view), fails('INPUT', /strides \[4, 1\]/));
  make(base.t().detach()); // in another order, but with nothing between
  const encoder = await textEncoder('float32');
  const parameters = encoder.parameters();
  for (const group of [{ lr: 1 }, { weight_decay: 0 }, { lrscale: 2 }])
    assert.throws(() => new AdamW([{ parameters, ...group }], { lr: 1e-3 }), fails('INPUT', /no option/));
  const optimizer = new AdamW(parameters, { lr: 1e-3 });
  await cacheOf(encoder).step(inputs);
  for (const lr of [NaN, undefined, -1]) {
    optimizer.lr = lr as number;
    await assert.rejects(optimizer.step(), fails('INPUT', /lr/));
  }
  optimizer.lr = 1e-3;
  optimizer.dispose();
  await assert.rejects(optimizer.step(), fails('DISPOSED'));
});

test('options that do not exist are refused where they would have no effect', async () => {
  const encoder = await textEncoder('float32');
  assert.throws(() => batches([], { size: 2, uniqueText: true } as never), fails('INPUT', /uniqueText/));
  assert.throws(() => readPairs('x.jsonl', { column: ['a'] } as never), fails('INPUT', /column/));
  const schedule = { lr: 1, warmupSteps: 5, total: 10 };
  assert.throws(() => linearSchedule(schedule), fails('INPUT', /warmupSteps/));
  assert.throws(() => constantSchedule({ lr: 1, total: 3 } as never), fails('INPUT', /total/));
  assert.throws(() => linearSchedule({ lr: 1, total: 10 })(undefined as never), fails('INPUT', /step/));
  await assert.rejects(encoder.tokenize(['w1'], { longest: 4 } as never), fails('INPUT', /longest/));
  await assert.rejects(encoder.encode(['w1'], { normalize: false } as never), fails('INPUT', /normalize/));
});

test('graphs that keep what an operator may write go on working', async () => {
  const x = Tensor.from([1, 2, 3, 4, 5, 6], { shape: [3, 2], device });
  x.requiresGrad = true;
  const [average, variance] = [call('aten::zeros', [2], { device }), call('aten::ones', [2], { device })];
  const [y] = call<Tensor[]>(
    'aten::_native_batch_norm_legit',
    x,
    null,
    null,
    average,
    variance,
    true,
    0.1,
    1e-5,
  );
  const kept = x.exp();
  call('aten::retain_grad', kept);
  const failed = x.mul(2);
  const both = failed.mul(failed);
  assert.throws(() => call('aten::add_.Tensor', failed, Tensor.from([1, 2, 3, 4, 5, 6, 7], { device })));
  await backward([y!.mul(y!).sum(), kept.sum(), both.sum()], [null, null, null]);
  assert.ok(x.grad!.valuesSync().every((value) => Number.isFinite(Number(value))));
});
