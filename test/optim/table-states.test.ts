/** Updates of a table whose gradients are of rows: those rows alone, each as the optimizer updates any parameter. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AdamW, call, GradCache, infoNCE, RAdam, TextEncoder, type TokenBatch } from '../../lib/index.js';
import type { StoredTensor } from '../../lib/safetensors/safetensors.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { device } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

const VOCABULARY = 97;
const WIDTH = 6;
const NAME = 'embedding.weight';
const tokenizer = await smallTokenizer(VOCABULARY, { specialTokens: false });
const RATES = { lr: 0.02, weightDecay: 0.1, betas: [0.8, 0.95] as const };

const create = (options: object = {}): TextEncoder =>
  TextEncoder.create({ model_type: 'static', vocab_size: VOCABULARY, hidden_size: WIDTH }, tokenizer, {
    ...{ seed: 4, device, precision: 'float64', embeddingGradients: 'rows' },
    ...options,
  });

/** Texts of the given words, two of each text. */
const words = (...texts: number[][]): TokenBatch => {
  const offsets = [0];
  for (const text of texts) offsets.push(offsets.at(-1)! + text.length);
  return { ids: Int32Array.from(texts.flat()), offsets: Int32Array.from(offsets), truncated: 0 };
};

const STEPS = [
  words([3, 4], [5], [6, 3]),
  words([5, 7], [8], [9]),
  words([3], [9, 4], [5]),
  words([90], [3, 8], [91, 92, 93]),
];

async function step(encoder: TextEncoder, batch: TokenBatch): Promise<void> {
  const loss = infoNCE({ temperature: 0.3 });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 2 } });
  await gradcache.step([batch, { ...batch, ids: Int32Array.from(batch.ids).reverse() }]);
}

const tableOf = (encoder: TextEncoder) => encoder.parameters()[0]!.tensor;
const values = async (encoder: TextEncoder): Promise<Float64Array> =>
  (await tableOf(encoder).values()) as Float64Array;

test('rows are updated as AdamW updates them, with their own moments and the count of the table; others stay', async () => {
  using encoder = create();
  using optimizer = new AdamW(encoder.parameters(), { ...RATES, maxGradNorm: 0.05 });
  const [beta1, beta2] = RATES.betas;
  const means = new Map<number, Float64Array>();
  const squares = new Map<number, Float64Array>();
  const expected = Float64Array.from(await values(encoder));
  for (const [index, batch] of STEPS.entries()) {
    await step(encoder, batch);
    const gradient = (await call('aten::to_dense', tableOf(encoder).grad!).values()) as Float64Array;
    const norm = Math.hypot(...gradient);
    const { gradNorm } = await optimizer.step();
    assert.ok(Math.abs(gradNorm / norm - 1) < 1e-12 && norm > 0.05, `${gradNorm}, ${norm}`);
    for (const row of new Set(batch.ids)) {
      const mean = means.get(row) ?? new Float64Array(WIDTH);
      const square = squares.get(row) ?? new Float64Array(WIDTH);
      for (let k = 0; k < WIDTH; k++) {
        const place = row * WIDTH + k;
        const slope = (gradient[place]! * 0.05) / (norm + 1e-6);
        mean[k] = beta1 * mean[k]! + (1 - beta1) * slope;
        square[k] = beta2 * square[k]! + (1 - beta2) * slope ** 2;
        const size = Math.sqrt(square[k]! / (1 - beta2 ** (index + 1))) + 1e-8;
        expected[place]! *= 1 - RATES.lr * RATES.weightDecay;
        expected[place]! -= (RATES.lr * mean[k]!) / (1 - beta1 ** (index + 1)) / size;
      }
      means.set(row, mean);
      squares.set(row, square);
    }
    const now = await values(encoder);
    for (const [place, wanted] of expected.entries())
      assert.ok(Math.abs(now[place]! - wanted) < 1e-12, `step ${index}, row ${Math.floor(place / WIDTH)}`);
    assert.equal(tableOf(encoder).grad, null);
  }
});

test('where every step has all rows, updates are those of a dense table', async () => {
  const all = Array.from({ length: VOCABULARY - 1 }, (_, k) => k + 1);
  for (const [Optimizer, precision] of [
    [AdamW, 'float32'],
    [RAdam, 'float64'],
  ] as const) {
    using rows = create({ precision });
    using dense = create({ precision, embeddingGradients: 'dense' });
    for (const encoder of [rows, dense]) {
      using optimizer = new Optimizer(encoder.parameters(), { lr: 0.02, weightDecay: 0 });
      for (const shift of [1, 2, 3])
        for (const text of [all.slice(0, 40), all.slice(20)]) {
          await step(encoder, words(text, [...all.slice(shift), ...all.slice(0, shift)]));
          await optimizer.step();
        }
    }
    // Fused kernels round the elements at the end of a tensor in another way.
    const expected = await values(dense);
    const tolerance = precision === 'float64' ? 1e-12 : 1e-5;
    for (const [place, value] of (await values(rows)).entries())
      assert.ok(Math.abs(value - expected[place]!) < tolerance, `${place}: ${value}, ${expected[place]!}`);
  }
});

test('the state is of rows that were updated, and goes on from a checkpoint bit for bit', async () => {
  using encoder = create();
  using optimizer = new AdamW(encoder.parameters(), RATES);
  for (const batch of STEPS.slice(0, 2)) {
    await step(encoder, batch);
    await optimizer.step();
  }
  const state = await optimizer.state();
  assert.deepEqual(
    Array.from(state, ([name, { dtype, shape }]) => [name, dtype, shape]),
    [
      [`rows.${NAME}`, 'int64', [7]],
      [`exp_avg.${NAME}`, 'float64', [7, WIDTH]],
      [`exp_avg_sq.${NAME}`, 'float64', [7, WIDTH]],
      [`step.${NAME}`, 'float32', []],
    ],
  );
  using other = create();
  tableOf(other).copyFrom(tableOf(encoder));
  using again = new AdamW(other.parameters(), RATES);
  again.loadState(state);
  for (const [model, updates] of [
    [encoder, optimizer],
    [other, again],
  ] as const)
    for (const batch of STEPS.slice(2)) {
      await step(model, batch);
      await updates.step();
    }
  assert.deepEqual(await values(other), await values(encoder));
  assert.deepEqual(await again.state(), await optimizer.state());
});

test('a damaged state, or that of a dense table, is refused and changes nothing', async () => {
  using encoder = create();
  using optimizer = new AdamW(encoder.parameters(), RATES);
  await step(encoder, STEPS[0]!);
  await optimizer.step();
  const state = await optimizer.state();
  const rows = (...numbers: number[]): StoredTensor => ({
    dtype: 'int64',
    shape: [numbers.length],
    bytes: new Uint8Array(BigInt64Array.from(numbers, BigInt).buffer),
  });
  const changed = (changes: Record<string, StoredTensor | undefined>): Map<string, StoredTensor> => {
    const copy = new Map(state);
    for (const [name, tensor] of Object.entries(changes))
      if (tensor === undefined) copy.delete(`${name}.${NAME}`);
      else copy.set(`${name}.${NAME}`, tensor);
    return copy;
  };
  const wrong: [Map<string, StoredTensor>, RegExp][] = [
    [changed({ rows: undefined }), /rows\.embedding\.weight is missing/],
    [changed({ rows: rows(3, 4, 5, 97) }), /row 97 of 97 rows/],
    [changed({ rows: rows(3, 4, 5, -1) }), /row -1 of 97/],
    [changed({ rows: rows(3, 4, 5, 4) }), /row 4 of 97 twice/],
    [changed({ rows: rows(3, 4, 5) }), /exp_avg\.embedding\.weight is float64 \[4, 6\]/],
    [
      changed({ rows: { ...rows(3, 4, 5, 6), bytes: new Uint8Array(29) } }),
      /rows\.\S+ has shape \[4\].* 29 bytes/,
    ],
    [
      changed({ rows: { ...rows(3, 4, 5, 6), bytes: undefined as never } }),
      /rows\.\S+ is no \{ dtype, shape/,
    ],
    [changed({ rows: { ...rows(3, 4, 5, 6), shape: [-4] } }), /rows\.\S+ is no \{ dtype, shape/],
    [
      changed({ exp_avg: { dtype: 'float64', shape: [4, WIDTH], bytes: new Uint8Array(8) } }),
      /exp_avg.* 8 bytes/,
    ],
    [changed({ master: rows(1) }), /master\.embedding\.weight belongs to no parameter/],
    [changed({ exp_avg: undefined }), /exp_avg\.embedding\.weight is missing/],
    [new Map([...state, ['rows.other', rows(1)]]), /rows\.other belongs to no parameter/],
  ];
  for (const [stored, message] of wrong)
    assert.throws(() => optimizer.loadState(stored), fails('CHECKPOINT', message));
  assert.deepEqual(await optimizer.state(), state);
  using dense = create({ embeddingGradients: 'dense' });
  using whole = new AdamW(dense.parameters(), RATES);
  assert.throws(() => whole.loadState(state), fails('CHECKPOINT', /its parameter needs float64 \[97, 6\]/));
});

test('a gradient that is no number is refused before any row or its state changes', async () => {
  using encoder = create();
  using optimizer = new AdamW(encoder.parameters(), RATES);
  await step(encoder, STEPS[0]!);
  await optimizer.step();
  const [state, before] = [await optimizer.state(), await values(encoder)];
  await step(encoder, STEPS[3]!);
  call('aten::fill_.Scalar', call('aten::_values', tableOf(encoder).grad!), NaN).dispose();
  await assert.rejects(optimizer.step(), fails('NON_FINITE', /at fault: embedding\.weight/));
  assert.deepEqual(await values(encoder), before);
  assert.deepEqual(await optimizer.state(), state);
});
