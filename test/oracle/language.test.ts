import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  AcrossSegments,
  exactGradients,
  LanguageModel,
  type NewLanguageModel,
  type Segment,
} from '../../lib/index.js';
import { movedModel, numbersOf, randomSegments } from '../language/support.js';
import { assertSameGradients } from './compare.js';
import { Oracle, readGradients } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const SMALL = { vocabulary: 7, layers: 2, width: 16 } as const;

const MODELS: Readonly<Record<string, NewLanguageModel>> = {
  lstm: { ...SMALL, cell: 'lstm' },
  'lstm, adaptive softmax': { ...SMALL, cell: 'lstm', cutoffs: [2, 5], divisor: 2, bias: false },
  gru: { ...SMALL, cell: 'gru' },
  qrnn: { ...SMALL, cell: 'qrnn' },
  'qrnn with gates that see two tokens': { ...SMALL, cell: 'qrnn', qrnnWindow: 2 },
  sru: { ...SMALL, cell: 'sru', norm: 'before' },
  'sru++': { ...SMALL, projected: 6 },
  'sru++, heads, attention in every second layer, adaptive softmax': {
    ...{ ...SMALL, projected: 8, heads: 2, attentionEvery: 2, norm: 'after' },
    ...{ cutoffs: [3], divisor: 4, bias: false },
  },
};

let oracle: Oracle;

before(() => {
  oracle = new Oracle();
});

after(() => oracle.close());

function byRow({ rows, inputs, targets }: Segment): [number[][], number[][]] {
  const length = inputs.length / rows;
  const lists = (ids: Int32Array) =>
    Array.from({ length: rows }, (_, row) => [...ids.subarray(row * length, (row + 1) * length)]);
  return [lists(inputs), lists(targets)];
}

for (const [name, settings] of Object.entries(MODELS)) {
  test(`${name}: loss and exact gradients across segments equal those of one graph in PyTorch`, async () => {
    const folder = oracle.path(name);
    using made = movedModel(settings);
    await made.save(folder);
    // The memory of attention is the segment before, so all but the last have one length.
    const segments = randomSegments([4, 4, 3]);
    const expected = await oracle.languageGradients(folder, segments.map(byRow));
    for (const [precision, tolerance] of [
      // A GPU adds in another order, and the gradient of alpha is one sum over all that attention adds.
      ['float32', device === 'cpu' ? 1e-5 : 3e-5],
      ['float64', 1e-9],
    ] as const) {
      using model = await LanguageModel.load(folder, { device, precision });
      const training = new AcrossSegments(model, { across: exactGradients() });
      const { loss } = await training.step(segments, { weight: 1 });
      const mean = expected.loss / 33;
      assert.ok(Math.abs(loss - mean) <= tolerance * mean, `${loss}, ${mean}`);
      const ours = new Map(
        model.parameters().map(({ name: key, tensor }) => [key, numbersOf([tensor.grad!])]),
      );
      assertSameGradients(ours, await readGradients(expected), tolerance, precision);
    }
  });
}

test('in evaluation attention looks back over a window that slides, across segments of any length', async () => {
  using made = movedModel({ ...SMALL, layers: 3, projected: 8, heads: 2, attentionEvery: 2 });
  const folder = oracle.path('window');
  await made.save(folder);
  using model = await LanguageModel.load(folder, { device, precision: 'float64' });
  const window = 5;
  const [text] = randomSegments([13]) as [Segment];
  const { loss: expected } = await oracle.languageGradients(folder, [byRow(text)], { window });
  for (const lengths of [[13], [4, 6, 3], [1, 1, 9, 2]]) {
    let loss = 0;
    let begin = 0;
    let here = model.initialState(text.rows);
    for (const length of lengths) {
      const cut = (ids: Int32Array) =>
        Int32Array.from(
          { length: text.rows * length },
          (_, k) => ids[Math.floor(k / length) * 13 + begin + (k % length)]!,
        );
      const segment = { rows: text.rows, inputs: cut(text.inputs), targets: cut(text.targets) };
      const { values, after: next } = await model.logLikelihoods(segment, here, { window });
      for (const value of values) loss -= value;
      here = next;
      begin += length;
    }
    assert.ok(Math.abs(loss - expected) <= 1e-10 * expected, `${lengths.join()}: ${loss}, ${expected}`);
  }
});
