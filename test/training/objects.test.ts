/** A run of which a program gives parts as objects. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  coSENT,
  infoNCE,
  readPairs,
  TextEncoder,
  train,
  type Tensor,
  type TrainConfigWithObjects,
  type TrainEvent,
} from '../../lib/index.js';
import { gradcache } from '../cli/program.js';
import { fails } from '../robustness/failures.js';
import { digests, pairs, shortRun } from './support.js';

/** Never called: only its types are looked at. */
export async function types(model: TextEncoder): Promise<void> {
  const run = { model, data: pairs(), columns: ['anchor', 'positive'], output: 'runs/a', batch: 20 };
  await train({ ...run, loss: (anchors: Tensor, positives: Tensor) => anchors.sub(positives).sum() });
  await train({ ...run, loss: infoNCE(), evaluation: { every: 10, evaluators: { mine: () => 0.5 } } });
  // Settings of a loss are those of its kind.
  await train({ ...run, loss: { kind: 'triplet', margin: 1 } });
  await train({ ...run, loss: { temperature: 0.05 } });
  // @ts-expect-error the triplet loss has no temperature
  await train({ ...run, loss: { kind: 'triplet', temperature: 0.05 } });
  // @ts-expect-error there is no such loss
  await train({ ...run, loss: { kind: 'triplets' } });
  // @ts-expect-error a margin is a number
  await train({ ...run, loss: { kind: 'triplet', margin: '1' } });
  // @ts-expect-error a measure gives numbers
  await train({ ...run, evaluation: { evaluators: { mine: () => 'good' } } });
  // @ts-expect-error no model
  await train({ ...run, model: new Date() });
}

const COLUMNS = ['anchor', 'positive'];

test('objects train as the settings do that they stand for, to the last bit', async (t) => {
  const { folder, config } = await shortRun(t);
  const path = config.model as string;
  await train({ ...config, loss: { kind: 'infonce', temperature: 0.05 }, columns: COLUMNS });
  const model = await TextEncoder.load(path, { device: 'cpu' });
  const { device: _, ...settings } = config;
  const output = join(folder, 'objects');
  const events: TrainEvent[] = [];
  const result = await train(
    {
      ...settings,
      output,
      model,
      data: pairs(),
      columns: COLUMNS,
      loss: infoNCE({ temperature: 0.05 }),
      evaluation: {
        every: 3,
        before: true,
        best: 'near/half',
        evaluators: {
          near: async (encoder) => {
            const [first, second] = pairs(1).flatMap(({ anchor, positive }) => [anchor, positive]);
            const vectors = await encoder.encode([first!, second!]);
            const [a, b] = [vectors.narrow(0, 0, 1), vectors.narrow(0, 1, 1)];
            const cosine = a.matmul(b.t()).item();
            return { cosine, half: cosine / 2 };
          },
          constant: () => 7,
        },
      },
    },
    { onEvent: (event) => events.push(event) },
  );
  const weights = async (of: string): Promise<unknown> =>
    (await digests(join(of, 'model')))['model.safetensors'];
  assert.equal(await weights(output), await weights(config.output));
  const measured = events.filter((event) => event.type === 'evaluation');
  assert.deepEqual(
    measured.map(({ step }) => step),
    [0, 3, 6],
  );
  const { scores } = measured.at(-1)!;
  assert.deepEqual(Object.keys(scores), ['near/cosine', 'near/half', 'constant']);
  assert.equal(scores['near/half'], scores['near/cosine']! / 2);
  assert.equal(scores['constant'], 7);
  assert.notEqual(scores['near/half'], measured[0]!.scores['near/half']);
  assert.equal(result.best?.score, 'near/half');
  // The encoder is the program's, with the weights that were trained.
  const [own, stored] = [model, await TextEncoder.load(result.model, { device: 'cpu' })];
  const texts = ['the old dog'];
  assert.deepEqual(await (await own.encode(texts)).values(), await (await stored.encode(texts)).values());
  own.dispose();
  stored.dispose();
});

test('labels of rows reach a loss of the program, and rows of a reader are taken', async (t) => {
  const { folder, config } = await shortRun(t);
  const rows = pairs().map((row, place) => ({ ...row, score: (place % 5) / 4, other: 1 }));
  const settings = { ...config, columns: COLUMNS, label: 'score', output: join(folder, 'own') };
  const labelled = await train({ ...settings, data: rows, loss: coSENT() });
  const named = await train({
    ...settings,
    data: config.data,
    label: 'score',
    output: join(folder, 'named'),
    loss: { kind: 'cosent' },
  }).catch((error: unknown) => error);
  assert.match(String(named), /score/); // the file has none
  assert.ok(labelled.loss! > 0);
  const read = await train({
    ...config,
    columns: COLUMNS,
    data: readPairs(config.data as string, { columns: ['anchor', 'positive'] }),
    output: join(folder, 'read'),
  });
  const file = await train({ ...config, output: join(folder, 'file') });
  assert.equal(read.loss, file.loss);
});

test('a run with objects is resumed with them, by a program alone', async (t) => {
  const { folder, config } = await shortRun(t);
  const begun = { ...config, data: pairs(), columns: COLUMNS, loss: infoNCE() };
  const whole = await train({ ...begun, output: join(folder, 'whole') });
  const controller = new AbortController();
  const onEvent = (event: TrainEvent): void => {
    if (event.type === 'step' && event.step === 3) controller.abort();
  };
  await assert.rejects(train(begun, { onEvent, signal: controller.signal }), fails('ABORTED'));
  const resumed = { ...begun, resume: true } as const;
  const { loss, steps } = await train(resumed);
  assert.deepEqual([loss, steps], [whole.loss, 6]);
  const { model: _, ...rest } = resumed;
  await assert.rejects(
    train({ ...rest, data: pairs(40), steps: 8 } as unknown as TrainConfigWithObjects),
    fails('INPUT', /data has changed/),
  );
  const { stderr, code } = await gradcache(['train', '--resume', config.output, '--steps', '8']);
  assert.equal(code, 2);
  assert.match(stderr, /--data stands for rows of the program that began the run: give it again/);
  const stored = JSON.parse(await readFile(join(config.output, 'settings.json'), 'utf8')) as {
    data: unknown;
  };
  assert.deepEqual(stored.data, ['an object of the program']);
});

test('what cannot take the place of a setting is refused before anything is made', async (t) => {
  const { config } = await shortRun(t);
  const model = await TextEncoder.load(config.model as string, { device: 'cpu' });
  t.after(() => model.dispose());
  const run = { ...config, model, columns: COLUMNS, device: undefined as never };
  const wrong: [object, RegExp][] = [
    [{ ...run, device: 'cpu' }, /config\.device is for a model that the run opens/],
    [{ ...run, maxLength: 8 }, /config\.maxLength is for a model that the run opens/],
    [{ ...run, resume: true }, /opens its model from the checkpoint: leave model out/],
    [{ ...config, model: { tokenize: () => 1, forwardChunk: () => 1 } }, /config\.model .*a TextEncoder/],
    [
      { ...config, data: pairs() },
      /config\.columns is missing: name the columns of texts that the rows have/,
    ],
    [
      { ...config, data: { rows: 1 }, columns: COLUMNS },
      /config\.data .*the path of a file, a list of them, or rows/,
    ],
    [
      { ...config, loss: infoNCE() },
      /config\.columns is missing: name the columns of texts that the loss compares/,
    ],
    [{ ...config, loss: { compute: () => 1 }, columns: COLUMNS }, /loss/],
    [{ ...config, loss: { kind: 'own' } }, /config\.loss stands for a loss of the program/],
    [{ ...config, evaluation: { evaluators: { mine: 1 } } }, /evaluators\.mine .*a function of the model/],
    [{ ...config, evaluation: { evaluators: [] } }, /config\.evaluation\.evaluators .*functions, by name/],
    [
      { ...config, evaluation: { evaluators: { mine: () => 'good' }, before: true } },
      /result of config\.evaluation\.evaluators\.mine .*a number/,
    ],
    [
      {
        ...config,
        data: (function* () {
          yield* pairs();
        })(),
        columns: COLUMNS,
        shuffle: false,
        steps: undefined,
      },
      /an object of the program can be read only once/,
    ],
    [
      { ...config, data: [{ anchor: 'a' }], columns: COLUMNS },
      /config\.data, row 0: it has no "positive"; it has "anchor"/,
    ],
    [
      { ...config, data: ['a', 1], columns: COLUMNS },
      /config\.data, row 0: it is "a", not an object of texts by column/,
    ],
  ];
  for (const [given, message] of wrong)
    await assert.rejects(train(given as TrainConfigWithObjects), fails('INPUT', message), String(message));
});
