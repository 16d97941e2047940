import assert from 'node:assert/strict';
import { cp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { TextEncoder, Tokenizer } from '../../lib/index.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { fails } from '../robustness/failures.js';
import { smallTokenizer, writeFiles } from './small-model.js';

type Config = Record<string, unknown>;

const SIZES = { vocab_size: 18, max_position_embeddings: 16, pad_token_id: 0 };
const BERT = {
  ...SIZES,
  model_type: 'bert',
  hidden_size: 4,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 8,
};
const CONFIGS: Record<string, Config> = {
  bert: BERT,
  roberta: { ...BERT, model_type: 'roberta' },
  mpnet: { ...BERT, model_type: 'mpnet' },
  distilbert: { ...SIZES, model_type: 'distilbert', dim: 4, n_layers: 2, n_heads: 2, hidden_dim: 8 },
};

const tokenizer = Tokenizer.fromJson(JSON.stringify(smallTokenizer()));
const create = async (config: Config, options = {}) => TextEncoder.create(config, await tokenizer, options);

/** A saved model, whose config.json can be changed. */
async function saved(t: TestContext, config: Config): Promise<string> {
  const folder = join(await temporaryFolder(t), 'model');
  using encoder = await create(config);
  await encoder.save(folder);
  return folder;
}

const withConfig = (folder: string, config: Config) =>
  writeFile(join(folder, 'config.json'), JSON.stringify(config));

for (const [type, config] of Object.entries(CONFIGS)) {
  test(`${type}: no size of config.json is believed before the weights were asked`, async (t) => {
    const folder = await saved(t, config);
    const sizes = Object.keys(config).filter((key) => !['model_type', 'pad_token_id'].includes(key));
    if (type === 'mpnet') sizes.push('relative_attention_num_buckets');
    if (type === 'bert') sizes.push('type_vocab_size');
    for (const key of sizes) {
      for (const value of [4096, 100_000, 2 ** 31 - 2, 2 ** 31, 1e300]) {
        const start = process.cpuUsage();
        await withConfig(folder, { ...config, [key]: value });
        await assert.rejects(TextEncoder.load(folder), fails('CHECKPOINT', new RegExp(`${key} |heads`)));
        const { user, system } = process.cpuUsage(start);
        assert.ok(user + system < 1e6, `${key} ${value}: ${user + system} µs`);
      }
    }
    await withConfig(folder, config);
    (await TextEncoder.load(folder)).dispose();
  });
}

test('what config.json cannot say is refused by name, from a file and by create', async (t) => {
  const folder = await saved(t, BERT);
  const bad: [Config, RegExp][] = [
    [{ num_hidden_layers: 5000 }, /num_hidden_layers is 5000; at most 4096/],
    [{ hidden_size: null }, /hidden_size is null; a number/],
    [{ layer_norm_eps: null }, /layer_norm_eps is null/],
    [{ layer_norm_eps: -1 }, /layer_norm_eps is -1; a number from 0/],
    [{ hidden_dropout_prob: 1 }, /hidden_dropout_prob is 1;/],
    [{ hidden_dropout_prob: '0.1' }, /hidden_dropout_prob is "0.1"/],
    [{ pad_token_id: 18 }, /pad_token_id is 18; less than vocab_size 18/],
    [{ hidden_act: 3 }, /hidden_act is 3; a name/],
    [{ position_embedding_type: 'relative_key' }, /position_embedding_type is "relative_key"/],
    [{ is_decoder: 'yes' }, /is_decoder is "yes"/],
    [{ quantization_config: { bits: 4 } }, /quantized/],
  ];
  for (const [change, message] of bad) {
    await assert.rejects(create({ ...BERT, ...change }), fails('CHECKPOINT', message));
    await withConfig(folder, { ...BERT, ...change });
    await assert.rejects(TextEncoder.load(folder), fails('CHECKPOINT', message));
  }
  for (const initializer_range of ['a', -1, null])
    await assert.rejects(create({ ...BERT, initializer_range }), fails('CHECKPOINT', /initializer_range is/));
  const distil = CONFIGS.distilbert!;
  await assert.rejects(
    create({ ...distil, hidden_size: 8 }),
    fails('CHECKPOINT', /hidden_size is 8; the 4 of dim/),
  );
});

test('DistilBERT’s sizes under the names that transformers gives them too', async (t) => {
  const { dim, n_layers, n_heads, ...rest } = CONFIGS.distilbert!;
  const named = { ...rest, hidden_size: dim, num_hidden_layers: n_layers, num_attention_heads: n_heads };
  using encoder = await TextEncoder.load(await saved(t, named));
  assert.equal(encoder.dimension, 4);
});

test('a model has as many positions as its family leaves, whatever its padding is', async () => {
  const most: [Config, number][] = [
    [BERT, 16],
    [{ ...BERT, pad_token_id: 3 }, 16],
    [{ ...CONFIGS.mpnet!, pad_token_id: 0 }, 14],
    [{ ...CONFIGS.mpnet!, pad_token_id: 5 }, 14],
    [{ ...CONFIGS.roberta!, pad_token_id: 0 }, 15],
    [{ ...CONFIGS.roberta!, pad_token_id: 5 }, 10],
    [{ ...CONFIGS.roberta!, pad_token_id: undefined }, 14],
  ];
  for (const [config, positions] of most) {
    using encoder = await create(config);
    assert.equal(encoder.maxLength, positions);
    const long = await encoder.tokenize(['cat '.repeat(30)]);
    assert.equal(long.ids.length, positions);
    using representations = await encoder.encode(['cat '.repeat(30)]);
    assert.ok((await representations.values()).every(Number.isFinite));
    await assert.rejects(
      create(config, { maxLength: positions + 1 }),
      fails('INPUT', /a whole number from 1 to/),
    );
  }
});

test('maxLength goes up to the positions, and a folder keeps the limit that it had', async (t) => {
  const folder = await saved(t, BERT);
  const copy = `${folder}-copy`;
  const limit = async (at: string) =>
    (JSON.parse(await readFile(join(at, 'sentence_bert_config.json'), 'utf8')) as Config).max_seq_length;
  await writeFiles(folder, { 'sentence_bert_config.json': { max_seq_length: 9 } });
  for (const maxLength of [5, 9, 16]) {
    using encoder = await TextEncoder.load(folder, { maxLength });
    assert.equal((await encoder.tokenize(['cat '.repeat(30)])).ids.length, maxLength);
    await encoder.save(copy);
    assert.equal(await limit(copy), 9);
    await encoder.save(copy, { maxLength });
    assert.equal(await limit(copy), maxLength);
    for (const bad of [0, 17, 2.5, '9'])
      await assert.rejects(encoder.save(copy, { maxLength: bad as number }), fails('INPUT', /maxLength is/));
  }
  await assert.rejects(
    TextEncoder.load(folder, { maxLength: 2 }),
    fails('INPUT', /maxLength is 2; .* from 3/),
  );
  await assert.rejects(TextEncoder.load(folder, { maxLength: 17 }), fails('INPUT', /from 1 to 16/));
  using made = await create(BERT, { maxLength: 7 });
  await made.save(copy);
  assert.equal(await limit(copy), 7);
});

test('truncate_dim cuts what encode gives, after normalisation, and stays with the model', async (t) => {
  const folder = await saved(t, BERT);
  const texts = ['the cat', 'sat on the mat'];
  using whole = await TextEncoder.load(folder);
  const all = [...(await (await whole.encode(texts)).values())] as number[];
  for (const truncate_dim of [3, 4, 9]) {
    await writeFiles(folder, { 'config_sentence_transformers.json': { truncate_dim } });
    using encoder = await TextEncoder.load(folder);
    const dimension = Math.min(truncate_dim, 4);
    assert.deepEqual([encoder.dimension, encoder.trainedDimension], [dimension, 4]);
    const cut = await encoder.encode(texts);
    assert.deepEqual(cut.shape, [2, dimension]);
    assert.deepEqual([...(await cut.values())], [...all.slice(0, dimension), ...all.slice(4, 4 + dimension)]);
    assert.deepEqual((await encoder.encode([])).shape, [0, dimension]);
    const batch = await encoder.tokenize(texts);
    const chunk = { batch, rows: Int32Array.of(0, 1), tokens: batch.ids.length };
    assert.deepEqual((await encoder.forwardChunk(chunk, { seed: 1 })).representations.shape, [2, 4]);
    await encoder.save(`${folder}-copy`);
    using again = await TextEncoder.load(`${folder}-copy`);
    assert.equal(again.dimension, dimension);
  }
});

test('encode gives as many numbers as asked, and a saved model can give fewer by default', async (t) => {
  const folder = await saved(t, BERT);
  const texts = ['the cat', 'sat on the mat'];
  using whole = await TextEncoder.load(folder);
  const all = [...(await (await whole.encode(texts)).values())] as number[];
  const cut = [...all.slice(0, 3), ...all.slice(4, 7)];
  assert.deepEqual([...(await (await whole.encode(texts, { dimensions: 3 })).values())], cut);
  for (const dimensions of [0, 5, 1.5, '3', null])
    for (const wrong of [
      whole.encode(texts, { dimensions } as never),
      whole.save(`${folder}-no`, { dimensions } as never),
    ])
      await assert.rejects(wrong, fails('INPUT', /dimensions is .*; a whole number from 1 to 4 is needed/));

  await whole.save(`${folder}-short`, { dimensions: 3 });
  using short = await TextEncoder.load(`${folder}-short`);
  assert.deepEqual([short.dimension, short.trainedDimension], [3, 4]);
  assert.deepEqual([...(await (await short.encode(texts)).values())], cut);
  await assert.rejects(short.encode(texts, { dimensions: 4 }), fails('INPUT', /from 1 to 3/));
  await short.save(`${folder}-same`);
  await short.save(`${folder}-long`, { dimensions: 4 });
  for (const [name, dimension] of [
    ['same', 3],
    ['long', 4],
  ] as const) {
    using again = await TextEncoder.load(`${folder}-${name}`);
    assert.equal(again.dimension, dimension, name);
  }
});

test('an encoder that cannot be filled is freed at once', async (t) => {
  const folder = await saved(t, BERT);
  const file = join(folder, 'model.safetensors');
  const bytes = await readFile(file);
  // Another name of the same length: the sizes agree, the parameters do not.
  bytes.write('embeddings.LayerNorm.weighs', bytes.indexOf('embeddings.LayerNorm.weight'));
  await writeFile(file, bytes);
  const freed = t.mock.method(TextEncoder.prototype, 'dispose');
  const missing = fails('CHECKPOINT', /missing: embeddings.LayerNorm.weight/);
  await assert.rejects(TextEncoder.load(folder), missing);
  assert.equal(freed.mock.callCount(), 1);
  await assert.rejects(create(BERT, { seed: -1 }), fails('INPUT', /seed/));
  assert.equal(freed.mock.callCount(), 1, 'nothing was built that had to be freed');
});

test('whatever of a model is refused, the message says in which folder', async (t) => {
  const folder = await saved(t, BERT);
  const faults: Config[] = [
    // The keys of such a model are unknown too: its type is told first.
    { ...BERT, model_type: 'gpt2', rms_norm_eps: 1e-6, rope_theta: 1e4 },
    { ...BERT, model_type: undefined },
    { ...BERT, hidden_size: undefined },
    { ...BERT, hidden_act: 'swiglu' },
    { ...BERT, num_hidden_layers: 3 },
    { ...BERT, num_hidden_layers: 1 },
    { ...BERT, pad_token_id: 99 },
    { ...BERT, max_position_embeddings: 0 },
  ];
  for (const config of faults) {
    await withConfig(folder, config);
    await assert.rejects(TextEncoder.load(folder), (error: Error) => {
      assert.ok(error.message.startsWith(folder), error.message);
      if (config.model_type === 'gpt2')
        assert.match(error.message, /model_type 'gpt2' is not supported; bert, /);
      return true;
    });
  }
});

test('a folder that has models in it, such as that of a run, names them', async (t) => {
  const run = dirname(await saved(t, BERT));
  const told = (pattern: string) =>
    assert.rejects(
      TextEncoder.load(run),
      fails('CHECKPOINT', new RegExp(`no config\\.json\\. ${pattern}\\.$`)),
    );
  await told(`There is a model in it: give ${run}/model`);
  await cp(join(run, 'model'), join(run, 'checkpoint-2'), { recursive: true });
  await told(`There is a model in it: give ${run}/model`);
  await rename(join(run, 'model'), join(run, 'checkpoint-4'));
  await told(`There is a model in it: give ${run}/checkpoint-[24] or ${run}/checkpoint-[24]`);
  await rm(join(run, 'checkpoint-2'), { recursive: true });
  await rm(join(run, 'checkpoint-4'), { recursive: true });
  await told('A transformers or sentence-transformers folder is needed');
});
