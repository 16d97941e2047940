import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readSafetensors, writeSafetensors } from '../../lib/safetensors/safetensors.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import type { TrainConfig } from '../../lib/training/config.js';
import type { TrainEvent } from '../../lib/training/events.js';
import { train } from '../../lib/training/train.js';
import { digests, pairs, record, root, shortRun, TINY_CONFIG, writeRows } from './support.js';

test('a run lowers the loss, and leaves a model, checkpoints and metrics', async (t) => {
  const { folder, config } = await shortRun(t);
  const evaluation = {
    task: 'retrieval',
    data: await writeRows(join(folder, 'held.jsonl'), pairs(12)),
    every: 15,
  } as const;
  const { events, steps } = await record({ ...config, steps: 30, checkpoint: { every: 10 }, evaluation });
  assert.deepEqual(
    steps.map(({ step }) => step),
    Array.from({ length: 30 }, (_, index) => index + 1),
  );
  assert.ok(
    steps.at(-1)!.loss < steps[0]!.loss - 0.5,
    `${steps[0]!.loss} fell to ${steps.at(-1)!.loss} only`,
  );
  for (const step of steps) {
    assert.equal(step.pairs, 20);
    assert.equal(step.chunks, 6);
    assert.ok(
      step.lr > 0 &&
        step.gradNorm > 0 &&
        step.tokens > 100 &&
        step.pairsPerSecond > 0 &&
        step.peakMemory > 1e6,
    );
  }
  assert.equal(steps.at(-1)!.secondsLeft, 0);
  const [start] = events;
  assert.ok(start?.type === 'start');
  const { settings, ...told } = start;
  assert.deepEqual([settings['batch'], settings['steps'], settings['data']], [20, 30, [config.data]]);
  assert.deepEqual(told, {
    type: 'start',
    steps: 30,
    done: 0,
    rows: null,
    leftOver: null,
    columns: ['anchor', 'positive'],
    parameters: 136096,
    device: 'cpu',
    precision: 'float32',
    ranks: 1,
    resumed: null,
  });
  const scores = events.filter((event) => event.type === 'evaluation');
  assert.deepEqual(
    scores.map(({ step }) => step),
    [15, 30],
  );
  assert.ok(scores[1]!.scores['recall@10']! > 0.5);
  // The newest two of three.
  assert.deepEqual((await readdir(config.output)).sort(), [
    'checkpoint-20',
    'checkpoint-30',
    'hardest.json',
    'metrics.jsonl',
    'model',
    'settings.json',
  ]);

  const metrics = (await readFile(join(config.output, 'metrics.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as TrainEvent);
  assert.deepEqual(
    metrics.map(({ type }) => type),
    events.filter(({ type }) => type !== 'chunk').map(({ type }) => type),
  );

  // A checkpoint is a model folder as well, here the same as the finished model.
  const texts = ['the old dog', 'a river'];
  const [finished, checkpoint] = await Promise.all(
    ['model', 'checkpoint-30'].map(async (name) => {
      const model = await TextEncoder.load(join(config.output, name));
      return (await model.encode(texts)).values();
    }),
  );
  assert.deepEqual(finished, checkpoint);
});

for (const phase of ['forward', 'loss', 'backward'] as const) {
  test(`an abort in the ${phase} pass ends the run there and leaves the checkpoint before it intact`, async (t) => {
    const { config } = await shortRun(t);
    const controller = new AbortController();
    const later: TrainEvent[] = [];
    await assert.rejects(
      train(
        { ...config, checkpoint: { every: 2 } },
        {
          signal: controller.signal,
          onEvent: (event) => {
            if (controller.signal.aborted) later.push(event);
            if (event.type === 'chunk' && event.step === 3 && event.phase === phase) controller.abort();
          },
        },
      ),
      { code: 'ABORTED' },
    );
    const kept = await digests(join(config.output, 'checkpoint-2'));
    assert.ok('trainer.json' in kept && 'optimizer.safetensors' in kept);
    assert.deepEqual((await readdir(config.output)).sort(), [
      'checkpoint-2',
      'metrics.jsonl',
      'settings.json',
    ]);
    assert.ok(later.length <= 1, `after the abort came ${later.map(({ type }) => type).join()}`);
    // And the run can go on from there.
    const { steps } = await record({ ...config, checkpoint: { every: 2 }, resume: true });
    assert.deepEqual(
      steps.map(({ step }) => step),
      [3, 4, 5, 6],
    );
  });
}

test('a signal that has fired already ends the run before its first step', async (t) => {
  const { config } = await shortRun(t);
  await assert.rejects(record(config, AbortSignal.abort()), { code: 'ABORTED' });
  await assert.rejects(record({ ...config, steps: undefined, epochs: 1 }, AbortSignal.abort()), {
    code: 'ABORTED',
  });
});

test('a learned temperature is told with every step and at the end', async (t) => {
  const { config } = await shortRun(t);
  const events: TrainEvent[] = [];
  const { temperature } = await train(
    { ...config, steps: 3, loss: { learned: true, temperature: 0.1 } },
    { onEvent: (event) => events.push(event) },
  );
  const told = events.flatMap((event) => (event.type === 'step' ? [event.temperature] : []));
  assert.equal(new Set(told).size, 3);
  assert.equal(told.at(-1), temperature);
  assert.ok(
    temperature !== null && Math.abs(temperature - 0.1) > 1e-4 && Math.abs(temperature - 0.1) < 0.05,
    String(temperature),
  );
});

test('epochs give as many steps as there are batches of at least half the size', async (t) => {
  const { config } = await shortRun(t);
  const { events, steps } = await record({ ...config, steps: undefined, epochs: 2, batch: 25 });
  // 60 rows make two batches of 25, and one of 10 that is left out.
  assert.deepEqual(
    steps.map(({ epoch, pairs: size }) => [epoch, size]),
    [
      [0, 25],
      [0, 25],
      [1, 25],
      [1, 25],
    ],
  );
  const [start] = events;
  assert.ok(start?.type === 'start' && start.rows === 60 && start.leftOver === 10 && start.steps === 4);
});

test('data that does not fill half a batch is an error, not an endless run', async (t) => {
  const { config } = await shortRun(t);
  // Rows are counted before anything is written, unless the length is given in steps.
  for (const length of [{ steps: undefined, epochs: 3 }, { steps: 3 }]) {
    if (length.steps) await assert.rejects(readdir(config.output), { code: 'ENOENT' });
    await assert.rejects(record({ ...config, ...length, batch: 200 }), {
      code: 'INPUT',
      message: /do not fill half a batch of 200/,
    });
  }
});

test('a pair alone is no batch, whatever the size of batches is', async (t) => {
  const { folder, config } = await shortRun(t);
  const [one, two, three] = pairs(3);
  const train = (rows: object[]) =>
    writeRows(join(folder, 'few.jsonl'), rows).then((data) =>
      record({ ...config, data, batch: 2, steps: undefined, epochs: 1 }),
    );
  await assert.rejects(train([one!]), { code: 'INPUT', message: /do not fill a batch of two/ });
  const { steps, events } = await train([one!, two!, three!]);
  assert.deepEqual(
    steps.map((step) => step.pairs),
    [2],
  );
  const [start] = events;
  assert.ok(start?.type === 'start' && start.leftOver === 1);
});

test('a loss that is not finite stops the run and names the step and the texts', async (t) => {
  const { folder, config } = await shortRun(t);
  const path = join(config.model as string, 'model.safetensors');
  const tensors = await readSafetensors(path);
  const vocabulary = JSON.parse(await readFile(join(config.model as string, 'tokenizer.json'), 'utf8')) as {
    model: { vocab: Record<string, number> };
  };
  const words = tensors.get('embeddings.word_embeddings.weight')!;
  const word = 'elephant';
  const row = vocabulary.model.vocab[word]!;
  new Float32Array(words.bytes.buffer, words.bytes.byteOffset, words.bytes.byteLength / 4).fill(
    NaN,
    row * 16,
    row * 16 + 16,
  );
  await writeSafetensors(path, tensors, { format: 'pt' });
  const data = await writeRows(join(folder, 'bad.jsonl'), [
    ...pairs(30),
    { anchor: `an ${word}`, positive: 'large and grey' },
  ]);
  await assert.rejects(
    record({ ...config, data, batch: 31, shuffle: false }),
    (error: Error & { code?: string }) => {
      assert.equal(error.code, 'NON_FINITE');
      assert.match(error.message, /^Step 1 \(epoch 0, batch 0\) was not made/);
      assert.match(error.message, new RegExp(`anchor of row 30 \\("an ${word}"\\)`));
      return true;
    },
  );
});

test('lines that are skipped are told, once each, and counted, however long the run and however it reads', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = join(folder, 'with-bad-lines.jsonl');
  const lines = pairs().map((row) => JSON.stringify(row));
  await writeFile(data, ['{"anchor": 3}', ...lines, 'no JSON', ''].join('\n'));
  const lengths: [string, Partial<TrainConfig>][] = [
    ['epochs', { steps: undefined, epochs: 2 }],
    ['steps', { steps: 7 }], // over two epochs
    ['order', { steps: 7, shuffle: false }],
  ];
  for (const [name, length] of lengths) {
    const settings = { ...config, ...length, data, output: join(folder, name), onBadLine: 'skip' } as const;
    const events: TrainEvent[] = [];
    const { skipped } = await train(settings, { onEvent: (event) => events.push(event) });
    assert.equal(skipped, 2);
    const told = (all: readonly TrainEvent[]): (string | number)[] =>
      all.flatMap((event): (string | number)[] =>
        event.type === 'skipped' ? [event.message] : event.type === 'skippedTotal' ? [event.lines] : [],
      );
    const [first, second, ...rest] = told(events);
    assert.match(String(first), /with-bad-lines\.jsonl, line 1: /);
    assert.match(String(second), /with-bad-lines\.jsonl, line 62: /);
    assert.deepEqual(rest, [2], 'the total, at the end');
    const written = (await readFile(join(settings.output, 'metrics.jsonl'), 'utf8')).trim().split('\n');
    assert.deepEqual(told(written.map((line) => JSON.parse(line) as TrainEvent)), told(events));
  }
  await assert.rejects(record({ ...config, data, output: join(folder, 'other') }), {
    code: 'INPUT',
    message: /line 1:/,
  });
});

test('of many lines that are skipped ten are named and all are counted by file, also where the run is interrupted', async (t) => {
  const { folder, config } = await shortRun(t);
  const bad = Array.from({ length: 9 }, () => 'no JSON');
  const lines = [...bad, ...pairs().map((row) => JSON.stringify(row)), ''].join('\n');
  const data = [join(folder, 'a.jsonl'), join(folder, 'b.jsonl')];
  for (const file of data) await writeFile(file, lines);
  const controller = new AbortController();
  const events: TrainEvent[] = [];
  const run = train(
    { ...config, data, onBadLine: 'skip', uniqueTexts: false },
    {
      signal: controller.signal,
      onEvent: (event) => {
        events.push(event);
        if (event.type === 'step') controller.abort();
      },
    },
  );
  await assert.rejects(run, { code: 'ABORTED' });
  assert.equal(events.filter(({ type }) => type === 'skipped').length, 10);
  const total = events.find((event) => event.type === 'skippedTotal');
  assert.equal(total?.lines, 18);
  assert.deepEqual(total.files, { [data[0]!]: 9, [data[1]!]: 9 });
});

test('an error of the run is told, whatever else goes wrong after it', async (t) => {
  const { config } = await shortRun(t);
  const own = new Error('of the caller');
  const failing = train(config, {
    onEvent: (event) => {
      if (event.type !== 'step') return;
      rmSync(config.output, { recursive: true }); // now metrics.jsonl cannot be written either
      mkdirSync(join(config.output, 'metrics.jsonl'), { recursive: true });
      throw own;
    },
  });
  await assert.rejects(failing, (error) => error === own);
});

test('hooks and a configuration of a wrong type are refused by name', async (t) => {
  const { config } = await shortRun(t);
  const wrong: [unknown, unknown, RegExp][] = [
    [config, { onEvent: 'print' }, /onEvent is "print"; a function is needed/],
    [config, { signal: true }, /signal is true; an AbortSignal is needed/],
    [config, { onevent: () => undefined }, /train knows no option 'onevent' \(did you mean onEvent\?\)/],
    [config, null, /train takes its options as an object/],
    [null, {}, /config is null; an object is needed/],
    [[config], {}, /config is \[.*; an object is needed/],
    [{ ...config, data: new Array(2) }, {}, /config\.data is \[null,null\]; a string/],
    [{ ...config, optimizer: { betas: new Array(2) } }, {}, /config\.optimizer\.betas\[0\] is undefined/],
    [
      { ...config, loss: { symmetric: 'no' } },
      {},
      /config\.loss\.symmetric is "no"; true or false is needed/,
    ],
    [{ ...config, uniqueTexts: 0 }, {}, /config\.uniqueTexts is 0; true or false is needed/],
    [{ ...config, device: 'gpu' }, {}, /config\.device is "gpu"; "auto", "cpu"/],
    [{ ...config, prompts: { anchor: 3 } }, {}, /config\.prompts\.anchor is 3; the name of a prompt/],
    [{ ...config, prompts: { anchor: {} } }, {}, /config\.prompts\.anchor\.prefix is missing/],
    [{ ...config, steps: 1n }, {}, /config\.steps is 1n; a whole number from 1 is needed/],
  ];
  for (const [given, hooks, message] of wrong)
    await assert.rejects(train(given as never, hooks as never), { code: 'INPUT', message });
  await assert.rejects(readdir(config.output), { code: 'ENOENT' });
});

test('a configuration is read once, and what it throws is told as its own', async (t) => {
  const { config } = await shortRun(t);
  const asked: string[] = [];
  const watched = new Proxy(config, {
    get: (given, name, receiver): unknown => (asked.push(String(name)), Reflect.get(given, name, receiver)),
  });
  await record({ ...config, steps: 1 });
  await assert.rejects(record(watched), { code: 'INPUT', message: /already holds the model/ });
  assert.deepEqual(asked.sort(), Object.keys(config).sort());
  const broken = Object.defineProperty({ ...config }, 'batch', {
    enumerable: true,
    get: () => assert.fail('no batch today'),
  });
  await assert.rejects(record(broken), { code: 'INPUT', message: /config cannot be read: no batch today/ });
});

test('a short run has a warm-up too: a part of its steps is rounded up', async (t) => {
  const { config } = await shortRun(t);
  const { steps } = await record({ ...config, steps: 3, schedule: { warmup: 0.4 }, optimizer: { lr: 1 } });
  assert.deepEqual(
    steps.map(({ lr }) => lr),
    [0.5, 1, 1],
  );
  // One that is longer than the run is not shortened in silence.
  await assert.rejects(
    record({ ...config, output: `${config.output}-2`, steps: 3, schedule: { warmup: 4 } }),
    {
      code: 'INPUT',
      message: /config\.schedule\.warmup is 4, but the run has 3 steps/,
    },
  );
});

test('a model can start from random weights, in several precisions, and the seed decides', async (t) => {
  const { folder, config } = await shortRun(t);
  const configFile = join(folder, 'config.json');
  await writeFile(configFile, JSON.stringify(TINY_CONFIG));
  const model = { config: configFile, tokenizer: join(root, 'examples', 'quickstart', 'tokenizer.json') };
  const losses = async (changes: Partial<TrainConfig>, name: string): Promise<number[]> =>
    (await record({ ...config, model, steps: 2, output: join(folder, name), ...changes })).steps.map(
      ({ loss }) => loss,
    );
  const first = await losses({}, 'a');
  assert.deepEqual(await losses({}, 'b'), first);
  assert.notDeepEqual(await losses({ seed: 2 }, 'c'), first);
  const [exact] = await losses({ dropout: 0 }, 'float32');
  const [short] = await losses({ dropout: 0, precision: 'bfloat16' }, 'bfloat16');
  assert.ok(Math.abs(short! - exact!) < 0.1, `${short} is not ${exact}`);
  assert.ok((await losses({ precision: 'float64' }, 'float64')).every((loss) => loss > 0 && loss < 5));
});

test('a run of one process says which settings of several it does not use', async (t) => {
  const { folder, config } = await shortRun(t);
  const notes = async (name: string, settings: Partial<TrainConfig>): Promise<string[]> => {
    const { events } = await record({ ...config, steps: 1, output: join(folder, name), ...settings });
    return events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
  };
  const way = '--gpus, or a launcher such as torchrun, starts several processes';
  assert.deepEqual(await notes('divided', { divideOptimizer: true }), [
    `not used, as the run is one process: divideOptimizer. ${way}`,
  ]);
  assert.deepEqual(await notes('all', { reduction: 'bfloat16', exchange: 'ring', overlap: true }), [
    `not used, as the run is one process: reduction, exchange, overlap. ${way}`,
  ]);
  assert.deepEqual(await notes('defaults', { divideOptimizer: false, reduction: 'own' }), []);
});
