import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { AdamW, GradCache, infoNCE, TextEncoder } from '../../lib/index.js';
import { largestDifference } from './compare.js';
import { architectures, Oracle, type SentenceTransformerSettings } from './oracle.js';
import { miniLM } from './python.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
let oracle: Oracle;
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = await oracle.sentences(7, 12, 1, 40);
});

after(() => oracle.close());

/** One training step, then: what Python gives for the saved folder is what the encoder gives that was saved. */
async function trainAndSave(source: string, name: string): Promise<void> {
  const encoder = await TextEncoder.load(source, { device });
  const before = await embeddings(encoder);
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { tokens: 64 } });
  await gradcache.step([encoder.tokenize(texts.slice(0, 6)), encoder.tokenize(texts.slice(6))]);
  await new AdamW(encoder.parameters(), { lr: 1e-3 }).step();
  const ours = await embeddings(encoder);
  assert.ok(largestDifference(ours, before) > 1e-4, 'the step changed the encoder');

  const folder = oracle.path(name);
  await encoder.save(folder);
  const { embeddings: theirs, ids } = await oracle.embed(folder, texts);
  assert.ok(largestDifference(ours, theirs.flat()) <= 1e-5 * Math.max(...theirs.flat().map(Math.abs)));

  const reopened = await TextEncoder.load(folder, { device });
  assert.deepEqual(await embeddings(reopened), ours, 'our own reading of it, bit for bit');
  const batch = await reopened.tokenize(texts);
  assert.deepEqual([...batch.ids], ids.flat());
  assert.equal(reopened.maxLength, encoder.maxLength);
  assert.deepEqual(reopened.prompts, encoder.prompts);
  encoder.dispose();
  reopened.dispose();
}

const embeddings = async (encoder: TextEncoder) =>
  (await (await encoder.encode(texts)).values()) as Float32Array;

for (const name of architectures) {
  test(`${name}: sentence-transformers gives the same embeddings for a folder saved after training`, async () => {
    await trainAndSave(await oracle.saveTransformer(name, name), `${name}-saved`);
  });
}

test('a checkpoint of a masked language model', async () => {
  await trainAndSave(await oracle.saveMaskedLanguageModel('masked', true), 'masked-saved');
});

test('a float16 checkpoint in shards', async () => {
  const source = await oracle.saveTransformer('bert', 'shards', { dtype: 'float16', shard: '30KB' });
  await trainAndSave(source, 'shards-saved');
});

const folders: SentenceTransformerSettings[] = [
  { pooling: 'cls', normalize: true },
  {
    pooling: 'max',
    dense: [
      [20, 'tanh', true],
      [7, 'identity', false],
    ],
    normalize: true,
  },
  {
    pooling: 'lasttoken',
    dense: [
      [12, 'relu', true],
      [8, 'gelu', true],
    ],
    prompts: { query: 'query: ', passage: 'passage: ' },
    default_prompt: 'passage',
    max_length: 23,
  },
];

for (const settings of folders) {
  test(`a sentence-transformers folder: ${JSON.stringify(settings)}`, async () => {
    const name = `folder-${folders.indexOf(settings)}`;
    await trainAndSave(await oracle.saveSentenceTransformer('roberta', name, settings), `${name}-saved`);
  });
}

test('the real all-MiniLM-L6-v2', async () => {
  await trainAndSave(miniLM, 'mini-lm-saved');
});
