import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Optimizer } from '../../lib/optim/optimizer.js';
import { BestModel, readBest } from '../../lib/training/best-model.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { Loop, type LoopResult, type LoopSettings } from '../../lib/training/loop.js';
import { MetricsFile, metricsFile } from '../../lib/training/metrics.js';
import { knownLength } from '../../lib/training/run-length.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { train } from '../../lib/training/train.js';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from './support.js';

const OPTIMIZER = {
  lr: 0,
  divided: false,
  step: () => Promise.resolve({ gradNorm: 0 }),
  state: () => Promise.resolve(new Map()),
} as unknown as Optimizer;

/** A run of nothing but measurements: what it scores after each step is given. Its model is a file with the step. */
async function run(
  output: string,
  scores: readonly number[],
  evaluation: NonNullable<LoopSettings['evaluation']>,
  { done = 0, name = 'ndcg@10', epoch = 3 } = {},
): Promise<{ result: LoopResult; events: TrainEvent[]; measured: number[] }> {
  let step = done;
  const events: TrainEvent[] = [];
  const measured: number[] = [];
  const metrics = new MetricsFile(metricsFile(output), done);
  const emit = (event: TrainEvent): void => {
    metrics.write(event);
    events.push(event);
  };
  const snapshot = () => {
    const [content, names] = [JSON.stringify({ step }), ['config.json']];
    return Promise.resolve({
      save: async (folder: string) => {
        await mkdir(folder, { recursive: true });
        for (const each of names) await writeFile(join(folder, each), content);
      },
    });
  };
  const loop = new Loop<number, { loss: number }, TrainEvent>(
    {
      async *batches({ skip }) {
        for (let batch = skip; batch < 100; batch++) yield await Promise.resolve(batch);
      },
      epochOf: (batch) => Math.floor(batch / epoch),
      step: () => {
        step++;
        return Promise.resolve({ loss: 1 });
      },
      event: () => ({ type: 'note', message: 'step' }),
      nameOf: String,
      explainNonFinite: () => Promise.resolve(''),
      loadHeldOut: () =>
        Promise.resolve({
          names: [name],
          measure: () => {
            measured.push(step);
            return Promise.resolve({ scores: { [name]: scores[step] ?? 0 } });
          },
        }),
      snapshot,
      state: () => Promise.resolve({ state: { order: {} }, loss: new Map() }),
    },
    {
      config: { output, seed: 1, evaluation, checkpoint: false },
      lock: null,
      metrics,
      emit,
      signal: undefined,
      ranks: null,
      optimizer: OPTIMIZER,
      schedule: () => 1,
      length: knownLength(scores.length - 1),
      done,
      unmeasured: false,
      stored: {},
    },
  );
  const result = await loop.run();
  await metrics.finish();
  return { result, events, measured };
}

const modelIn = async (folder: string): Promise<unknown> =>
  (JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as { step: number }).step;

test('the model of the best score is the finished one, and the last is measured too', async (t) => {
  const output = await temporaryFolder(t);
  const scores = [0.9, 0.1, 0.3, 0.2, 0.25];
  const { result, events } = await run(output, scores, { every: 1, before: true, best: 'ndcg@10' });
  assert.equal(result.steps, 4);
  // What was measured before the first update is no result of the training.
  assert.deepEqual(result.best, { step: 2, score: 'ndcg@10', scores: { 'ndcg@10': 0.3 } });
  assert.deepEqual([result.before, result.scores], [{ 'ndcg@10': 0.9 }, { 'ndcg@10': 0.25 }]);
  assert.equal(await modelIn(join(output, 'model')), 2);
  assert.equal(await modelIn(join(output, 'best')), 2);
  assert.deepEqual(await readBest(output), result.best);
  const saved = events.filter((event) => event.type === 'saved').map(({ step, bestOf }) => [step, bestOf]);
  assert.deepEqual(saved, [
    [1, undefined],
    [2, undefined],
    [4, 2],
  ]);
});

test('of a loss the lowest is best, and of equal scores the first', async (t) => {
  const output = await temporaryFolder(t);
  const { result } = await run(output, [9, 3, 1, 2, 1], { every: 1, best: 'loss' }, { name: 'loss' });
  assert.equal(result.best?.step, 2);
});

test('patience ends the run, and one that is resumed counts on', async (t) => {
  const output = await temporaryFolder(t);
  const scores = [0, 0.1, 0.5, 0.4, 0.3, 0.2, 0.9];
  const how = { every: 1, best: 'ndcg@10', patience: 3 };
  const whole = await run(output, scores, how);
  assert.equal(whole.result.steps, 5);
  assert.equal(await modelIn(join(output, 'model')), 2);
  const notes = whole.events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
  assert.match(
    notes.at(-1)!,
    /^ended early: ndcg@10 was best after step 2, with 0\.5, and the 3 measurements since/,
  );

  const other = await temporaryFolder(t);
  await run(other, scores.slice(0, 5), how); // ends after step 4, two measurements after the best
  const resumed = await run(other, scores, how, { done: 4 });
  assert.equal(resumed.result.steps, 5);
  assert.deepEqual(resumed.result.best, whole.result.best);
  assert.equal(await modelIn(join(other, 'model')), 2);

  // Where patience had run out already, nothing is trained. With more of it the run goes on.
  const again = await run(other, scores, how, { done: 5 });
  assert.deepEqual([again.result.steps, again.measured], [5, []]);
  const further = await run(other, scores, { ...how, patience: 4 }, { done: 5 });
  assert.deepEqual([further.result.steps, further.result.best?.step], [6, 6]);
});

test('a new run in a folder takes nothing for its best that was there before', async (t) => {
  const output = await temporaryFolder(t);
  await run(output, [0, 0.9], { every: 1, best: 'ndcg@10' });
  const { result } = await run(output, [0, 0.2, 0.1], { every: 1, best: 'ndcg@10' });
  assert.equal(result.best?.step, 1);
  assert.equal(result.best.scores['ndcg@10'], 0.2);
});

test('held-out data is measured at the end of each epoch, also of one that was resumed', async (t) => {
  const output = await temporaryFolder(t);
  const scores = Array.from({ length: 9 }, () => 0.5);
  assert.deepEqual((await run(output, scores, { every: 'epoch' })).measured, [3, 6, 8]);
  assert.deepEqual((await run(output, scores, { every: 'epoch' }, { done: 5 })).measured, [6, 8]);
});

test('a score that the data does not give is refused before the first update', async (t) => {
  const output = await temporaryFolder(t);
  const wrong = run(output, [0, 1], { best: 'recall@7' });
  await assert.rejects(wrong, {
    code: 'INPUT',
    message: /evaluation\.best is "recall@7"; one of ndcg@10 is needed/,
  });
  assert.deepEqual(await readdir(output), []);
  const config = { model: 'm', data: 'd', output: 'o', batch: 2 };
  assert.throws(() => readTrainConfig({ ...config, evaluation: { data: 'h', patience: 2 } }), {
    code: 'INPUT',
    message: /evaluation\.patience counts/,
  });
});

test('a run by its real measures keeps a model that opens, and names them', async (t) => {
  const folder = await temporaryFolder(t);
  const config = {
    model: await saveTinyModel(join(folder, 'start')),
    data: await writeRows(join(folder, 'pairs.jsonl'), pairs(16)),
    output: join(folder, 'run'),
    batch: 4,
    epochs: 2,
    checkpoint: { every: 4, keep: 1 },
    device: 'cpu',
    evaluation: {
      data: join(folder, 'pairs.jsonl'),
      every: 'epoch',
      before: true,
      measures: ['map@5', 'accuracy@1'],
      best: 'map@5',
      patience: 5,
    },
  } as const;
  const events: TrainEvent[] = [];
  const result = await train(config, { onEvent: (event) => events.push(event) });
  const measured = events.flatMap((event) => (event.type === 'evaluation' ? [event.step] : []));
  assert.deepEqual(measured, [0, 4, 8]);
  assert.equal(typeof result.best?.scores['map@5'], 'number');
  assert.equal(typeof result.before?.['accuracy@1'], 'number');
  assert.ok((await readdir(result.model)).includes('modules.json'));
  // It is finished: asking again gives the same.
  const again = await train({ ...config, resume: true });
  assert.deepEqual([again.best, again.before], [result.best, result.before]);
});

test('a run is measured on triplets and on binary pairs', async (t) => {
  const folder = await temporaryFolder(t);
  const rows = pairs(8).map(({ anchor, positive }, place, all) => ({
    anchor,
    positive,
    negative: all[(place + 1) % 8]!.positive,
    sentence1: anchor,
    sentence2: all[(place + (place % 2)) % 8]!.positive,
    label: 1 - (place % 2),
  }));
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const config = {
    model: await saveTinyModel(join(folder, 'start')),
    data,
    batch: 4,
    steps: 1,
    device: 'cpu',
  };
  for (const [task, best] of [
    ['triplets', 'accuracy'],
    ['binary', 'ap'],
  ] as const) {
    const evaluation = { task, data, best, dimensions: [4] };
    const { scores } = await train({
      ...config,
      columns: ['anchor', 'positive'],
      output: join(folder, task),
      evaluation,
    });
    assert.equal(typeof scores?.[best], 'number');
    assert.equal(typeof scores?.[`${best}/4`], 'number');
  }
});

test('a score that is no number is not the best', () => {
  const best = BestModel.of('out', { best: 'pearson', patience: 1 }, { best: null, waited: 0, before: null });
  const noted = [Number.NaN, 0.1, Number.NaN, 0.2].map((pearson, place) => best.note(place + 1, { pearson }));
  assert.deepEqual(noted, [false, true, false, true]);
  assert.equal(best.best?.step, 4);
});
