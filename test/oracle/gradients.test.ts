import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GradCache, infoNCE, TextEncoder, type ChunkSize, type Parameter } from '../../lib/index.js';
import { assertSameGradients, type Numbers } from './compare.js';
import { architectures, Oracle, readGradients, type LossSettings } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const ROWS = 7;
let oracle: Oracle;
let columns: string[][];

before(async () => {
  oracle = new Oracle();
  const texts = await oracle.sentences(3, 3 * ROWS, 1, 30);
  columns = [texts.slice(0, ROWS), texts.slice(ROWS, 2 * ROWS), texts.slice(2 * ROWS)];
});

after(() => oracle.close());

async function ourGradients(
  parameters: readonly Parameter[],
  unused: readonly string[],
): Promise<Map<string, Numbers>> {
  const gradients = new Map<string, Numbers>();
  for (const { name, tensor } of parameters) {
    if (!unused.includes(name))
      gradients.set(name, (await tensor.grad!.values()) as Float32Array | Float64Array);
  }
  return gradients;
}

/** PyTorch computes in float64 for both: in float32 its own rounding (up to 5e-5 here) would be what is measured. */
async function compare(
  folder: string,
  texts: string[][],
  settings: LossSettings,
  chunk: ChunkSize = { tokens: 100 },
): Promise<void> {
  const { temperature = 0.05, similarity, symmetric, targets } = settings;
  const expected = await oracle.gradients(folder, texts, { ...settings, dtype: 'float64' });
  const expectedByName = await readGradients(expected);
  for (const [precision, tolerance] of [
    ['float32', 1e-5],
    ['float64', 1e-9],
  ] as const) {
    const encoder = await TextEncoder.load(folder, { device, precision, dropout: 0 });
    const loss = infoNCE({ temperature, similarity, symmetric });
    const gradcache = new GradCache({ encoders: texts.map(() => encoder), loss, chunk });
    const result = await gradcache.step(
      texts.map((column) => encoder.tokenize(column)),
      targets === undefined ? {} : { loss: { targets } },
    );
    assert.ok(result.chunks > texts.length, 'several chunks');
    assert.ok(
      Math.abs(result.loss - expected.loss) <= tolerance * Math.abs(expected.loss),
      `${precision}: loss ${result.loss}, in Python ${expected.loss}`,
    );
    const ours = await ourGradients(encoder.parameters(), expected.unused);
    assertSameGradients(ours, expectedByName, tolerance, precision);
    encoder.dispose();
  }
}

for (const name of architectures) {
  test(`${name}: loss and gradients of the cached step are those of PyTorch's full batch`, async () => {
    await compare(await oracle.saveTransformer(name, name), columns, {});
  });
}

test('long texts reach every distance bucket of MPNet', async () => {
  const long = await oracle.sentences(4, 6, 150, 190);
  await compare(await oracle.saveTransformer('mpnet', 'mpnet-long'), [long.slice(0, 3), long.slice(3)], {});
});

test('the padding token as a literal part of a text', async () => {
  const texts = [
    ['cat <pad> dog', 'run <pad>', 'swim'],
    ['<pad>', 'walk fast', 'a [PAD] b'],
  ];
  for (const name of ['roberta', 'mpnet', 'bert']) {
    await compare(await oracle.saveTransformer(name, `${name}-literal`), texts, {}, { sequences: 2 });
  }
});

const losses: [string, LossSettings][] = [
  ['both directions', { symmetric: true, temperature: 0.07 }],
  ['the dot product', { similarity: 'dot', temperature: 3 }],
  ['explicit targets', { targets: [3, 8, 8, 0, 13, 1, 2], temperature: 0.1 }],
  [
    'explicit targets in both directions',
    { targets: [3, 8, 8, 0, 13, 1, 2], symmetric: true, temperature: 0.1 },
  ],
];

for (const [title, settings] of losses) {
  test(`InfoNCE with ${title}`, async () => {
    await compare(await oracle.saveTransformer('bert', title.replaceAll(' ', '-')), columns, settings);
  });
}

test('every module of a sentence-transformers folder takes part', async () => {
  const folder = await oracle.saveSentenceTransformer('bert', 'modules', {
    pooling: 'mean',
    dense: [
      [20, 'tanh', true],
      [9, 'identity', false],
    ],
    normalize: true,
  });
  await compare(folder, columns, {});
});

for (const pooling of ['mean', 'cls', 'max', 'lasttoken'] as const) {
  for (const normalize of [false, true]) {
    test(`gradients through ${pooling} pooling${normalize ? ' and normalization' : ''}`, async () => {
      const name = `${pooling}-${normalize}`;
      const folder = await oracle.saveSentenceTransformer('distilbert', name, { pooling, normalize });
      await compare(folder, columns, {});
    });
  }
}

test('a learned temperature', async () => {
  const folder = await oracle.saveTransformer('bert', 'learned');
  const settings = { temperature: 0.07, learned: true, symmetric: true };
  const expected = await oracle.gradients(folder, columns.slice(0, 2), { ...settings, dtype: 'float64' });
  const encoder = await TextEncoder.load(folder, { device, precision: 'float64', dropout: 0 });
  const loss = infoNCE({ temperature: { initial: 0.07, learned: true }, symmetric: true });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, chunk: { sequences: 3 } });
  await gradcache.step(columns.slice(0, 2).map((column) => encoder.tokenize(column)));
  const [parameter] = loss.parameters();
  const gradient = parameter!.tensor.grad!.item();
  assert.ok(Math.abs(gradient - expected.logScaleGradient!) <= 1e-6 * Math.abs(expected.logScaleGradient!));
  encoder.dispose();
});
