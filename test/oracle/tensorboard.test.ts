/** Files for TensorBoard, read by TensorBoard. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32c } from '../../lib/report/tensorboard/crc32c.js';
import { EventFile } from '../../lib/report/tensorboard/event-file.js';
import { gradcache } from '../cli/program.js';
import { pairs, shortRun, temporaryFolder, writeRows } from '../training/support.js';
import { projectRoot, pythonEnvironment } from './python.js';

interface Read {
  readonly scalars: Readonly<Record<string, readonly (readonly [step: number, value: number])[]>>;
  readonly texts: Readonly<Record<string, readonly [plugin: string, shape: number[], text: string]>>;
}

function readByTensorBoard(folder: string): Read {
  const { status, stdout, stderr } = spawnSync(
    process.env.GRADCACHE_PYTHON || 'python3',
    [join(projectRoot, 'test', 'oracle', 'tensorboard_events.py'), folder],
    { encoding: 'utf8', env: pythonEnvironment() },
  );
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Read;
}

test('the checksum is CRC-32C', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa); // RFC 3720, B.4
});

test('TensorBoard reads the steps, scores and settings of a run; a resumed run takes back what it makes again', async (t) => {
  const { folder, config } = await shortRun(t);
  const events = join(folder, 'events');
  const held = await writeRows(join(folder, 'held.jsonl'), pairs(12));
  const flags = [
    '--model',
    config.model as string,
    '--data',
    config.data as string,
    '--output',
    config.output,
  ];
  const how = ['--batch', '20', '--device', 'cpu', '--eval-data', held, '--eval-every', '2', '--eval-before'];
  const { code, stderr } = await gradcache([
    'train',
    ...flags,
    ...how,
    '--steps',
    '4',
    '--tensorboard',
    events,
  ]);
  assert.equal(code, 0, stderr);
  const { scalars, texts } = readByTensorBoard(events);
  const metrics = (await readFile(join(config.output, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
  const told = metrics.map((line) => JSON.parse(line) as Record<string, unknown>);
  for (const name of ['loss', 'lr', 'gradNorm', 'tokensPerSecond', 'peakMemory'])
    assert.deepEqual(
      scalars[`train/${name}`],
      told
        .filter(({ type }) => type === 'step')
        .map((event) => [event.step, Math.fround(event[name] as number)]),
    );
  assert.deepEqual(
    scalars['eval/recall@10']!.map(([step]) => step),
    [0, 2, 4],
  );
  const [plugin, shape, table] = texts.settings!;
  assert.deepEqual([plugin, shape], ['text', [1]]);
  assert.match(table, /^\| setting \| value \|\n\| --- \| --- \|\n/);
  assert.match(table, /^\| batch \| 20 \|$/m);

  const resumed = new EventFile(events);
  resumed.add({ type: 'start', done: 2, settings: { 'a|b': 'c\nd' } } as { type: string });
  resumed.add({ type: 'step', step: 3, loss: 7.5, lr: NaN } as { type: string });
  await resumed.close();
  assert.equal((await readdir(events)).length, 2);
  const again = readByTensorBoard(events);
  assert.deepEqual(
    again.scalars['train/loss']!.map(([step]) => step),
    [1, 2, 3],
  );
  assert.deepEqual(again.scalars['train/loss']!.at(-1), [3, 7.5]);
  assert.match(again.texts.settings![2], /\| a\\\|b \| c d \|$/);
});

test('a folder that cannot be written is told with the next event, and at the end', async (t) => {
  const file = join(await temporaryFolder(t), 'file');
  await writeRows(file, []);
  const events = new EventFile(join(file, 'events'));
  events.add({ type: 'start' });
  const refused = { code: 'INPUT', message: /events\.out\.tfevents\.\S+ cannot be written: ENOTDIR/ };
  await assert.rejects(events.close(), refused);
  assert.throws(() => events.add({ type: 'step' }), refused);
});
