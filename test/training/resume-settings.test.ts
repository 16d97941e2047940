import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TrainConfig } from '../../lib/training/config.js';
import { resumeConfig } from '../../lib/training/resume-pairs.js';
import { train } from '../../lib/training/train.js';
import { digests, pairs, record, shortRun, writeRows } from './support.js';
import { infoNCE, saveLoss } from '../../lib/index.js';
import { readLoss } from '../../lib/losses/loss-kinds.js';
import { Fields } from '../../lib/options/fields.js';

/** A value for each setting, which is not its default; the run with them must be resumed by its folder alone. */
async function unusual(
  folder: string,
  config: TrainConfig,
): Promise<
  Required<
    Omit<
      TrainConfig,
      'epochs' | 'resume' | 'pooling' | 'lateInteraction' | 'lora' | 'adaptiveLayer' | LabelSetting
    >
  >
> {
  const rows = pairs().map(({ anchor, positive }, row) => `${anchor},${positive},a stone ${row}\n`);
  const data = join(folder, 'rows.txt');
  await writeFile(data, rows.join('') + 'one field\n');
  const held = join(folder, 'held.csv');
  await writeFile(held, rows.slice(0, 8).join(''));
  const [query, answer, wrong] = ['q', 'a', 'n'] as const;
  const beginning = infoNCE({ temperature: { initial: 0.4, learned: true } });
  await saveLoss(beginning, config.model as string);
  return {
    lossFrom: config.model as string,
    model: config.model,
    data,
    columns: [query, answer, wrong],
    format: 'csv',
    header: false,
    quoting: 'none',
    delimiter: ',',
    onBadLine: 'skip',
    output: config.output,
    batch: 12,
    chunk: { tokens: 60 },
    retain: 'auto',
    loss: { temperature: 0.3, learned: true, similarity: 'dot', symmetric: true },
    matryoshka: { dimensions: [16, 8, 4], weights: [1, 0.5, 2], dimensionsPerStep: 2 },
    memory: { capacity: 17, start: 1, momentum: 0.5 },
    curriculum: { from: 6, to: 8, over: 3, tokens: 150 },
    optimizer: { lr: 2e-2, betas: [0.8, 0.95], eps: 1e-4, weightDecay: 0.3, maxGradNorm: 0.5 },
    divideOptimizer: false,
    overlap: false,
    reduction: 'own',
    exchange: 'gather',
    schedule: { kind: 'cosine', warmup: 0.3 },
    steps: 4,
    seed: 9,
    shuffle: { buffer: 7 },
    uniqueTexts: false,
    device: 'cpu',
    precision: 'bfloat16',
    maxLength: 9,
    dropout: 0.3,
    frozen: ['embeddings.position_embeddings', 'encoder.layer.0.attention.output'],
    embeddingGradients: 'dense',
    masterWeights: 'device',
    prompts: { [query]: { prefix: 'find the ', name: 'search' } },
    evaluation: {
      task: 'retrieval',
      data: held,
      columns: [query, answer],
      header: [query, answer, wrong],
      quoting: 'none',
      dimensions: [4],
      every: 9,
    },
    checkpoint: { every: 2, keep: 3 },
  };
}

/** Settings of losses with labels and of cross-encoders: labels.test.ts, cross-encoder.test.ts. Layers: adaptive-layer.test.ts. Updates of
 * several batches: accumulate.test.ts. Several data sets: data-sets.test.ts. Lists of
 * texts: lists.test.ts. Ids: ids.test.ts. Pictures: pictures.test.ts. */
type LabelSetting =
  | 'label'
  | 'weights'
  | 'groupByLabel'
  | 'newHead'
  | 'accumulate'
  | 'datasets'
  | 'mixing'
  | 'lists'
  | 'ids'
  | 'images';

/** For each setting, other values that are given when the run is resumed, and what comes of each. */
const CHANGES: {
  [K in keyof Omit<Required<TrainConfig>, 'output' | 'resume' | 'adaptiveLayer' | LabelSetting>]: [
    unknown,
    'refused' | 'told',
  ][];
} = {
  model: [['elsewhere', 'refused']],
  lossFrom: [['elsewhere', 'refused']],
  pooling: [['none', 'refused']], // its run has one representation of a text
  lateInteraction: [[{ projection: 3 }, 'refused']],
  lora: [[{ rank: 3 }, 'refused']],
  data: [],
  columns: [[['a', 'q', 'n'], 'refused']],
  format: [],
  header: [],
  quoting: [['csv', 'told']],
  delimiter: [],
  onBadLine: [['throw', 'refused']],
  batch: [[24, 'refused']],
  chunk: [['auto', 'told']],
  retain: [[0, 'told']],
  divideOptimizer: [[true, 'told']],
  overlap: [[true, 'told']],
  reduction: [['bfloat16', 'refused']],
  exchange: [], // a memory is in no ring; the next test changes it
  loss: [
    [{ temperature: 0.4 }, 'refused'],
    [{ learned: false }, 'refused'],
    [{ similarity: 'cosine' }, 'refused'],
    [{ symmetric: false }, 'refused'],
  ],
  matryoshka: [
    [{ dimensions: [16, 8, 2] }, 'refused'],
    [{ weights: [1, 1, 2] }, 'refused'],
    [{ dimensionsPerStep: 1 }, 'refused'],
  ],
  memory: [
    [{ capacity: 18 }, 'refused'],
    [{ start: 0 }, 'refused'],
    [{ momentum: 0.6 }, 'refused'],
  ],
  curriculum: [
    [{ from: 5 }, 'refused'],
    [{ to: 9 }, 'refused'],
    [{ over: 4 }, 'refused'],
    [{ tokens: 140 }, 'refused'],
  ],
  optimizer: [
    [{ lr: 1e-2 }, 'told'],
    [{ betas: [0.9, 0.95] }, 'told'],
    [{ eps: 1e-5 }, 'told'],
    [{ weightDecay: 0 }, 'told'],
    [{ maxGradNorm: 1 }, 'told'],
  ],
  schedule: [
    [{ kind: 'linear' }, 'told'],
    [{ warmup: 1 }, 'told'],
  ],
  epochs: [], // a curriculum needs steps; the next test changes it
  steps: [[6, 'told']],
  seed: [[1, 'refused']],
  shuffle: [[true, 'refused']],
  uniqueTexts: [[true, 'refused']],
  device: [['auto', 'told']],
  precision: [['float32', 'refused']],
  maxLength: [[10, 'refused']],
  dropout: [[0, 'refused']],
  embeddingGradients: [['rows', 'refused']],
  masterWeights: [], // a memory with momentum has them on the device; precision.test.ts changes it
  frozen: [[['embeddings'], 'refused']],
  prompts: [
    [{ q: { prefix: 'another ', name: 'search' } }, 'refused'],
    [{ n: { prefix: 'not ', name: 'wrong' } }, 'refused'],
  ],
  evaluation: [[{ every: 1 }, 'told']],
  checkpoint: [[{ every: 1 }, 'told']],
};

test('settings that are not given are those of the checkpoint; others are refused or told, each by its name', async (t) => {
  const { folder, config } = await shortRun(t);
  const settings = await unusual(folder, config);
  await train(settings);
  const resume = join(settings.output, 'checkpoint-2');
  const again = { output: join(folder, 'again'), resume };
  await train(again);
  assert.deepEqual(await digests(join(again.output, 'model')), await digests(join(settings.output, 'model')));
  assert.deepEqual(
    await digests(join(again.output, 'checkpoint-4')),
    await digests(join(settings.output, 'checkpoint-4')),
  );
  // The same given again is no change.
  const same = await record({ ...settings, output: join(folder, 'same'), resume });
  assert.deepEqual(
    same.events.filter(({ type }) => type === 'note'),
    [],
  );
  let changes = 0;
  for (const [name, values] of Object.entries(CHANGES)) {
    for (const [value, outcome] of values) {
      const inner =
        /^(loss|lateInteraction|lora|matryoshka|memory|curriculum|optimizer|schedule|evaluation|checkpoint|prompts)$/.test(
          name,
        )
          ? `.${Object.keys(value as object)[0]}`
          : '';
      const was = new RegExp(`^(config\\.)?${name}${inner} was .+, now .+`);
      const controller = new AbortController();
      const notes: string[] = [];
      const run = train(
        { output: join(folder, `change-${changes++}`), resume, [name]: value },
        {
          signal: controller.signal,
          onEvent: (event) => {
            if (event.type === 'note') notes.push(event.message);
            if (event.type === 'chunk') controller.abort();
          },
        },
      );
      if (outcome === 'refused') {
        await assert.rejects(run, { code: 'INPUT', message: was }, name);
        continue;
      }
      await assert.rejects(run, { code: 'ABORTED' }, name);
      assert.ok(
        notes.some((note) => was.test(note)),
        `${name}: ${notes.join()}`,
      );
    }
  }
});

test('epochs in place of steps are told, and another exchange', async (t) => {
  const { config } = await shortRun(t);
  await record({ ...config, steps: 2, checkpoint: { every: 2 } });
  const { events, steps } = await record({
    output: config.output,
    resume: true,
    epochs: 1,
    exchange: 'ring',
  });
  const notes = events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
  assert.match(notes.join(), /epochs was not set, now 1/);
  assert.match(notes.join(), /exchange was "?gather"?, now "?ring/);
  assert.equal(steps.at(-1)!.step, 3);
});

test('a checkpoint of an earlier version, without settings, says that it has none; one that lacks them is damaged', async (t) => {
  const { config } = await shortRun(t);
  const settings = { ...config, steps: 2, checkpoint: { every: 2 } };
  await record(settings);
  const path = join(config.output, 'checkpoint-2', 'trainer.json');
  const { config: _, read: __, ...old } = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  const order = { ...(old.order as object), bytes: [(await stat(config.data as string)).size] };
  await writeFile(path, JSON.stringify({ ...old, order: { ...order, bytes: [1] }, format: 1 }));
  await assert.rejects(train({ ...settings, steps: 3, resume: true }), {
    message: /sizes of the data files/,
  });
  await writeFile(path, JSON.stringify({ ...old, order, format: 1 }));
  const { events } = await record({ ...settings, steps: 3, resume: true });
  const notes = events.flatMap((event) => (event.type === 'note' ? [event.message] : []));
  assert.match(notes.join(), /checkpoint-2 was written by an earlier version and does not hold the settings/);
  for (const damage of [
    {},
    { config: { ...settings, batch: 'x' }, read: { rows: 1, sha256: '0', all: true } },
  ]) {
    await writeFile(
      join(config.output, 'checkpoint-2', 'trainer.json'),
      JSON.stringify({ ...old, ...damage, format: 2 }),
    );
    const resume = join(config.output, 'checkpoint-2');
    await assert.rejects(train({ output: `${config.output}-b`, resume }), { code: 'CHECKPOINT' });
  }
});

test('other rows of the same size, or the same in another order, are not resumed, however they are read', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs();
  const swapped = (a: number, b: number) => rows.with(a, rows[b]!).with(b, rows[a]!);
  const shapes: [string, Partial<TrainConfig>][] = [
    ['epochs', { steps: undefined, epochs: 1 }],
    ['steps', { steps: 3 }],
    ['order', { shuffle: false, steps: 3 }],
    ['buffer', { shuffle: { buffer: 5 }, steps: 3 }],
  ];
  for (const [name, shape] of shapes) {
    const data = await writeRows(join(folder, `${name}.jsonl`), rows);
    const settings = {
      ...config,
      data,
      output: join(folder, name),
      checkpoint: { every: 2 },
      ...shape,
    };
    await record(settings);
    const resume = join(settings.output, 'checkpoint-2');
    const again = (): Promise<unknown> => record({ output: join(folder, `${name}-again`), resume });
    // Rows 0 and 6, and 30 and 36, are as long as each other; at the second step 40 rows have been read.
    for (const other of name === 'order' ? [swapped(0, 6), swapped(30, 36)] : [swapped(6, 36)]) {
      assert.equal(JSON.stringify(other).length, JSON.stringify(rows).length);
      await writeRows(data, other);
      await assert.rejects(
        again(),
        { code: 'INPUT', message: /cannot be resumed, the data has changed/ },
        name,
      );
    }
    // Text that has moved from one column to the other:
    const [first, ...rest] = rows;
    const moved = { anchor: `${first!.anchor}${first!.positive[0]}`, positive: first!.positive.slice(1) };
    await writeRows(data, [moved, ...rest]);
    await assert.rejects(again(), { code: 'INPUT', message: /the data has changed/ });
    await writeRows(data, rows);
    await again();
  }
});

test('the same rows in other files and another format are the same run, and so are bad lines passed over that stopped it', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs();
  const whole = { ...config, columns: ['anchor', 'positive'], checkpoint: { every: 2, keep: 9 } };
  await train(whole);
  const then = await digests(join(whole.output, 'model'));
  const csv = join(folder, 'rows.csv');
  await writeFile(
    csv,
    `anchor,positive\n${rows.map(({ anchor, positive }) => `${anchor},${positive}\n`).join('')}`,
  );
  const halves = await Promise.all(
    [rows.slice(0, 20), rows.slice(20)].map((half, n) => writeRows(join(folder, `half-${n}.jsonl`), half)),
  );
  const resume = join(whole.output, 'checkpoint-2');
  for (const [n, data] of [csv, halves].entries()) {
    const output = join(folder, `again-${n}`);
    await train({ output, resume, data });
    assert.deepEqual(await digests(join(output, 'model')), then);
  }

  const bad = await writeRows(join(folder, 'bad.jsonl'), [
    ...rows.slice(0, 50),
    { other: 1 },
    ...rows.slice(50),
  ]);
  const stopping = {
    ...whole,
    data: bad,
    output: join(folder, 'bad'),
    shuffle: false,
    checkpoint: { every: 1 },
  };
  await assert.rejects(train(stopping), { code: 'INPUT', message: /bad\.jsonl, line 51/ });
  await train({ output: stopping.output, resume: true, onBadLine: 'skip' });
  const skipping = { ...stopping, output: join(folder, 'skipping'), onBadLine: 'skip' } as const;
  await train(skipping);
  assert.deepEqual(
    await digests(join(stopping.output, 'model')),
    await digests(join(skipping.output, 'model')),
  );
});

test('the loss of a checkpoint that names none is the default one, with the settings that it has', () => {
  const loss = { temperature: 0.3, learned: true, similarity: 'dot', symmetric: true };
  const config = { model: 'm', data: ['p.jsonl'], batch: 8, loss };
  const state = { step: 1, order: {}, config };
  const resumed = { folder: 'run', checkpoint: { state, optimizer: new Map(), loss: new Map() } };
  for (const given of [{}, { loss: { kind: 'infonce' } }]) {
    const read = resumeConfig({ output: 'run', ...given }, resumed);
    // Settings that are newer than the checkpoint have their defaults.
    assert.deepEqual(read.config.loss, { ...readLoss(new Fields({}, 'loss')), ...loss });
    assert.deepEqual(read.notes, []);
  }
});
