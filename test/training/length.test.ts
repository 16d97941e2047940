/** How long a run is: told by its files, counted before it begins, or counted while it trains. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { GradCacheError } from '../../lib/errors.js';
import type { TrainConfig } from '../../lib/training/config.js';
import { withColumns } from '../../lib/training/columns.js';
import { countRows } from '../../lib/training/counted-rows.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { FileHeads } from '../../lib/data/file-heads.js';
import { RunData } from '../../lib/training/data.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { BackgroundCount } from '../../lib/training/run-length.js';
import { train } from '../../lib/training/train.js';
import { digests, pairs, record, root, shortRun, writeRows } from './support.js';

const startOf = (events: readonly TrainEvent[]) => {
  const [start] = events;
  assert.ok(start?.type === 'start');
  return start;
};

test('Parquet says how long a run is, and is read once, where batches are filled by rows alone', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = join(root, 'test', 'data', 'fixtures', 'none.parquet');
  const streamed = { shuffle: false, checkpoint: false } as const;
  const run = { ...config, ...streamed, data, steps: undefined, epochs: 2, batch: 20 };
  const counting = t.mock.method(RunData.prototype, 'count');
  const told = await record({ ...run, loss: { maskDuplicates: true } });
  assert.equal(counting.mock.callCount(), 0);
  assert.deepEqual([startOf(told.events).rows, startOf(told.events).steps], [50, 6]);
  assert.deepEqual(
    told.steps.map(({ pairs }) => pairs),
    [20, 20, 10, 20, 20, 10],
  );
  const filled = await withColumns(readTrainConfig({ ...config, batch: 14 }), new FileHeads(), undefined);
  const counted = { leftOver: 0, small: 1, smallest: 8 };
  assert.deepEqual(countRows(filled, null, { rows: 50, epochs: 2 }), { rows: 50, batches: 8, ...counted });
  assert.equal(countRows(filled, null, { rows: 48, epochs: 1 }).leftOver, 6);
  // Where texts decide which rows are in a batch, or a bad row is skipped, all is read.
  await assert.rejects(record({ ...run, output: join(folder, 'unique') }), /50 rows with different texts/);
  await record({ ...run, loss: { maskDuplicates: true }, onBadLine: 'skip', output: join(folder, 'skip') });
  assert.equal(counting.mock.callCount(), 2);
  // Rows that are held are as many as were read, without those that were skipped.
  const some = await writeRows(join(folder, 'some.jsonl'), [{ anchor: 'alone' }, ...pairs(41)]);
  const held = {
    ...run,
    data: some,
    onBadLine: 'skip',
    shuffle: true,
    output: join(folder, 'held'),
  } as const;
  const { events } = await record({ ...held, loss: { maskDuplicates: true } });
  const start = events.find((event) => event.type === 'start');
  assert.deepEqual([start?.rows, start?.leftOver, start?.steps], [41, 1, 4]);
  assert.equal(counting.mock.callCount(), 2);
});

/** A run that reads its data in the order of its files, with a warm-up of a number of steps. */
async function streamed(t: Parameters<typeof shortRun>[0]): Promise<{ folder: string; config: TrainConfig }> {
  const { folder, config } = await shortRun(t);
  const { steps: _, ...others } = config;
  const schedule = { kind: 'linear', warmup: 2 } as const;
  return { folder, config: { ...others, shuffle: false, epochs: 4, schedule, checkpoint: false } };
}

test('a run that is counted while it trains makes the updates of one that was told its length', async (t) => {
  const { folder, config } = await streamed(t);
  const { epochs: _, ...others } = config;
  for (const [accumulate, count, shuffle] of [
    [1, 12, false],
    [5, 2, { buffer: 9 }],
    [2, 6, true],
  ] as const) {
    const output = join(folder, `told-${accumulate}`);
    const told = await record({ ...others, shuffle, accumulate, steps: count, output });
    const own = { shuffle, accumulate, output: join(folder, `counted-${accumulate}`) };
    const counted = await record({ ...config, ...own });
    assert.equal(startOf(counted.events).rows, null);
    const shown = ({ steps }: typeof counted) =>
      steps.map(({ step, lr, loss, epoch }) => [step, lr, loss, epoch]);
    assert.deepEqual(shown(counted), shown(told));
    const last = counted.steps.at(-1)!;
    assert.deepEqual([last.steps, last.secondsLeft], [count, 0]);
    assert.match(JSON.stringify(counted.events), new RegExp(`the data was counted: 60 rows, ${count} steps`));
    assert.deepEqual(
      await digests(join(folder, `counted-${accumulate}`, 'model')),
      await digests(join(output, 'model')),
    );
  }
});

test('what a listener throws when the count is told ends the run, and not the process', async (t) => {
  const { config } = await streamed(t);
  const onEvent = (event: TrainEvent): void => {
    if (event.type === 'note' && event.message.startsWith('the data was counted')) throw new Error('enough');
  };
  await assert.rejects(train(config, { onEvent }), /enough/);
});

test('a length that is needed from the start is counted before, and what is wrong with it is told before', async (t) => {
  const { folder, config } = await streamed(t);
  const part = {
    ...config,
    schedule: { kind: 'linear', warmup: 0.1 },
    output: join(folder, 'part'),
  } as const;
  assert.equal(startOf((await record(part)).events).rows, 60);
  const constant = {
    ...config,
    schedule: { kind: 'constant', warmup: 0 },
    output: join(folder, 'const'),
  } as const;
  assert.equal(startOf((await record(constant)).events).rows, null);
  const started: TrainEvent[] = [];
  const refused = async (change: Partial<TrainConfig>, message: RegExp): Promise<void> => {
    const run = { ...config, ...change, output: join(folder, 'refused') };
    await assert.rejects(train(run, { onEvent: (event) => started.push(event) }), { code: 'INPUT', message });
  };
  await refused({ schedule: { warmup: 13 } }, /config\.schedule\.warmup is 13, but the run has 12 steps/);
  await refused({ accumulate: 13 }, /config\.accumulate is 13; a number up to 12/);
  await refused({ batch: 200 }, /the 60 rows .*do not fill half a batch of 200/);
  assert.deepEqual(started, []);
  const bad = await writeRows(join(folder, 'bad.jsonl'), [...pairs(), { anchor: 'alone' }]);
  await refused({ data: bad }, /bad\.jsonl, line 61: it has no "positive"/);
});

test('data that ends before the updates that were counted is an error', async (t) => {
  const { config } = await streamed(t);
  const counted = { rows: 100, leftOver: 0, batches: 20, small: 0, smallest: 20 };
  t.mock.method(RunData.prototype, 'count', () => Promise.resolve(counted));
  await assert.rejects(record({ ...config, schedule: {} }), {
    code: 'INPUT',
    message: /The data ended after 12 steps of 20/,
  });
});

test('an update waits until it is known whether it is the last', async () => {
  let tell: (batches: number) => void = () => undefined;
  let end: (batches: number) => void = () => undefined;
  let fail: (error: Error) => void = () => undefined;
  let signal: AbortSignal | undefined;
  const begin = () =>
    new BackgroundCount(
      (stopped, onBatch) => {
        [signal, tell] = [stopped, onBatch];
        return new Promise<{ batches: number }>((resolve, reject) => {
          end = (batches) => resolve({ batches });
          fail = reject;
        });
      },
      { accumulate: 2, signal: undefined, stepsOf: (batches) => Math.floor(batches / 2) },
    );
  const settled = async <T>(promise: Promise<T>): Promise<T | 'waits'> =>
    Promise.race([promise, new Promise<'waits'>((resolve) => setImmediate(resolve, 'waits'))]);
  const count = begin();
  const [first, second] = [count.isLast(1), count.isLast(2)];
  tell(3);
  assert.equal(await settled(first), 'waits');
  tell(4);
  assert.equal(await settled(first), false);
  assert.equal(await settled(second), 'waits');
  assert.equal(count.known, null);
  end(5);
  assert.deepEqual(
    [await second, await count.total(), count.known, await count.isLast(1)],
    [true, 2, 2, false],
  );
  const broken = begin();
  const waiting = broken.isLast(1);
  fail(new GradCacheError('INPUT', 'a bad line'));
  await assert.rejects(waiting, /a bad line/);
  await assert.rejects(broken.total(), /a bad line/);
  begin().stop();
  assert.equal(signal?.aborted, true);
});
