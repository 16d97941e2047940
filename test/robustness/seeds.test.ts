import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { call, callAsync, Tensor, tidy, withSeed } from '../../lib/index.js';

const draw = () =>
  tidy(() =>
    call(
      'aten::cat',
      Array.from({ length: 400 }, () => call('aten::randn', [50])),
    ),
  ).valuesSync();

test('what is drawn without a seed, by callAsync or another thread, is not missing under one', async () => {
  const alone = withSeed(5, draw);
  const numbers = Tensor.from(new Float32Array(100_000));
  const others = Array.from({ length: 60 }, () => callAsync('aten::normal_', numbers, 0, 1));
  await setTimeout(2); // the engine is at work
  for (let run = 0; run < 5; run++)
    assert.deepEqual(withSeed(5, draw), alone, `run ${run}, beside callAsync`);
  await Promise.all(others);

  const library = new URL('../../lib/index.js', import.meta.url).href;
  const drawing = `
    import { parentPort } from 'node:worker_threads';
    import { call, Tensor } from '${library}';
    const numbers = Tensor.from(new Float32Array(100_000));
    let stopped = false;
    parentPort.once('message', () => (stopped = true));
    parentPort.postMessage('drawing');
    (function again() {
      call('aten::normal_', numbers, 0, 1).dispose();
      if (!stopped) setImmediate(again);
    })();`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(drawing)}`));
  await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  for (let run = 0; run < 5; run++) assert.deepEqual(withSeed(5, draw), alone, `run ${run}, beside a thread`);
  worker.postMessage('stop');
  await new Promise((resolve) => worker.once('exit', resolve));
});

test('a process that exits under a seed does not wait for those that wait for their turn', () => {
  const program = `
    import { Worker } from 'node:worker_threads';
    const { call, callAsync, Tensor, withSeed } = await import(process.argv[1]);
    const waiting = \`
      import { parentPort, workerData } from 'node:worker_threads';
      const { call, withSeed } = await import(workerData);
      call('aten::randn', [2]);
      parentPort.once('message', () => withSeed(2, () => 1)).postMessage('ready');\`;
    const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(waiting)), { workerData: process.argv[1] });
    await new Promise((resolve) => worker.once('message', resolve));
    withSeed(1, () => {
      worker.postMessage('draw');
      callAsync('aten::normal_', Tensor.from([1, 2]), 0, 1).catch(() => undefined);
      const end = Date.now() + 300;
      while (Date.now() < end);
      process.exit(7);
    });`;
  const library = new URL('../../lib/index.js', import.meta.url).href;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program, library], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.equal(status, 7, stderr);
});
