import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  clipGradNorm,
  GradCache,
  GradCacheError,
  infoNCE,
  ModuleEncoder,
  Tensor,
  type StepOptions,
} from '../../lib/index.js';
import { assertSameGradients } from '../oracle/compare.js';
import { gradients, tenTexts, textEncoder } from '../exactness/support.js';
import { fails } from './failures.js';

const good = [tenTexts(1), tenTexts(2)] as const;

test('two steps at once on one GradCache are refused, on two they both work', async () => {
  const encoder = await textEncoder('float32');
  const make = () =>
    new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 } });
  const one = make();
  const first = one.step(good);
  await assert.rejects(one.step(good), fails('INPUT', /running/));
  const results = await Promise.all([first, make().step(good), make().step(good)]);
  assert.ok(results.every(({ loss }) => loss === results[0].loss));
});

for (const how of ['an abort', 'a retry'] as const) {
  test(`steps of two GradCaches that share an encoder keep what the other added after ${how}`, async () => {
    const run = async (both: boolean) => {
      const encoder = await textEncoder('float32');
      const make = () =>
        new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 } });
      const controller = new AbortController();
      let left = both ? 1 : 0;
      const onProgress = ({ phase }: { phase: string }): void => {
        if (phase !== 'backward' || left-- !== 1) return;
        if (how === 'an abort') controller.abort();
        else throw new GradCacheError('OUT_OF_MEMORY', 'as if');
      };
      const first = make().step(good, { seed: 1, onProgress, signal: controller.signal });
      const second = make().step([good[1], good[0]], { seed: 2 });
      const [one] = await Promise.allSettled([first, second]);
      if (both) assert.equal(one.status, how === 'an abort' ? 'rejected' : 'fulfilled');
      return { encoder, one };
    };
    const whole = await run(false);
    const failed = await run(true);
    if (how === 'a retry')
      assertSameGradients(await gradients([failed.encoder]), await gradients([whole.encoder]), 1e-5, how);
    else {
      const alone = await textEncoder('float32');
      const gradcache = new GradCache({
        encoders: [alone, alone],
        loss: infoNCE(),
        chunk: { sequences: 3 },
      });
      await gradcache.step([good[1], good[0]], { seed: 2 });
      assert.deepEqual(await gradients([failed.encoder]), await gradients([alone]));
    }
  });
}

test('a step that is refused leaves no rejected input unheard', async () => {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  const inputs = () => [good[0], Promise.reject(new Error('as if'))];
  const options = { sgnal: 1 } as StepOptions;
  await assert.rejects(gradcache.step(inputs(), options), fails('INPUT', /sgnal/));
  const running = gradcache.step(good);
  await assert.rejects(gradcache.step(inputs()), fails('INPUT', /running/));
  await running;
  await new Promise(setImmediate); // an unheard rejection ends the process, and with it this test
});

test('a parameter that two encoders share counts once', async () => {
  const W = Tensor.from([1, 2, 3, 4], { shape: [2, 2] });
  W.requiresGrad = true;
  const make = (): ModuleEncoder =>
    new ModuleEncoder({
      forward: (rows: Tensor) => rows.matmul(W),
      parameters: () => [{ name: 'W', tensor: W, decay: true }],
    });
  const gradcache = new GradCache({ encoders: [make(), make()], loss: infoNCE() });
  const rows = Tensor.from([1, 0, 0, 1, 2, 1], { shape: [3, 2] });
  await gradcache.step([rows, rows.mul(0.5)]);
  assert.equal(gradcache.parameters().length, 1);
  const twice = [...gradcache.parameters(), ...gradcache.parameters()];
  const norm = await clipGradNorm(twice, Infinity);
  const values = (await W.grad!.values()) as Float32Array;
  assert.ok(Math.abs(norm - Math.hypot(...values)) <= 1e-6 * norm);
  await clipGradNorm(twice, norm / 2);
  assert.ok(Math.abs(Math.hypot(...((await W.grad!.values()) as Float32Array)) - norm / 2) <= 1e-5 * norm);
});
