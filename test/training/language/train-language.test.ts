import assert from 'node:assert/strict';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { trainLanguage, type LanguageStepEvent, type LanguageTrainConfig } from '../../../lib/index.js';
import { loadTextModel } from '../../../lib/language/text-model.js';
import { temporaryFolder } from '../support.js';

const SENTENCES = [
  'the dog sees the red ship.',
  'a quiet river runs.',
  'old clocks tick and tick.',
  'it is winter.',
];
const TEXT = Array.from({ length: 12 }, (_, k) => `${SENTENCES[(k * 7) % 4]}\n`).join('');

async function setUp(t: TestContext): Promise<{ folder: string; base: LanguageTrainConfig }> {
  const folder = await temporaryFolder(t);
  const [data, held] = [join(folder, 'data.txt'), join(folder, 'held.txt')];
  await writeFile(data, TEXT);
  await writeFile(held, SENTENCES.join('\n'));
  const base: LanguageTrainConfig = {
    model: { cell: 'sru', width: 12, layers: 2, dropout: 0.2 },
    vocabulary: 'characters',
    data,
    output: join(folder, 'run'),
    rows: 2,
    segment: { length: 6, count: 2 },
    optimizer: { kind: 'adamw', lr: 0.01 },
    steps: 26, // an epoch has 12
    checkpoint: { every: 9 },
    device: 'cpu',
  };
  return { folder, base };
}

const CASES: Record<string, Partial<LanguageTrainConfig>> = {
  'SRU++ with its memory, jittered': {
    model: { cell: 'sru++', width: 12, projected: 4, layers: 2, dropout: 0.2, attentionDropout: 0.1 },
    segment: { length: 8, jitter: true },
  },
  'exact gradients of LSTM': {
    model: { cell: 'lstm', width: 8, layers: 1, weightDropout: 0.2, dropout: 0.1 },
    segment: { length: 5, count: 3 },
    across: { kind: 'exact' },
  },
  'synthetic gradients': { across: { kind: 'synthetic', noise: 0.3, auxiliary: 0.5, factor: 1 } },
  'a recurrent synthesiser': { across: { kind: 'synthetic', synthesiser: 'recurrent', hidden: 5 } },
  'alternating gradients over lines': {
    across: { kind: 'alternating', first: 4, real: 'exact' },
    documents: 'line',
    optimizer: { kind: 'radam', lr: 0.01 },
  },
};

for (const [name, given] of Object.entries(CASES)) {
  test(`a run goes on from a checkpoint bit for bit: ${name}`, async (t) => {
    const { folder, base } = await setUp(t);
    const config = { ...base, ...given };
    const steps = (into: LanguageStepEvent[]) => (event: { type: string }) => {
      if (event.type === 'step') into.push(event as LanguageStepEvent);
    };
    const whole: LanguageStepEvent[] = [];
    await trainLanguage(config, { onEvent: steps(whole) });
    const other = join(folder, 'other');
    await mkdir(other);
    await cp(join(base.output, 'checkpoint-18'), join(other, 'checkpoint-18'), { recursive: true });
    const rest: LanguageStepEvent[] = [];
    await trainLanguage({ output: other, resume: true }, { onEvent: steps(rest) });
    const figures = (events: readonly LanguageStepEvent[]) =>
      events.map(({ step, epoch, loss, lr, gradNorm, gradients, synthesiserLoss, tokens }) => ({
        ...{ step, epoch, loss, lr, gradNorm, gradients, synthesiserLoss, tokens },
      }));
    assert.deepEqual(figures(rest), figures(whole.slice(18)));
    assert.ok(whole.some(({ epoch }) => epoch > 0));
    for (const file of ['model.safetensors', 'config.json', 'vocabulary.json'])
      assert.deepEqual(
        await readFile(join(other, 'model', file)),
        await readFile(join(base.output, 'model', file)),
      );
  });
}

test('a run over epochs makes the updates that it says, and measures held-out text', async (t) => {
  const { folder, base } = await setUp(t);
  const { steps: _, ...config } = base;
  let announced = 0;
  const { steps, scores } = await trainLanguage(
    { ...config, epochs: 2, evaluation: { data: join(folder, 'held.txt'), every: 10 }, vocabulary: 'bytes' },
    {
      onEvent: (event) => {
        if (event.type === 'start') announced = event.steps;
      },
    },
  );
  assert.equal(steps, announced);
  assert.ok(steps > 20);
  assert.ok(scores!.bitsPerCharacter! < 8 && scores!.perplexity! > 1);
  assert.ok(Math.abs(Math.log2(scores!.perplexity!) - scores!.bitsPerCharacter!) < 1e-9);
});

test('another text or other settings are refused on the way, and a finished run is left', async (t) => {
  const { base } = await setUp(t);
  await trainLanguage(base);
  const { output } = base;
  const again = await trainLanguage({ output, resume: true });
  assert.deepEqual([again.steps, again.loss], [26, null]);
  const refuse = (given: object, message: RegExp) =>
    assert.rejects(trainLanguage({ output, resume: true, steps: 30, ...given }), { code: 'INPUT', message });
  await refuse({ rows: 3 }, /rows was 2, now 3/);
  await refuse({ across: { kind: 'exact' } }, /across\.kind was "none", now "exact"/);
  await writeFile(base.data as string, TEXT.replace('dog', 'cat'));
  await refuse({}, /other texts/);
  await assert.rejects(trainLanguage(base), { code: 'INPUT', message: /already holds a checkpoint/ });
});

test('wrong settings are told before anything is made', async (t) => {
  const { base } = await setUp(t);
  const cases: [object, RegExp][] = [
    [{ rows: 0 }, /config\.rows is 0/],
    [{ segment: { length: 0 } }, /config\.segment\.length is 0/],
    [{ segment: undefined }, /config\.segment\.length is missing/],
    [{ model: { vocabulary: 3 } }, /config\.model\.vocabulary is 3/],
    [{ model: { cell: 'rnn' } }, /config\.model\.cell is "rnn"/],
    [
      { model: { widht: 3 } },
      /config\.model\.widht is not a setting of a language model; did you mean width/,
    ],
    [{ across: { kind: 'real' } }, /config\.across\.kind is "real"/],
    [{ across: { kind: 'exact', factor: 1 } }, /config\.across\.factor is not a setting of exact/],
    [{ vocabulary: 'words' }, /config\.vocabulary is "words"/],
    [{ documents: 'page' }, /config\.documents is "page"/],
    [{ epochs: 1 }, /both epochs/],
    [{ model: '/no/such/folder', vocabulary: 'bytes' }, /config\.vocabulary is "bytes"; nothing/],
    [{ data: '/no/such/file' }, /no\/such\/file/],
  ];
  for (const [given, message] of cases)
    await assert.rejects(trainLanguage({ ...base, ...given }), { code: 'INPUT', message }, String(message));
  await assert.rejects(readFile(join(base.output, 'metrics.jsonl')), { code: 'ENOENT' });
});

test('held-out text that cannot be measured is told before the first update', async (t) => {
  const { folder, base } = await setUp(t);
  const data = join(folder, 'letters.txt');
  await writeFile(data, 'a\nd\ne\ng\n');
  const events: string[] = [];
  const run = trainLanguage(
    { ...base, documents: 'line', evaluation: { data } },
    { onEvent: ({ type }) => events.push(type) },
  );
  await assert.rejects(run, { code: 'INPUT', message: /nothing to predict/ });
  assert.deepEqual(events, ['start']);
});

test('a model beside the vocabulary of another one is refused', async (t) => {
  const { base } = await setUp(t);
  const { model } = await trainLanguage({ ...base, steps: 1 });
  for (const characters of ['abc', String.fromCharCode(...Array.from({ length: 300 }, (_, k) => 256 + k))]) {
    await writeFile(join(model, 'vocabulary.json'), JSON.stringify({ kind: 'characters', characters }));
    await assert.rejects(loadTextModel(model, {}), {
      code: 'CHECKPOINT',
      message: new RegExp(`a vocabulary of ${characters.length}`),
    });
  }
});

test('a run that diverges says where and at which learning rate, and leaves its checkpoint', async (t) => {
  const { base } = await setUp(t);
  const config: LanguageTrainConfig = {
    ...base,
    model: { cell: 'sru', width: 12, layers: 2 },
    schedule: { kind: 'constant', warmup: 0 },
    optimizer: { kind: 'adamw', lr: 1e38, weightDecay: 0, maxGradNorm: 1e30 },
    checkpoint: { every: 1 },
  };
  await assert.rejects(trainLanguage(config), {
    code: 'NON_FINITE',
    message: /^Step \d+ \(epoch 0, step \d+ of it\) was not made, at learning rate 1e\+38/,
  });
  await readFile(join(base.output, 'checkpoint-1', 'model.safetensors'));
});
