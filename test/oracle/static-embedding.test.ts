import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readSafetensors, TextEncoder, Tokenizer } from '../../lib/index.js';
import { largestDifference, type Numbers } from './compare.js';
import { Oracle } from './oracle.js';

let oracle: Oracle;
let texts: string[];

before(async () => {
  oracle = new Oracle();
  texts = await oracle.sentences(5, 9, 1, 20);
});

after(() => oracle.close());

const rowsOf = async (encoder: TextEncoder) => (await (await encoder.encode(texts)).values()) as Numbers;
const json = async (...path: string[]) => JSON.parse(await readFile(join(...path), 'utf8')) as unknown;

for (const settings of [{}, { normalize: false }, { quantized: true }, { modules: false }])
  test(`a folder of Model2Vec is read and saved as one: ${JSON.stringify(settings)}`, async () => {
    const folder = await oracle.saveModel2Vec(`m2v-${JSON.stringify(settings)}`, settings);
    using encoder = await TextEncoder.load(folder);
    const ours = await rowsOf(encoder);
    const copy = `${folder}-copy`;
    await encoder.save(copy);
    // Python opens none without modules.json, which is written with the copy.
    for (const each of 'modules' in settings ? [copy] : [folder, copy])
      assert.ok(largestDifference(ours, (await oracle.encode(each, texts)).flat()) < 1e-5);
    using again = await TextEncoder.load(copy);
    assert.deepEqual(await rowsOf(again), ours);
    assert.deepEqual([...(await readSafetensors(join(copy, 'model.safetensors'))).keys()], ['embeddings']);
    const {
      embedding_dtype: _,
      vocabulary_quantization: __,
      ...before
    } = (await json(folder, 'config.json')) as Record<string, unknown>;
    assert.deepEqual(await json(copy, 'config.json'), { ...before, embedding_dtype: 'float32' });
  });

test('word vectors from nothing: what is saved is opened by sentence-transformers', async () => {
  const source = await oracle.saveModel2Vec('source');
  const tokenizer = await Tokenizer.fromFile(join(source, 'tokenizer.json'), { specialTokens: false });
  const config = { model_type: 'static', vocab_size: tokenizer.vocabularySize, hidden_size: 8 };
  using encoder = TextEncoder.create(config, tokenizer, { seed: 2 });
  const folder = oracle.path('created');
  await encoder.save(folder);
  assert.deepEqual((await readdir(folder)).sort(), [
    '1_Normalize',
    'config_sentence_transformers.json',
    'model.safetensors',
    'modules.json',
    'tokenizer.json',
  ]);
  assert.ok(largestDifference(await rowsOf(encoder), (await oracle.encode(folder, texts)).flat()) < 1e-5);
  await assert.rejects(encoder.save(folder, { maxLength: 9 }), {
    code: 'INPUT',
    message: /maxLength is 9; none/,
  });
  const around = await Tokenizer.fromFile(join(source, 'tokenizer.json'));
  assert.throws(() => TextEncoder.create(config, around), {
    code: 'INPUT',
    message: /specialTokens .* false/,
  });
  for (const pooling of ['cls', 'none', ['mean', 'max']] as const)
    assert.throws(() => TextEncoder.create(config, tokenizer, { pooling }), {
      code: 'INPUT',
      message: /'mean'/,
    });
  await assert.rejects(TextEncoder.load(folder, { pooling: 'none' }), {
    code: 'INPUT',
    message: /StaticEmbedding/,
  });
  await assert.rejects(encoder.encode(['cat', ' ']), { code: 'INPUT', message: /Text 1 .* has no tokens/ });
});

test('tokenizer.json alone decides on ids, whatever lies beside it', async () => {
  const folder = await oracle.saveModel2Vec('beside');
  const beside = { tokenizer_class: 'BertTokenizer', do_lower_case: false, split_special_tokens: true };
  const { writeFile } = await import('node:fs/promises');
  await writeFile(join(folder, 'tokenizer_config.json'), JSON.stringify(beside));
  using encoder = await TextEncoder.load(folder);
  texts = [...texts, 'CAT Dog [SEP] cat'];
  assert.ok(largestDifference(await rowsOf(encoder), (await oracle.encode(folder, texts)).flat()) < 1e-5);
  await encoder.save(`${folder}-copy`);
  assert.deepEqual(await json(`${folder}-copy`, 'tokenizer_config.json'), beside);
});
