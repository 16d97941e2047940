import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { fails } from '../robustness/failures.js';

// Representations, gradients, saved folders and classifiers: in test/oracle, beside transformers' DebertaV2Model.

const CONFIG = {
  ...{
    model_type: 'deberta-v2',
    vocab_size: 97,
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 3,
  },
  ...{
    intermediate_size: 40,
    max_position_embeddings: 40,
    relative_attention: true,
    pos_att_type: 'p2c|c2p',
  },
};
const tokenizer = await smallTokenizer(97);
const namesOf = (config: Record<string, unknown>): Set<string> => {
  using encoder = TextEncoder.create({ ...CONFIG, ...config }, tokenizer);
  return new Set(encoder.parameters().map(({ name }) => name));
};

test('parameters are those that the configuration asks for', () => {
  const own = 'encoder.layer.1.attention.self.pos_key_proj.weight';
  assert.ok(namesOf({}).has(own));
  assert.ok(!namesOf({ share_att_key: true }).has(own));
  assert.ok(!namesOf({ pos_att_type: ['p2c'] }).has(own));
  assert.ok(!namesOf({}).has('encoder.LayerNorm.weight'));
  assert.ok(namesOf({ norm_rel_ebd: 'layer_norm' }).has('encoder.LayerNorm.weight'));
  assert.ok(namesOf({}).has('embeddings.position_embeddings.weight'));
  assert.ok(!namesOf({ position_biased_input: false }).has('embeddings.position_embeddings.weight'));
  assert.ok(!namesOf({ relative_attention: false }).has('encoder.rel_embeddings.weight'));
});

test('the table of distances has a row for each distance, or for each bucket of them', () => {
  const rows = (config: Record<string, unknown>): number => {
    using encoder = TextEncoder.create({ ...CONFIG, ...config }, tokenizer);
    const table = encoder.parameters().find(({ name }) => name === 'encoder.rel_embeddings.weight');
    return table!.tensor.shape[0]!;
  };
  assert.equal(rows({}), 80);
  assert.equal(rows({ max_relative_positions: 12 }), 24);
  assert.equal(rows({ position_buckets: 16 }), 32);
});

for (const [config, message] of [
  [{ conv_kernel_size: 3 }, /conv_kernel_size is 3.*convolution/],
  [{ embedding_size: 12 }, /embedding_size is 12; 24/],
  [{ pos_att_type: 'p2p' }, /pos_att_type is "p2p"; a list of 'c2p' and 'p2c'/],
  [{ pos_att_type: [] }, /pos_att_type is \[\].*beside relative_attention/],
  [{ position_buckets: 100 }, /position_buckets is 100; a number from 4 to less than 78/],
  [{ norm_rel_ebd: 'rms' }, /norm_rel_ebd is "rms"/],
] as const) {
  test(`${JSON.stringify(config)} is refused`, () => {
    assert.throws(
      () => TextEncoder.create({ ...CONFIG, ...config }, tokenizer),
      fails('CHECKPOINT', message),
    );
  });
}
