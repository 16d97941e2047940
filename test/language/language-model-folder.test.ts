import assert from 'node:assert/strict';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { LanguageModel, readSafetensors, writeSafetensors, type NewLanguageModel } from '../../lib/index.js';
import { temporaryFolder } from '../training/support.js';
import { movedModel, numbersOf, randomSegments } from './support.js';

const [SEGMENT] = randomSegments([5]);

const MODELS: NewLanguageModel[] = [
  { vocabulary: 7, layers: 2, width: 8, projected: 4, heads: 2, attentionLayers: [1], memory: 3, window: 5 },
  {
    vocabulary: 7,
    layers: 1,
    width: 8,
    cell: 'sru',
    cutoffs: [3, 5],
    divisor: 2,
    output: 'tied',
    norm: 'after',
  },
  {
    vocabulary: 7,
    layers: 3,
    width: 8,
    cell: 'qrnn',
    embedding: 4,
    qrnnWindow: 2,
    output: 'tied',
    dropout: 0.3,
  },
  { vocabulary: 7, layers: 1, width: 8, cell: 'lstm', weightDropout: 0.5, bias: false },
];

test('a saved model opens with the same settings and the same bits', async (t) => {
  const folder = join(await temporaryFolder(t), 'model');
  for (const settings of MODELS) {
    for (const precision of ['float32', 'float64'] as const) {
      using model = movedModel(settings, precision);
      await model.save(folder);
      assert.deepEqual((await readdir(folder)).toSorted(), ['config.json', 'model.safetensors']);
      using opened = await LanguageModel.load(folder, { precision });
      assert.deepEqual(opened.settings, model.settings);
      const values = (of: LanguageModel) => numbersOf(of.parameters().map(({ tensor }) => tensor));
      assert.deepEqual(values(opened), values(model));
      const likelihoods = async (of: LanguageModel) =>
        (await of.logLikelihoods(SEGMENT!, of.initialState(3))).values;
      assert.deepEqual(await likelihoods(opened), await likelihoods(model));
    }
  }
});

async function saved(t: TestContext): Promise<string> {
  const folder = join(await temporaryFolder(t), 'model');
  using model = movedModel(MODELS[0]!);
  await model.save(folder);
  return folder;
}

test('a config.json that is damaged, strange or of other weights is refused', async (t) => {
  const folder = await saved(t);
  const path = join(folder, 'config.json');
  const good = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  const cases: [unknown, RegExp][] = [
    ['{', /not JSON/],
    ['[]', /not a JSON object/],
    [{ ...good, model_type: 'bert' }, /model_type is "bert"; "gradcache-language-model"/],
    [{ ...good, vocabulary: undefined }, /vocabulary is missing/],
    [{ ...good, vocabulary: 2 ** 31 - 1, width: 2 ** 31 - 1 }, /weights are not those/],
    [{ ...good, layers: 4096 }, /missing: layers\.2/],
    [{ ...good, layers: 1e9 }, /layers is 1000000000/],
    [{ ...good, layers: 1, attentionLayers: [0] }, /unexpected: layers\.1/],
    [{ ...good, width: '8' }, /width is "8"/],
    [{ ...good, width: 9 }, /of another shape/],
    [{ ...good, heads: 3 }, /heads is 3; a divisor of projected/],
    [{ ...good, cutoffs: [5, 3] }, /cutoffs\[1\] is 3; a number above the one before/],
    [{ ...good, cutoffs: [3, 7] }, /cutoffs\[1\] is 7/],
    [{ ...good, cutoffs: [3], divisor: 9 }, /divisor is 9/],
    [{ ...good, dropout: 1 }, /dropout is 1/],
    [{ ...good, dropuot: 0.1 }, /dropuot is not a setting.* did you mean dropout/],
    [{ ...good, qrnnWindow: 2 }, /qrnnWindow is a setting of layers of qrnn/],
    [{ ...good, cell: 'rnn' }, /cell is "rnn"/],
    [{ ...good, constructor: 1 }, /constructor/],
  ];
  for (const [config, message] of cases) {
    await writeFile(path, typeof config === 'string' ? config : JSON.stringify(config));
    await assert.rejects(LanguageModel.load(folder), { code: 'CHECKPOINT', message });
  }
  await writeFile(path, JSON.stringify(good));
  (await LanguageModel.load(folder)).dispose();
});

test('weights that are missing, unexpected, misshapen or damaged are refused, and no folder of something else is written', async (t) => {
  const folder = await saved(t);
  const path = join(folder, 'model.safetensors');
  const weights = await readSafetensors(path);
  const without = new Map([...weights].filter(([name]) => name !== 'output.bias'));
  await writeSafetensors(path, without);
  await assert.rejects(LanguageModel.load(folder), { code: 'CHECKPOINT', message: /missing: output\.bias/ });
  const bias = weights.get('output.bias')!;
  await writeSafetensors(path, [...without, ['output.bias', { ...bias, shape: [7, 1] }]]);
  await assert.rejects(LanguageModel.load(folder), {
    code: 'CHECKPOINT',
    message: /another shape: output\.bias/,
  });
  await writeSafetensors(path, [...weights, ['more', bias]]);
  await assert.rejects(LanguageModel.load(folder), { code: 'CHECKPOINT', message: /unexpected: more/ });
  await writeFile(path, 'nothing');
  await assert.rejects(LanguageModel.load(folder), { code: 'CHECKPOINT' });
  await assert.rejects(LanguageModel.load(join(folder, 'none')), {
    code: 'CHECKPOINT',
    message: /no config\.json/,
  });

  const other = await temporaryFolder(t);
  await writeFile(join(other, 'notes.txt'), 'mine');
  using model = movedModel(MODELS[0]!);
  await assert.rejects(model.save(other), { code: 'INPUT' });
  assert.deepEqual(await readdir(other), ['notes.txt']);
});

test('settings that have no meaning for a model are refused, never ignored', () => {
  const base = { vocabulary: 7, layers: 2, width: 8 };
  const cases: [object, RegExp][] = [
    [{ cell: 'lstm', heads: 2 }, /heads is a setting of layers of sru\+\+/],
    [{ cell: 'sru', weightDropout: 0.1 }, /weightDropout is a setting of layers of qrnn, lstm, gru/],
    [{ cell: 'gru', norm: 'before' }, /norm is a setting of layers of sru, sru\+\+/],
    [{ divisor: 2 }, /divisor is a setting of a vocabulary with cut-offs/],
    [{ tiedProjections: false }, /tiedProjections is a setting of a tied softmax/],
    [{ attentionLayers: [2] }, /attentionLayers\[0\] is 2/],
    [{ attentionLayers: [1, 1] }, /different numbers/],
    [{ attentionLayers: [1], attentionEvery: 2 }, /give one of them/],
    [{ memory: -1 }, /memory is -1/],
    [{ adversarialNoise: -0.1 }, /adversarialNoise is -0.1/],
  ];
  for (const [settings, message] of cases)
    assert.throws(() => LanguageModel.create({ ...base, ...settings }), { code: 'INPUT', message });
});
