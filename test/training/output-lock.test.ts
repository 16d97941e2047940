import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { beside } from '../../lib/files/names-beside.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { OutputLock } from '../../lib/training/output-lock.js';
import { tidyOutput } from '../../lib/training/tidy-output.js';
import { train } from '../../lib/training/train.js';
import { digests, record, shortRun, temporaryFolder } from './support.js';

const MODULE = new URL('../../lib/training/output-lock.js', import.meta.url).href;
const HOLDING = `
  const { OutputLock } = await import(${JSON.stringify(MODULE)});
  await OutputLock.take(process.argv[1]);
  console.log('held');
  setInterval(() => {}, 1000);
`;

/** A process that holds the lock of a folder until it is killed. */
async function holding(output: string): Promise<() => Promise<void>> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDING, output], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
}

const inUse = { code: 'INPUT', message: /is in use: process \d+ on .* has been training into it since/ };

test('a second run into a folder is refused and touches nothing in it, until the first has been killed', async (t) => {
  const { config } = await shortRun(t);
  const { output } = config;
  await mkdir(join(output, 'checkpoint-4.0000123000000.tmp'), { recursive: true }); // as the first would be writing it
  await writeFile(join(output, 'checkpoint-4.0000123000000.tmp', 'config.json'), '{}');
  const kill = await holding(output);
  const before = await digests(output);
  for (const resume of [false, true]) await assert.rejects(train({ ...config, resume }), inUse);
  assert.deepEqual(await digests(output), before);
  await kill();
  await record({ ...config, steps: 1 });
  assert.deepEqual((await readdir(output)).sort(), ['metrics.jsonl', 'model', 'settings.json']);
});

test('two runs of one process do not share a folder either, and one that fails gives it back', async (t) => {
  const { config } = await shortRun(t);
  const runs = await Promise.allSettled([train({ ...config, steps: 2 }), train({ ...config, steps: 2 })]);
  const refused = runs.filter((run) => run.status === 'rejected');
  assert.equal(refused.length, 1);
  // It may look at the lock before the other has written its name into it.
  assert.match(
    String(refused[0]!.reason),
    /is in use: (process \d+ on .* has been training into it since|another run)/,
  );
  const output = `${config.output}-other`;
  await assert.rejects(train({ ...config, output, maxLength: 9999 }));
  await assert.rejects(readdir(output), { code: 'ENOENT' }); // the run made it and left nothing in it
});

test('of many that find the lock of a dead process one gets it', async (t) => {
  const output = await temporaryFolder(t);
  const path = join(output, 'train.lock');
  await (
    await holding(output)
  )();
  const dead = await readFile(path, 'utf8');
  for (let round = 0; round < 100; round++) {
    await writeFile(path, dead);
    const all = await Promise.allSettled(Array.from({ length: 8 }, () => OutputLock.take(output)));
    const got = all.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    assert.equal(got.length, 1);
    for (const one of all) if (one.status === 'rejected') assert.match(String(one.reason), /is in use: /);
    await got[0]!.require();
    await got[0]!.release();
    assert.deepEqual(await readdir(output), []);
  }
  // A process that was killed while it removed one:
  await writeFile(path, dead);
  await writeFile(`${path}.turn`, '');
  const longAgo = new Date(Date.now() - 11_000);
  await utimes(`${path}.turn`, longAgo, longAgo);
  await (await OutputLock.take(output)).release();
  await mkdir(path);
  await assert.rejects(OutputLock.take(output), {
    code: 'INPUT',
    message: /train\.lock cannot be read: EISDIR/,
  });
});

test('a lock of another machine, of another thread, or half written holds for a minute after its last sign of life', async (t) => {
  const output = await temporaryFolder(t);
  const path = join(output, 'train.lock');
  const own = await OutputLock.take(output);
  const holder = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  await own.release();
  for (const content of [
    { ...holder, system: 'another', host: 'elsewhere', pid: 1 },
    { ...holder, thread: 77 },
    {},
    null,
    { ...holder, pid: 'x' },
    undefined,
  ]) {
    await writeFile(path, content === undefined ? '{"id": "' : JSON.stringify(content));
    await assert.rejects(OutputLock.take(output), { code: 'INPUT', message: /is in use: (?!.*undefined)/ });
    const longAgo = new Date(Date.now() - 61_000);
    await utimes(path, longAgo, longAgo);
    await (await OutputLock.take(output)).release();
  }
  // The number of a process that has come again: another program, that started later.
  await writeFile(path, JSON.stringify({ ...holder, pid: process.ppid, started: '1' }));
  await (await OutputLock.take(output)).release();
});

test('a worker thread that is terminated leaves a lock that still holds while it may be alive', async (t) => {
  const output = await temporaryFolder(t);
  const worker = new Worker(
    `import(${JSON.stringify(MODULE)}).then(({ OutputLock }) => OutputLock.take(${JSON.stringify(output)}))
       .then(() => require('node:worker_threads').parentPort.postMessage('held'));`,
    { eval: true },
  );
  await once(worker, 'message');
  await assert.rejects(OutputLock.take(output), inUse);
  await worker.terminate();
});

test('a run that has lost its folder to another writes nothing more', async (t) => {
  const { config } = await shortRun(t);
  const path = join(config.output, 'train.lock');
  const run = train(
    { ...config, checkpoint: { every: 2 } },
    {
      onEvent: (event) => {
        if (event.type === 'step' && event.step === 1) stolen = steal();
      },
    },
  );
  let stolen: Promise<void> | undefined;
  const steal = async () => {
    const holder = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...holder, id: 'other' }));
  };
  await assert.rejects(run, inUse);
  await stolen;
  assert.deepEqual((await readdir(config.output)).sort(), ['metrics.jsonl', 'settings.json', 'train.lock']);
});

test('files of the user in a folder that was set aside come back, whenever the process was killed', async (t) => {
  const { folder, config } = await shortRun(t);
  const model = await TextEncoder.load(config.model as string);
  t.after(() => model.dispose());
  const output = join(folder, 'out');
  await mkdir(output);
  const own = { 'README.md': 'mine', '.git/HEAD': 'ref', 'notes/a.txt': 'a' };
  const put = async (at: string) => {
    for (const [name, text] of Object.entries(own)) {
      await mkdir(join(at, name, '..'), { recursive: true });
      await writeFile(join(at, name), text);
    }
  };
  const place = join(output, 'model');
  const aside = beside(place, 'old');
  await model.save(place);
  await put(place);
  const whole = await digests(place);
  // Killed before the new folder came:
  await rename(place, aside);
  await tidyOutput(output);
  assert.deepEqual(await digests(place), whole);
  // Killed after it came, before anything or after one thing was moved over:
  const replaced = async (): Promise<void> => {
    await model.save(join(folder, 'next'));
    await rename(place, aside);
    await rename(join(folder, 'next'), place);
  };
  for (const moved of [[], ['notes']]) {
    await replaced();
    for (const name of moved) await rename(join(aside, name), join(place, name));
    await tidyOutput(output);
    assert.deepEqual(await digests(place), whole);
    assert.deepEqual(await readdir(output), ['model']);
  }
  // What has a namesake in the new folder is kept beside it.
  await replaced();
  await writeFile(join(place, 'README.md'), 'newer');
  await tidyOutput(output);
  assert.equal(await readFile(join(place, 'README.md'), 'utf8'), 'newer');
  assert.equal(await readFile(join(aside, 'README.md'), 'utf8'), 'mine');
  assert.deepEqual(await readdir(aside), ['README.md']);
});
