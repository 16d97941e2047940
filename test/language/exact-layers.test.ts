import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AcrossSegments,
  exactGradients,
  LanguageModel,
  type NewLanguageModel,
  type Segment,
} from '../../lib/index.js';
import { numbersOf, randomSegments } from './support.js';

const MODELS: Record<string, Omit<NewLanguageModel, 'vocabulary'>> = {
  SRU: { cell: 'sru', norm: 'after' },
  'SRU++ without attention': { cell: 'sru++', projected: 4, attentionLayers: [] },
  QRNN: { cell: 'qrnn' },
  'QRNN that sees two tokens': { cell: 'qrnn', qrnnWindow: 2 },
  LSTM: { cell: 'lstm' },
  GRU: { cell: 'gru' },
};

const create = (
  settings: Omit<NewLanguageModel, 'vocabulary'>,
  precision: 'float64' | 'float32' = 'float64',
) => LanguageModel.create({ vocabulary: 7, width: 6, layers: 2, ...settings }, { precision, seed: 2 });

/** Segments as one. */
function together(segments: readonly Segment[]): Segment {
  const { rows } = segments[0]!;
  const joined = (of: 'inputs' | 'targets') =>
    Int32Array.from(
      Array.from({ length: rows }, (_, row) =>
        segments.flatMap((segment) => {
          const length = segment.inputs.length / rows;
          return [...segment[of].slice(row * length, (row + 1) * length)];
        }),
      ).flat(),
    );
  return { rows, inputs: joined('inputs'), targets: joined('targets') };
}

const gradients = (model: LanguageModel) => numbersOf(model.parameters().map(({ tensor }) => tensor.grad!));

for (const [name, settings] of Object.entries(MODELS)) {
  test(`the exact gradient over segments is that of one segment: ${name}`, async () => {
    const segments = randomSegments([4, 4, 4, 3]);
    const [whole, cut] = [create(settings), create(settings)];
    const one = await new AcrossSegments(whole, { across: 'none' }).step(together(segments));
    const exact = await new AcrossSegments(cut, { across: 'exact' }).step(segments);
    assert.ok(Math.abs(one.loss - exact.loss) < 1e-12);
    const wanted = gradients(whole);
    const scale = Math.max(...wanted.map(Math.abs));
    gradients(cut).forEach((value, index) => {
      assert.ok(Math.abs(value - wanted[index]!) < 1e-10 * scale, `gradient ${index}`);
    });
  });
}

test('kept graphs change no bit, with dropout and with the attention of SRU++', async () => {
  const dropped = { dropout: 0.2, inputDropout: 0.2, outputDropout: 0.2 };
  const models = { ...MODELS, 'SRU++': { cell: 'sru++', projected: 4, attentionDropout: 0.2 } as const };
  for (const [name, settings] of Object.entries(models)) {
    const results: number[][] = [];
    const graph = create(settings).graphBytes(randomSegments([4])[0]!);
    for (const retain of [
      { segments: 0 },
      'last',
      { segments: 2 },
      { bytes: 2.5 * graph },
      { segments: 9 },
    ] as const) {
      const model = create({ ...settings, ...dropped }, 'float32');
      const training = new AcrossSegments(model, { across: exactGradients({ retain }) });
      await training.step(randomSegments([4, 4, 4], { ends: [[], [1]] }), { seed: 4 });
      results.push(gradients(model));
      model.dispose();
    }
    for (const other of results.slice(1)) assert.deepEqual(other, results[0], name);
  }
});
