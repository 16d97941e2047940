import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TrainEvent } from '../../lib/training/events.js';
import { eventsOf, MetricsFile } from '../../lib/training/metrics.js';
import { temporaryFolder } from './support.js';

function saved(step: number): TrainEvent {
  return { type: 'saved', step, folder: 'x', waited: 0 };
}

async function stepsIn(path: string): Promise<number[]> {
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  return lines.map((line) => (JSON.parse(line) as { step: number }).step);
}

async function opened(path: string, step: number): Promise<MetricsFile> {
  const metrics = new MetricsFile(path, step);
  await metrics.open();
  return metrics;
}

test('lines come in order, chunks are left out, and a resumed run drops what it makes again', async (t) => {
  const path = join(await temporaryFolder(t), 'metrics.jsonl');
  const first = await opened(path, 0);
  for (const step of [1, 2, 3]) first.write(saved(step));
  first.write({ type: 'chunk', step: 3, phase: 'forward', chunk: 1, chunks: 2 });
  await first.finish();
  assert.deepEqual(await stepsIn(path), [1, 2, 3]);
  await writeFile(path, `${await readFile(path, 'utf8')}{"type":"step","st`);
  const second = await opened(path, 2);
  second.write(saved(3));
  await second.finish();
  assert.deepEqual(await stepsIn(path), [1, 2, 3]);
  await opened(path, 0);
  assert.equal(await readFile(path, 'utf8'), '');
});

test('half a line and what is no object are no events', async (t) => {
  const folder = await temporaryFolder(t);
  assert.deepEqual(await eventsOf(folder), []);
  const lines = [JSON.stringify(saved(1)), 'null', '3', '{"type":"step","st'];
  await writeFile(join(folder, 'metrics.jsonl'), lines.join('\n'));
  assert.deepEqual(await eventsOf(folder), [saved(1)]);
});

test('a line that cannot be written is an error at the next one', async (t) => {
  const folder = await temporaryFolder(t);
  const metrics = await opened(join(folder, 'metrics.jsonl'), 0);
  await rm(folder, { recursive: true });
  metrics.write(saved(1));
  const failed = { code: 'INPUT', message: /metrics\.jsonl cannot be written: ENOENT/ };
  await assert.rejects(metrics.finish(), failed);
  assert.throws(() => metrics.write(saved(2)), failed);
});
