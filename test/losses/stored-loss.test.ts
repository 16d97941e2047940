import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  crossBatchMemory,
  distanceHead,
  embedDistill,
  GradCacheError,
  infoNCE,
  loadLoss,
  matryoshka,
  saveLoss,
  sigLIP,
  softmaxClassification,
  Tensor,
  TextEncoder,
  writeSafetensors,
  type LossWithGradients,
} from '../../lib/index.js';
import { train } from '../../lib/training/train.js';
import { record, shortRun, temporaryFolder, writeRows, pairs } from '../training/support.js';

const values = async (loss: LossWithGradients): Promise<number[]> =>
  (
    await Promise.all(
      loss.parameters().map(async ({ tensor }) => [...((await tensor.values()) as Float32Array)]),
    )
  ).flat();

const head = (start: number) => {
  const tensor = Tensor.from([start, start + 1]);
  tensor.requiresGrad = true;
  return distanceHead({
    forward: (a, b) => a.mul(tensor).matmul(b.t()),
    parameters: () => [{ name: 'own', tensor, decay: true }],
  });
};

test('what losses train is saved and comes back, whatever trains it', async (t) => {
  const folder = await temporaryFolder(t);
  const learned = (initial: number) => infoNCE({ temperature: { initial, learned: true } });
  const makes: Record<string, (seed: number) => LossWithGradients> = {
    classifier: (seed) => softmaxClassification({ dimension: 4, classes: 3, seed }),
    projection: (seed) => embedDistill({ projection: { from: 4, to: 2, seed } }),
    temperature: (seed) => learned(0.1 * (seed + 1)),
    siglip: (seed) => sigLIP({ scale: seed + 1 }),
    wrapped: (seed) =>
      crossBatchMemory(matryoshka(learned(0.2 * (seed + 1)), { dimensions: [2] }), { capacity: 2 }),
    head: (seed) => head(seed),
  };
  for (const [name, make] of Object.entries(makes)) {
    const [one, other] = [make(1), make(2)];
    assert.notDeepEqual(await values(one), await values(other), name);
    await saveLoss(one, folder);
    await loadLoss(other, folder);
    assert.deepEqual(await values(other), await values(one), name);
  }
  // A classifier for the same model in another type.
  await saveLoss(makes.classifier!(1), folder);
  const double = softmaxClassification({ dimension: 4, classes: 3, dtype: 'float64' });
  await loadLoss(double, folder);
  assert.deepEqual(await values(double), await values(makes.classifier!(1)));
});

test('what does not fit is refused, with the loss as it was', async (t) => {
  const folder = await temporaryFolder(t);
  const loss = softmaxClassification({ dimension: 4, classes: 3 });
  const before = await values(loss);
  await assert.rejects(loadLoss(loss, join(folder, 'none')), { code: 'CHECKPOINT', message: /none/ });
  await saveLoss(softmaxClassification({ dimension: 4, classes: 2 }), folder);
  await assert.rejects(loadLoss(loss, folder), {
    code: 'CHECKPOINT',
    message: /of other settings: of another shape/,
  });
  await saveLoss(sigLIP(), folder);
  await assert.rejects(loadLoss(loss, folder), { code: 'CHECKPOINT', message: /missing: loss\.classifier/ });
  const integers = loss.parameters().map(({ name, tensor: { shape, size } }) => {
    return [name, { dtype: 'int32', shape, bytes: new Uint8Array(4 * size) }] as const;
  });
  await writeSafetensors(join(folder, 'loss.safetensors'), integers);
  await assert.rejects(loadLoss(loss, folder), { code: 'CHECKPOINT', message: /is int32/ });
  for (const nothing of [infoNCE(), (() => 1) as never])
    for (const act of [saveLoss, loadLoss])
      await assert.rejects(act(nothing, folder), {
        code: 'INPUT',
        message: /parameters\(\) that are trained/,
      });
  for (const odd of [undefined, null, 3, {}, Symbol('1')])
    for (const act of [saveLoss, loadLoss]) {
      await assert.rejects(act(odd as never, folder), GradCacheError);
      await assert.rejects(act(loss, odd as never), GradCacheError);
    }
  assert.deepEqual(await values(loss), before);
});

test('train keeps it beside the model, and a further run can begin with it', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs().map(({ anchor, positive }, k) => ({ a: anchor, b: positive, class: k % 3 }));
  const run = {
    ...config,
    data: await writeRows(join(folder, 'classes.jsonl'), rows),
    columns: ['a', 'b'],
    label: 'class',
    loss: { kind: 'softmax', classes: 3 },
    steps: 2,
    checkpoint: { every: 1 },
  } as const;
  await train(run);
  const model = join(config.output, 'model');
  for (const place of [model, join(config.output, 'checkpoint-1')])
    assert.ok((await readdir(place)).includes('loss.safetensors'), place);
  const classifier = softmaxClassification({ dimension: 16, classes: 3, seed: 77 });
  await loadLoss(classifier, model);

  // A further run tells that it begins anew, or begins with it; a step of learning rate 0 leaves it.
  const further = { ...run, model, steps: 1, checkpoint: undefined, optimizer: { lr: 1e-30 } } as const;
  const anew = await record({ ...further, output: join(folder, 'anew') });
  assert.ok(anew.events.some((event) => event.type === 'note' && /lossFrom/.test(event.message)));
  const goesOn = await record({ ...further, output: join(folder, 'on'), lossFrom: model });
  assert.ok(!goesOn.events.some((event) => event.type === 'note'));
  const kept = softmaxClassification({ dimension: 16, classes: 3 });
  await loadLoss(kept, join(folder, 'on', 'model'));
  assert.deepEqual(await values(kept), await values(classifier));
  await loadLoss(kept, join(folder, 'anew', 'model'));
  assert.notDeepEqual(await values(kept), await values(classifier));

  const wrong: [object, RegExp][] = [
    [{ lossFrom: config.model }, /loss\.safetensors/],
    [{ lossFrom: 3 }, /config\.lossFrom/],
    [{ lossFrom: model, loss: { kind: 'cosine-similarity' } }, /config\.lossFrom.*trains nothing/],
    [{ lossFrom: model, loss: { kind: 'binary-cross-entropy' } }, /config\.lossFrom is for losses/],
  ];
  for (const [settings, message] of wrong)
    await assert.rejects(record({ ...further, output: join(folder, 'wrong'), ...settings }), {
      message,
    });
  // A model that replaces another leaves nothing of that one's loss.
  const loaded = await TextEncoder.load(model);
  await loaded.save(model);
  loaded.dispose();
  assert.ok(!(await readdir(model)).includes('loss.safetensors'));
});
