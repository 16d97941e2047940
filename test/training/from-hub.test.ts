import assert from 'node:assert/strict';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { train, type EvaluationConfig, type TrainConfig, type TrainEvent } from '../../lib/index.js';
import { filesOf, HubServer } from '../hub/hub-server.js';
import { fails } from '../robustness/failures.js';
import { digests, pairs, saveTinyModel, temporaryFolder } from './support.js';

const lines = (rows: readonly object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** A hub with the model org/model, and the data set org/pairs in two files to train on and one to measure. */
async function hubOf(t: TestContext): Promise<{ hub: HubServer; folder: string; config: TrainConfig }> {
  const hub = await HubServer.start(t);
  const folder = await temporaryFolder(t);
  hub.use(t, hub.environment(join(folder, 'home')));
  hub.commit('models/org/model', await filesOf(await saveTinyModel(join(folder, 'start'))));
  const rows = pairs();
  hub.commit('datasets/org/pairs', {
    'README.md': '# Pairs',
    'data/train-1.jsonl': lines(rows.slice(0, 30)),
    'data/train-2.jsonl': lines(rows.slice(30)),
    'data/test.jsonl': lines(rows.slice(0, 10)),
  });
  const config: TrainConfig = {
    model: 'hf:org/model',
    data: 'hf:org/pairs',
    output: join(folder, 'run'),
    batch: 20,
    chunk: { sequences: 8 },
    steps: 4,
    optimizer: { lr: 1e-2 },
    checkpoint: { every: 2 },
    evaluation: { data: 'hf:org/pairs:test' },
    device: 'cpu',
  };
  return { hub, folder, config };
}

test('a run takes model and data from the hub as it takes them from files', async (t) => {
  const { hub, folder, config } = await hubOf(t);
  const events: TrainEvent[] = [];
  const sets = { again: { data: 'hf:org/pairs:test' } };
  const evaluation = { data: 'hf:org/pairs:test', sets };
  await train({ ...config, evaluation }, { onEvent: (event) => events.push(event) });
  assert.ok(events.some(({ type }) => type === 'fetch'));
  const start = events.find((event) => event.type === 'start');
  const [model, data] = ['models/org/model', 'datasets/org/pairs'].map((name) =>
    hub.repositories.get(name)!.refs.get('main'),
  );
  assert.equal(start?.settings['model'], `hf:org/model@${model}`);
  assert.deepEqual(start.settings['data'], [
    `hf:org/pairs@${data}/data/train-1.jsonl`,
    `hf:org/pairs@${data}/data/train-2.jsonl`,
  ]);
  const heldOut = start.settings['evaluation'] as EvaluationConfig;
  for (const file of [heldOut.data, heldOut.sets?.again?.data])
    assert.equal(file, `hf:org/pairs@${data}/data/test.jsonl`);
  assert.doesNotMatch(await readFile(join(folder, 'run', 'metrics.jsonl'), 'utf8'), /"type":"fetch"/);

  const local = hub.repositories.get('datasets/org/pairs')!.commits.get(data!)!;
  const files: string[] = [];
  for (const name of ['data/train-1.jsonl', 'data/train-2.jsonl', 'data/test.jsonl']) {
    const path = join(folder, name.slice(5));
    await writeFile(path, local.get(name)!);
    files.push(path);
  }
  await train({
    ...config,
    model: join(folder, 'start'),
    data: files.slice(0, 2),
    evaluation: { data: files[2]! },
    output: join(folder, 'local'),
  });
  assert.deepEqual(
    await digests(join(folder, 'run', 'model')),
    await digests(join(folder, 'local', 'model')),
  );
});

test('a resumed run reads the data of the commit that it began with, and fetches it again if it has gone', async (t) => {
  const { hub, folder, config } = await hubOf(t);
  await train({ ...config, output: join(folder, 'whole') });
  await train({ ...config, steps: 2 });
  hub.commit('datasets/org/pairs', { 'train.jsonl': lines(pairs().reverse()) });
  hub.take();
  await rm(join(folder, 'home'), { recursive: true });
  const notes: string[] = [];
  await train(
    { output: config.output, resume: true, steps: 4 },
    { onEvent: (event) => event.type === 'note' && notes.push(event.message) },
  );
  assert.deepEqual(
    notes.map((note) => note.replace(/@\S+ at \S+ .*/, '')),
    ['hf:org/pairs', 'hf:org/pairs', 'hf:org/pairs', 'steps was 2, now 4'],
  );
  // The checkpoint has the model.
  assert.ok(!hub.take().some(({ path }) => path.startsWith('/api/models/')));
  const [whole, resumed] = await Promise.all(
    ['whole', 'run'].map((name) => readFile(join(folder, name, 'model', 'model.safetensors'))),
  );
  assert.ok(whole!.equals(resumed!));
});

test('mistakes in names are told before anything is fetched or made', async (t) => {
  const { config } = await hubOf(t);
  await assert.rejects(
    train({ ...config, model: 'hf:org/model/x' }),
    fails('INPUT', /^config\.model is "hf:org\/model\/x"; hf:OWNER\/NAME/),
  );
  await assert.rejects(
    train({ ...config, data: ['hf:org/pairs:dev'] }),
    fails('INPUT', /^hf:org\/pairs has no split "dev"; it has test, train\.$/),
  );
  await assert.rejects(
    train({ ...config, evaluation: { data: 'hf:org/pairs:train' } }),
    fails('INPUT', /^config\.evaluation\.data is hf:org\/pairs:train, which has 2 files; one is needed/),
  );
  await assert.rejects(
    train({ ...config, evaluation: { sets: { dev: { data: 'hf:org/pairs:train' } } } }),
    fails('INPUT', /^config\.evaluation\.sets\.dev\.data is hf:org\/pairs:train, which has 2 files/),
  );
  await assert.rejects(
    train({ ...config, data: 'hf:org/none' }),
    fails('HUB', /The revision main of org\/none was asked of .*401/),
  );
  await assert.rejects(
    train({ ...config, model: 'org/model' }),
    fails('CHECKPOINT', /If a model of the hub is meant, give hf:org\/model\./),
  );
});
