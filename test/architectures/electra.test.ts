import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { tenTexts } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

// Representations, gradients, dropout and saved folders: in test/oracle, beside transformers' ElectraModel.

const CONFIG = {
  ...{ model_type: 'electra', vocab_size: 97, hidden_size: 24, num_hidden_layers: 1, num_attention_heads: 3 },
  ...{ intermediate_size: 40, max_position_embeddings: 40 },
};
const tokenizer = await smallTokenizer(97);
const shapes = (encoder: TextEncoder) =>
  new Map(encoder.parameters().map(({ name, tensor }) => [name, tensor.shape]));

test('embeddings are as wide as config.json says; a projection stands between two widths', () => {
  using usual = TextEncoder.create(CONFIG, tokenizer);
  assert.deepEqual(shapes(usual).get('embeddings.word_embeddings.weight'), [97, 128]);
  assert.deepEqual(shapes(usual).get('embeddings_project.weight'), [24, 128]);
  using narrow = TextEncoder.create({ ...CONFIG, embedding_size: 16 }, tokenizer);
  assert.deepEqual(shapes(narrow).get('embeddings_project.weight'), [24, 16]);
  using square = TextEncoder.create({ ...CONFIG, embedding_size: 24 }, tokenizer);
  assert.equal(shapes(square).has('embeddings_project.weight'), false);
  assert.throws(
    () => TextEncoder.create({ ...CONFIG, embedding_size: 0 }, tokenizer),
    fails('CHECKPOINT', /embedding_size is 0/),
  );
});

test('a graph keeps the output of the projection too', () => {
  const bytes = (embedding_size: number): number => {
    using encoder = TextEncoder.create({ ...CONFIG, embedding_size }, tokenizer);
    const batch = tenTexts(1);
    return encoder.graphBytes({ batch, rows: Int32Array.of(0), tokens: batch.ids.length }) / batch.ids.length;
  };
  const floats = (bytes(16) - bytes(24)) / 4;
  assert.ok(Math.abs(floats - (24 - 2 * (24 - 16))) < 1e-9, `${floats} more a token`);
});
