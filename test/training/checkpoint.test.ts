import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { beside } from '../../lib/files/names-beside.js';
import {
  checkpointFolder,
  listCheckpoints,
  pruneCheckpoints,
  readCheckpoint,
  writeCheckpoint,
} from '../../lib/training/checkpoint.js';
import type { Checkpoint } from '../../lib/training/checkpoint.js';
import { CheckpointWriter } from '../../lib/training/checkpoint-writer.js';
import { tidyOutput } from '../../lib/training/tidy-output.js';
import { digests, temporaryFolder } from './support.js';

const CHECKPOINT: Checkpoint = {
  state: {
    step: 4,
    order: { batch: 8 },
    config: { batch: 8 },
    read: { rows: 32, sha256: '0'.repeat(64), all: true },
  },
  optimizer: new Map([
    ['exp_avg.weight', { dtype: 'float32', shape: [1], bytes: new Uint8Array([0, 0, 128, 63]) }],
  ]),
  loss: new Map([['scale', { dtype: 'float64', shape: [], bytes: new Uint8Array(8) }]]),
};

async function saveModel(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'config.json'), '{}');
}

test('what is written is read back', async (t) => {
  const folder = checkpointFolder(await temporaryFolder(t), 4);
  await writeCheckpoint(folder, saveModel, CHECKPOINT);
  assert.deepEqual(await readCheckpoint(folder), CHECKPOINT);
  assert.deepEqual((await readdir(folder)).sort(), ['config.json', 'optimizer.safetensors', 'trainer.json']);
});

test('an error of who is told of a checkpoint is told between two updates, and ends no process', async (t) => {
  const { state, optimizer, loss } = CHECKPOINT;
  const listener = new EventEmitter();
  const told = once(listener, 'told');
  const writer = new CheckpointWriter({
    output: await temporaryFolder(t),
    keep: 2,
    trainee: {
      snapshot: () => Promise.resolve({ save: saveModel }),
      state: () => Promise.resolve({ state, loss }),
    },
    optimizer: { divided: false, state: () => Promise.resolve(new Map(optimizer)) },
    lock: null,
    ranks: null,
    emit: () => {
      listener.emit('told');
      throw new Error('the metrics cannot be written');
    },
  });
  await writer.begin(4, { alone: false, unmeasured: false });
  await told;
  await setTimeout(10); // a promise that fails with no one to hear it would end the process now
  assert.throws(() => writer.check(), /the metrics cannot be written/);
  await writer.finish();
});

test('a model that cannot be saved leaves the checkpoint that was there, and nothing else', async (t) => {
  const output = await temporaryFolder(t);
  const folder = checkpointFolder(output, 4);
  await writeCheckpoint(folder, saveModel, CHECKPOINT);
  const before = await digests(output);
  const failing = writeCheckpoint(folder, () => Promise.reject(new Error('the disk is full')), CHECKPOINT);
  await assert.rejects(failing, /the disk is full/);
  assert.deepEqual(await digests(output), before);
});

test('a process killed while it writes leaves the earlier checkpoint complete and no half of a new one', async (t) => {
  const output = await temporaryFolder(t);
  await writeCheckpoint(checkpointFolder(output, 4), saveModel, CHECKPOINT);
  const before = await digests(output);
  // The child writes the model's first file, says so, and never gets to the end.
  const program = `
    import { mkdir, writeFile } from 'node:fs/promises';
    import { writeCheckpoint } from ${JSON.stringify(new URL('../../lib/training/checkpoint.js', import.meta.url).href)};
    const save = async (folder) => {
      await mkdir(folder, { recursive: true });
      await writeFile(folder + '/config.json', '{}');
      console.log('half');
      await new Promise((resolve) => setTimeout(resolve, 60_000));
    };
    await writeCheckpoint(process.argv[1], save, { state: { step: 8, order: {} }, optimizer: new Map(), loss: new Map() });
  `;
  for (const step of [8, 4]) {
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', program, checkpointFolder(output, step)],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.deepEqual(await listCheckpoints(output), [4]);
    assert.ok((await readdir(output)).some((name) => name.endsWith('.tmp')));
    await tidyOutput(output);
    assert.deepEqual(await digests(output), before);
  }
});

test('a folder that was set aside for one that never came is put back', async (t) => {
  const output = await temporaryFolder(t);
  const folder = checkpointFolder(output, 4);
  await writeCheckpoint(folder, saveModel, CHECKPOINT);
  await rename(folder, beside(folder, 'old'));
  await tidyOutput(output);
  assert.deepEqual(await readCheckpoint(folder), CHECKPOINT);
});

test('all but the newest are removed', async (t) => {
  const output = await temporaryFolder(t);
  for (const step of [2, 10, 4]) await writeCheckpoint(checkpointFolder(output, step), saveModel, CHECKPOINT);
  await pruneCheckpoints(output, 2);
  assert.deepEqual(await readdir(output), ['checkpoint-10', 'checkpoint-4']);
  assert.deepEqual(await listCheckpoints(join(output, 'nowhere')), []);
});

test('damaged checkpoints are refused by name', async (t) => {
  const folder = checkpointFolder(await temporaryFolder(t), 4);
  await writeCheckpoint(folder, saveModel, CHECKPOINT);
  const trainer = join(folder, 'trainer.json');
  for (const [content, message] of [
    ['{"format": 1', /checkpoint-4 is not a checkpoint of a training run/],
    ['{"format": 7, "step": 4, "order": {}}', /has format 7; this version reads formats 1 to 2/],
    ['{"format": 1, "step": -4, "order": {}}', /trainer.json.step is -4/],
    ['{"format": 1, "step": 4}', /order is missing/],
    ['[]', /trainer.json is \[\]; an object is needed/],
  ] as const) {
    await writeFile(trainer, content);
    await assert.rejects(readCheckpoint(folder), { code: 'CHECKPOINT', message });
  }
  await rm(trainer);
  await assert.rejects(readCheckpoint(folder), { code: 'CHECKPOINT', message: /trainer.json/ });
});
