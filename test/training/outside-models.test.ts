import assert from 'node:assert/strict';
import { cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { requireOutsideModels } from '../../lib/training/outside-models.js';
import { train } from '../../lib/training/train.js';
import { digests, shortRun } from './support.js';

test('no new run puts its files into a model folder, at whatever depth and by whatever name', async (t) => {
  const { folder, config } = await shortRun(t);
  const model = config.model as string;
  await mkdir(join(folder, 'old-layout'));
  await cp(join(model, 'modules.json'), join(folder, 'old-layout', 'modules.json'));
  await symlink(model, join(folder, 'link'));
  const before = await digests(folder);
  for (const output of [
    model,
    `${model}/`,
    join(model, 'runs', 'a'),
    join(folder, 'link'),
    join(folder, 'old-layout', 'run'),
  ]) {
    for (const resume of [false, true]) {
      await assert.rejects(train({ ...config, output, resume }), {
        code: 'INPUT',
        message: /^config\.output is .*(, a|, in the) model folder.*; a run needs a folder outside of it/,
      });
      assert.deepEqual(await digests(folder), before);
    }
  }
});

test('a run whose folder lies beside a model, or holds its own, is no fault', async (t) => {
  const { folder, config } = await shortRun(t);
  await train({ ...config, steps: 1, output: join(folder, 'start-run'), checkpoint: { every: 1 } });
  await train({ output: join(folder, 'start-run'), resume: true, steps: 2 });
});

test('a configuration beside vectors is no model folder', async (t) => {
  const { folder, config } = await shortRun(t);
  await writeFile(join(folder, 'config.json'), '{}');
  await writeFile(join(folder, 'vectors.safetensors'), '');
  await requireOutsideModels(config.output);
  for (const name of ['model-00001-of-00002.safetensors', 'pytorch_model.bin', 'tf_model.h5', 'model.onnx']) {
    await writeFile(join(folder, name), '');
    await assert.rejects(requireOutsideModels(config.output), { code: 'INPUT' }, name);
    await rm(join(folder, name));
  }
});
