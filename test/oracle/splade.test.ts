import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  AdamW,
  distillKLDiv,
  GradCache,
  infoNCE,
  marginMSE,
  splade,
  TextEncoder,
  type Loss,
  type SpladeOptions,
} from '../../lib/index.js';
import { assertClose, assertSameGradients, largestDifference, type Numbers } from './compare.js';
import { Oracle, readGradients, type SparseEncoderSettings } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const ROWS = 7;
/** Every architecture with a masked language model in transformers. */
const NAMES = [
  'bert',
  'bert-relu',
  'bert-gelu-new',
  'roberta',
  'xlm-roberta',
  'distilbert',
  'mpnet',
  'electra',
  'modernbert',
  'modernbert-biased',
  'deberta-v2',
  'deberta-v2-products',
  'eurobert',
  'albert',
  'ernie',
];
const POOLINGS: readonly SparseEncoderSettings[] = [
  { strategy: 'max' },
  { strategy: 'sum', legacy: true },
  { strategy: 'max', activation: 'log1p_relu' },
  { strategy: 'sum', activation: 'log1p_relu' },
];

let oracle: Oracle;
let columns: string[][];

before(async () => {
  oracle = new Oracle();
  const texts = await oracle.sentences(3, 3 * ROWS, 1, 30);
  columns = [texts.slice(0, ROWS), texts.slice(ROWS, 2 * ROWS), texts.slice(2 * ROWS)];
});

after(() => oracle.close());

/** Scores of random models are in the hundreds, those of summed logits in the thousands: float32 has few digits left of 1. */
const ranking = (temperature = 20): Loss => infoNCE({ similarity: 'dot', temperature });

/** One cached step against CachedSpladeLoss, both in float64, and ours also in float32. */
async function compare(
  folder: string,
  texts: readonly (readonly string[])[],
  options: SpladeOptions,
  {
    pooling,
    temperature = 20,
    loss = ranking(temperature),
    base = 'ranking',
    baseOptions = { scale: 1 / temperature },
    labels,
  }: Partial<Base> = {},
): Promise<void> {
  const expected = await oracle.spladeGradients(folder, texts, {
    base,
    base_options: baseOptions,
    options: inPython(options),
    ...(labels !== undefined && { labels }),
  });
  const gradients = await readGradients(expected);
  for (const [precision, tolerance] of [
    ['float32', 1e-5],
    ['float64', 1e-10],
  ] as const) {
    for (const retain of [{ bytes: 0 }, { bytes: 1e9 }]) {
      using encoder = await TextEncoder.load(folder, { device, precision, dropout: 0, pooling });
      const gradcache = new GradCache({
        encoders: texts.map(() => encoder),
        loss: splade(loss, options),
        chunk: { tokens: 60 },
        retain,
      });
      const result = await gradcache.step(
        texts.map((column) => encoder.tokenize(column)),
        labels === undefined ? {} : { loss: { labels } },
      );
      assert.ok(result.chunks > texts.length, 'several chunks');
      assertClose([result.loss], [expected.loss], tolerance, `${precision}: loss`);
      const ours = new Map<string, Numbers>();
      for (const { name, tensor } of encoder.parameters())
        if (!expected.unused.includes(name)) ours.set(name, (await tensor.grad!.values()) as Float64Array);
      assertSameGradients(ours, gradients, tolerance, precision);
    }
  }
}

interface Base {
  readonly pooling: 'splade' | undefined;
  readonly temperature: number;
  readonly loss: Loss;
  readonly base: 'ranking' | 'marginMSE' | 'distillKLDiv';
  readonly baseOptions: Readonly<Record<string, unknown>>;
  readonly labels: unknown;
}

/** Names of arguments as Python writes them. */
function inPython(options: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value as unknown,
    ]),
  );
}

const WEIGHTS = { documentRegularizerWeight: 0.03, queryRegularizerWeight: 0.05 };

for (const name of NAMES) {
  test(`${name}: representations, loss and gradients are SparseEncoder's, and the saved folder opens there`, async () => {
    const folder = await oracle.saveLanguageModel(name, name);
    await compare(folder, columns.slice(0, 2), WEIGHTS, { pooling: 'splade' });

    using encoder = await TextEncoder.load(folder, { device, pooling: 'splade' });
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss: splade(ranking(), WEIGHTS) });
    await gradcache.step(columns.slice(0, 2).map((column) => encoder.tokenize(column)));
    await new AdamW(encoder.parameters(), { lr: 1e-3 }).step();
    const saved = oracle.path(`${name}-saved`);
    await encoder.save(saved);
    await assertSame(saved, encoder);
  });
}

/** The encoder's representations are those of a folder, opened in Python and here. */
async function assertSame(folder: string, encoder: TextEncoder): Promise<void> {
  const texts = columns[2]!;
  const { embeddings, similarity, dimension } = await oracle.embedSparse(folder, texts);
  const ours = (await (await encoder.encode(texts)).values()) as Float32Array;
  assert.ok(largestDifference(ours, embeddings.flat()) <= 1e-5 * Math.max(...embeddings.flat()));
  assert.deepEqual([encoder.similarity, encoder.dimension], [similarity, dimension]);
  using reopened = await TextEncoder.load(folder, { device });
  assert.deepEqual(await (await reopened.encode(texts)).values(), ours, 'our own reading of it, bit for bit');
  // Without zeros they are the same.
  const { values, columns: places, offsets } = await reopened.encodeSparse(texts);
  const dense = new Float32Array(ours.length);
  for (const row of texts.keys())
    for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++)
      dense[row * dimension + places[entry]!] = values[entry]!;
  assert.deepEqual(dense, ours);
  assert.ok(values.every((value) => value > 0));
}

for (const settings of POOLINGS) {
  test(`a folder of SparseEncoder: ${JSON.stringify(settings)}`, async () => {
    const folder = await oracle.saveSparseEncoder('bert', `folder-${POOLINGS.indexOf(settings)}`, settings);
    await compare(folder, columns.slice(0, 2), WEIGHTS, {
      temperature: settings.strategy === 'sum' ? 500 : 20,
    });
    using encoder = await TextEncoder.load(folder, { device });
    assert.equal(encoder.sparse, true);
    const saved = oracle.path(`folder-${POOLINGS.indexOf(settings)}-saved`);
    await encoder.save(saved);
    await assertSame(saved, encoder);
  });
}

const CASES: [string, SpladeOptions][] = [
  ['no query regulariser', { documentRegularizerWeight: 0.1 }],
  ['thresholds', { ...WEIGHTS, documentRegularizerThreshold: 90, queryRegularizerThreshold: 100 }],
  ['documents only', { documentRegularizerWeight: 0.1, useDocumentRegularizerOnly: true }],
];

for (const [title, options] of CASES) {
  test(`CachedSpladeLoss with hard negatives: ${title}`, async () => {
    const folder = await oracle.saveSparseEncoder('distilbert', title.replaceAll(' ', '-'));
    await compare(folder, columns, options);
  });
}

test('other losses inside of CachedSpladeLoss: Margin-MSE and a distilled ranking', async () => {
  const folder = await oracle.saveSparseEncoder('bert', 'distilled');
  const margins = Array.from({ length: ROWS }, (_, row) => [Math.sin(row) * 40]);
  const scores = Array.from({ length: ROWS }, (_, row) => [Math.sin(row) * 3, Math.cos(row) * 3]);
  await compare(folder, columns, WEIGHTS, {
    base: 'marginMSE',
    loss: marginMSE(),
    baseOptions: {},
    labels: margins,
  });
  await compare(folder, columns, WEIGHTS, {
    base: 'distillKLDiv',
    loss: distillKLDiv({ temperature: 20 }),
    baseOptions: { temperature: 20 },
    labels: scores,
  });
});
