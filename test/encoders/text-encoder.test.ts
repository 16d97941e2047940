import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { CrossEncoder, TextEncoder, Tokenizer } from '../../lib/index.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { fails } from '../robustness/failures.js';
import { smallTokenizer } from './small-model.js';

const config = {
  model_type: 'bert',
  vocab_size: 18,
  hidden_size: 4,
  num_hidden_layers: 1,
  num_attention_heads: 1,
  intermediate_size: 8,
  max_position_embeddings: 16,
};

async function smallEncoder(): Promise<TextEncoder> {
  return TextEncoder.create(config, await Tokenizer.fromJson(JSON.stringify(smallTokenizer())));
}

test('a prompt is a name, or words given as a prefix', async () => {
  const encoder = await smallEncoder();
  encoder.setPrompt('query', 'query : ');
  const plain = await encoder.tokenize(['cat']);
  const prompted = await encoder.tokenize(['query : cat']);
  assert.deepEqual(await encoder.tokenize(['cat'], { prompt: 'query' }), prompted);
  assert.deepEqual(await encoder.tokenize(['cat'], { prompt: { prefix: 'query : ' } }), prompted);
  assert.deepEqual(await encoder.tokenize(['cat'], { prompt: { prefix: '' } }), plain);
  assert.deepEqual(await encoder.tokenize(['cat'], { prompt: '' }), plain);
  const values = async (texts: string[], options = {}) => (await encoder.encode(texts, options)).values();
  assert.deepEqual(await values(['cat'], { prompt: { prefix: 'query : ' } }), await values(['query : cat']));
  const bad: [unknown, RegExp][] = [
    ['query: ', /prompt 'query: ' does not exist; the model has query\..*\{ prefix: … \}/],
    ['toString', /does not exist/],
    [{ prefix: 3 }, /prompt\.prefix is 3/],
    [{}, /prompt\.prefix is undefined/],
    [{ prefx: 'query: ' }, /prompt knows no option 'prefx'/],
    [7, /prompt/],
  ];
  for (const [prompt, message] of bad)
    await assert.rejects(encoder.tokenize(['cat'], { prompt } as never), fails('INPUT', message));
  encoder.dispose();
});

test('a prompt that the model was given is saved with it', async (t) => {
  const folder = join(await temporaryFolder(t), 'model');
  const encoder = await smallEncoder();
  encoder.setPrompt('query', 'the ');
  encoder.setPrompt('query', 'query : ');
  encoder.setPrompt('__proto__', 'on ');
  await encoder.save(folder);
  const again = await TextEncoder.load(folder);
  assert.deepEqual(Object.entries(again.prompts), [
    ['query', 'query : '],
    ['__proto__', 'on '],
  ]);
  assert.equal(again.defaultPrompt, null);
  const asNamed = await again.tokenize(['cat'], { prompt: 'query' });
  assert.deepEqual(asNamed, await again.tokenize(['query : cat']));
  for (const [name, text] of [['', 'x'], [3, 'x'], ['x', null], ['x']])
    assert.throws(() => encoder.setPrompt(name as string, text as string), fails('INPUT', /prompt/));
  encoder.dispose();
  again.dispose();
});

test('no texts give no representations', async () => {
  const encoder = await smallEncoder();
  const none = await encoder.encode([]);
  assert.deepEqual([none.shape, [...(await none.values())]], [[0, 4], []]);
  encoder.dispose();
});

test('console.log shows in a line what a model and a tokenizer are', async () => {
  const encoder = await smallEncoder();
  const tokenizer =
    'Tokenizer { class: PreTrainedTokenizerFast, vocabularySize: 18, specialTokensPerText: 2 }';
  assert.equal(inspect(encoder.tokenizer), tokenizer);
  const shown = inspect({ encoder });
  assert.match(
    shown,
    /TextEncoder \{ modelType: bert, pooling: mean, device: cpu, precision: float32, maxLength: 16/,
  );
  assert.ok(shown.includes(tokenizer));
  assert.ok(shown.length < 300, shown);
  encoder.dispose();
  assert.match(inspect(encoder), /^TextEncoder \{ modelType: bert/);
});

test('tf32 is refused on a CPU by name', async () => {
  const tokenizer = await Tokenizer.fromJson(JSON.stringify(smallTokenizer()));
  const refused = fails('INPUT', /^precision is "tf32"; .*on a CPU.* is needed/);
  for (const device of [{}, { device: 'cpu' }])
    assert.throws(() => TextEncoder.create(config, tokenizer, { ...device, precision: 'tf32' }), refused);
  assert.throws(() => CrossEncoder.create(config, tokenizer, { precision: 'tf32' }), refused);
});
