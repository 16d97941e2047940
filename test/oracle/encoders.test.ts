import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TextEncoder } from '../../lib/index.js';
import { largestDifference } from './compare.js';
import { architectures, Oracle, type Embeddings, type SentenceTransformerSettings } from './oracle.js';
import { miniLM } from './python.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
let oracle: Oracle;
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = [
    ...(await oracle.sentences(1, 14, 1, 30)),
    ...(await oracle.sentences(2, 2, 170, 170)), // too long for all but MPNet, whose farthest distances they reach
    '',
    'cat',
    'cat dog cat dog',
    'Zürich, ZÜRICH  zürich',
  ];
});

after(() => oracle.close());

/** Ids first: an output can only be right when the ids are. */
async function assertSame(
  folder: string,
  expected: Embeddings,
  options: { prompt?: string } = {},
): Promise<void> {
  for (const [precision, tolerance] of [
    ['float32', 1e-5],
    ['float64', 1e-10],
  ] as const) {
    const encoder = await TextEncoder.load(folder, { device, precision });
    try {
      const { ids, offsets } = await encoder.tokenize(texts, options);
      const rows = texts.map((_, row) => [...ids.subarray(offsets[row], offsets[row + 1])]);
      assert.deepEqual(rows, expected.ids, 'token ids');
      assert.equal(encoder.dimension, expected.dimension);
      const ours = await encoder.encode(texts, { ...options, tokensPerChunk: 200 });
      assert.deepEqual(ours.shape, [texts.length, expected.dimension]);
      const error = largestDifference(await numbers(ours), expected.embeddings.flat());
      assert.ok(error <= tolerance * largest(expected), `${precision}: largest difference ${error}`);
    } finally {
      encoder.dispose();
    }
  }
}

const numbers = async (tensor: { values(): Promise<unknown> }) =>
  (await tensor.values()) as Float32Array | Float64Array;
const largest = ({ embeddings }: Embeddings) => Math.max(...embeddings.flat().map(Math.abs));

for (const name of architectures) {
  test(`${name} gives the representations that transformers gives`, async () => {
    const folder = await oracle.saveTransformer(name, name);
    await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64' }));
  });
}

for (const dtype of ['float16', 'bfloat16']) {
  test(`a checkpoint in ${dtype} is read exactly`, async () => {
    const folder = await oracle.saveTransformer('bert', `bert-${dtype}`, { dtype });
    await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64' }));
  });
}

test('a sharded checkpoint is read', async () => {
  const folder = await oracle.saveTransformer('roberta', 'sharded', { shard: '40KB' });
  await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64' }));
});

for (const old of [false, true]) {
  test(`a masked language model serves as encoder${old ? ', with gamma and beta in its norms' : ''}`, async () => {
    const folder = await oracle.saveMaskedLanguageModel(`masked-${old}`, old);
    await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64' }));
  });
}

const folders: [string, string, SentenceTransformerSettings][] = [
  ['cls pooling and normalization', 'bert', { pooling: 'cls', normalize: true }],
  ['mean pooling and a tanh layer', 'distilbert', { pooling: 'mean', dense: [[20, 'tanh', true]] }],
  [
    'max pooling and two layers',
    'bert',
    {
      pooling: 'max',
      dense: [
        [41, 'gelu', true],
        [7, 'identity', false],
      ],
      normalize: true,
    },
  ],
  [
    'last-token pooling, a relu layer and a length limit',
    'roberta',
    { pooling: 'lasttoken', dense: [[11, 'relu', true]], max_length: 17 },
  ],
];

for (const [title, name, settings] of folders) {
  test(`a sentence-transformers folder with ${title}`, async () => {
    const folder = await oracle.saveSentenceTransformer(name, title.replaceAll(/\W+/g, '-'), settings);
    await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64' }));
  });
}

test('prompts are put in front, the default one unless another is asked for', async () => {
  const folder = await oracle.saveSentenceTransformer('bert', 'prompts', {
    pooling: 'mean',
    prompts: { query: 'search query: ', passage: 'passage ' },
    default_prompt: 'query',
  });
  await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64' }));
  await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64', prompt_name: 'passage' }), {
    prompt: 'passage',
  });
});

test('the padding token as a literal part of a text', async () => {
  texts = ['cat <pad> dog', '<pad>', 'a dog', '[PAD] cat [PAD]'];
  for (const name of ['roberta', 'mpnet', 'bert']) {
    const folder = await oracle.saveTransformer(name, `${name}-literal`);
    await assertSame(folder, await oracle.embed(folder, texts, { dtype: 'float64' }));
  }
});

for (const name of [
  'bert',
  'roberta',
  'distilbert',
  'mpnet',
  'electra',
  'modernbert',
  'gte',
  't5',
] as const) {
  test(`${name}: dropout falls on the places that transformers gives it`, async () => {
    const count = 4000;
    const text = 'cat dog tree river stone';
    const folder = await oracle.saveTransformer(name, `${name}-dropout`);
    const expected = await oracle.dropoutMoments(folder, text, count);
    const encoder = await TextEncoder.load(folder, { device });
    const batch = await encoder.tokenize(Array.from({ length: count }, () => text));
    const rows = Int32Array.from({ length: count }, (_, row) => row);
    const { representations } = await encoder.forwardChunk(
      { batch, rows, tokens: batch.ids.length },
      { seed: 11 },
    );
    const values = await numbers(representations);
    for (let column = 0; column < encoder.dimension; column++) {
      const sample = Array.from({ length: count }, (_, row) => values[row * encoder.dimension + column]!);
      const mean = sample.reduce((sum, value) => sum + value, 0) / count;
      const deviation = Math.sqrt(sample.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (count - 1));
      const [theirs, spread] = [expected.mean[column]!, expected.deviation[column]!];
      // Five standard errors of the difference of two means; the spread within a tenth.
      assert.ok(
        Math.abs(mean - theirs) <= 5 * spread * Math.sqrt(2 / count),
        `column ${column}: mean ${mean}, theirs ${theirs}`,
      );
      assert.ok(
        Math.abs(deviation / spread - 1) <= 0.1,
        `column ${column}: deviation ${deviation}, theirs ${spread}`,
      );
    }
    encoder.dispose();
  });
}

test('the real all-MiniLM-L6-v2 gives its own embeddings', async () => {
  texts = [
    'The quick brown fox jumps over the lazy dog.',
    'A fast auburn fox leapt above a sleepy hound.',
    'Gradient caching trains with batches of any size.',
    'Größe, naïveté, 東京 and 🙂',
    '',
    'water '.repeat(400),
  ];
  const expected = await oracle.embed(miniLM, texts);
  const encoder = await TextEncoder.load(miniLM, { device });
  const { truncated } = await encoder.tokenize(texts);
  assert.equal(truncated, 1);
  assert.equal(encoder.maxLength, 256);
  const ours = await numbers(await encoder.encode(texts));
  assert.ok(largestDifference(ours, expected.embeddings.flat()) <= 1e-5);
  encoder.dispose();
});
