import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { call, noGrad, TextEncoder } from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { fails } from '../robustness/failures.js';

// Representations and gradients: in test/oracle, beside the authors' package. Dropout and chunks: in test/exactness.

const SRU = { model_type: 'sru', vocab_size: 97, hidden_size: 24, num_hidden_layers: 2 };
const SRUPP = { ...SRU, model_type: 'srupp', attention_size: 8 };
const TEXTS = ['w1 w2 w3 w4', 'w5', 'w3 w3 w9 w80 w2 w11 w3'];
const tokenizer = await smallTokenizer(97);

type Config = Readonly<Record<string, unknown>>;
const create = (config: Config, options = {}) => TextEncoder.create(config, tokenizer, options);
const byName = (encoder: TextEncoder) =>
  new Map(encoder.parameters().map(({ name, tensor }) => [name, tensor]));
const represent = async (encoder: TextEncoder) => {
  const rows = await encoder.encode(TEXTS);
  return rows.values();
};

test('a layer of SRU++ has the parameters that the paper counts', () => {
  const [d, projected] = [384, 96];
  const count = (layers: number, attention_layers: number[]) => {
    using encoder = create({
      ...{ ...SRUPP, hidden_size: d, num_hidden_layers: layers, attention_size: projected, attention_layers },
      ...{ bidirectional: false },
    });
    return encoder.parameters().reduce((sum, { tensor }) => sum + tensor.size, 0);
  };
  const plain = d * projected + 3 * d * projected + 2 * projected + 4 * d;
  assert.equal(count(2, []) - count(1, []), plain);
  assert.equal(count(2, [1]) - count(1, []), plain + 2 * projected ** 2 + 1);
  assert.equal(count(2, [0, 1]) - count(1, [0]), plain + 2 * projected ** 2 + 1);
});

test('weights begin as published', async () => {
  using encoder = create({ ...SRUPP, hidden_dropout_prob: 0.36, highway_bias: -3 });
  const read = async (name: string) =>
    Array.from((await byName(encoder).get(name)!.values()) as Float32Array);
  const within = async (name: string, bound: number) => {
    const values = (await read(name)).map(Math.abs);
    const largest = Math.max(...values);
    assert.ok(largest <= bound && largest > 0.9 * bound, `${name}: ${largest}, bound ${bound}`);
  };
  await within('embeddings.weight', Math.sqrt(3 / 24));
  await within('layers.0.query.weight', Math.sqrt(6 / (24 + 8)));
  await within('layers.0.key_value.weight', Math.sqrt(6 / (8 + 16)));
  await within('layers.0.projection.weight', Math.sqrt(1 - 0.36) * Math.sqrt(6 / (8 + 72)));
  await within('layers.0.forget.weight', 1);
  await within('layers.0.reset.weight', 1);
  assert.deepEqual(new Set(await read('layers.0.forget.bias')), new Set([0]));
  assert.deepEqual(new Set(await read('layers.0.reset.bias')), new Set([-3]));
  assert.deepEqual(await read('layers.0.alpha'), [0]);
  assert.deepEqual(new Set(await read('layers.0.attention_norm.weight')), new Set([1]));
});

test('attention that alpha leaves out changes nothing: the layer is the one without attention', async () => {
  for (const precision of ['float64', 'float32', 'bfloat16'] as const) {
    using attending = create(SRUPP, { precision, seed: 3 });
    using plain = create({ ...SRUPP, attention_layers: [] }, { precision });
    const weights = byName(attending);
    noGrad(() => {
      for (const [name, tensor] of byName(plain)) tensor.copyFrom(weights.get(name)!);
    });
    assert.deepEqual(await represent(attending), await represent(plain));
    noGrad(() => call('aten::fill_.Scalar', weights.get('layers.0.alpha')!, 1).dispose());
    assert.notDeepEqual(await represent(attending), await represent(plain));
  }
});

test('attention in the layers that config.json names, by number or by every n-th', () => {
  const attending = (settings: Config) => {
    using encoder = create({ ...SRUPP, num_hidden_layers: 5, ...settings });
    return [...byName(encoder).keys()]
      .filter((name) => name.endsWith('alpha'))
      .map((name) => Number(name[7]));
  };
  assert.deepEqual(attending({}), [0, 1, 2, 3, 4]);
  assert.deepEqual(attending({ attention_every_n_layers: 2 }), [1, 3]);
  assert.deepEqual(attending({ attention_layers: [3, 0] }), [0, 3]);
  assert.deepEqual(attending({ attention_layers: [] }), []);
});

test('a token is read in both directions, or only after those before it', async () => {
  for (const config of [SRU, SRUPP]) {
    const first = async (bidirectional: boolean, text: string) => {
      using encoder = create({ ...config, bidirectional }, { pooling: 'cls' });
      return (await encoder.encode([text])).values();
    };
    assert.notDeepEqual(await first(true, 'w1 w2 w3'), await first(true, 'w1 w2 w4'));
    if (config === SRU) assert.deepEqual(await first(false, 'w1 w2 w3'), await first(false, 'w1 w2 w4'));
  }
});

test('texts do not see each other: one at a time, or together', async () => {
  for (const config of [SRU, SRUPP]) {
    using encoder = create(config, { precision: 'float64' });
    noGrad(() => {
      for (const [name, tensor] of byName(encoder))
        if (name.endsWith('alpha')) call('aten::fill_.Scalar', tensor, 0.7).dispose();
    });
    const together = (await represent(encoder)) as Float64Array;
    for (const [k, text] of TEXTS.entries()) {
      const alone = (await (await encoder.encode([text])).values()) as Float64Array;
      const row = together.subarray(k * alone.length, (k + 1) * alone.length);
      for (const [column, value] of alone.entries()) assert.ok(Math.abs(value - row[column]!) < 1e-12);
    }
  }
});

test('an encoder is saved and opened again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'gradcache-sru-'));
  try {
    for (const config of [
      { ...SRU, embedding_size: 12, layer_norm: 'before', rescale: true },
      { ...SRUPP, attention_every_n_layers: 2, max_position_embeddings: 20 },
    ]) {
      using encoder = create(config, { pooling: 'max', seed: 5 });
      await encoder.save(join(folder, config.model_type));
      using opened = await TextEncoder.load(join(folder, config.model_type));
      assert.deepEqual(await represent(opened), await represent(encoder));
      assert.equal(opened.maxLength, encoder.maxLength);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const refused: readonly (readonly [title: string, config: Config, message: RegExp])[] = [
  [
    'a key that it does not have',
    { ...SRU, num_layers: 3 },
    /num_layers is 3; one of .* in its place is needed/,
  ],
  [
    'attention in SRU',
    { ...SRU, attention_size: 8 },
    /attention_size is 8; one of .* in its place is needed/,
  ],
  [
    'SRU++ without the width of its attention',
    { ...SRU, model_type: 'srupp' },
    /attention_size is undefined/,
  ],
  ['heads that do not divide the width', { ...SRUPP, num_attention_heads: 3 }, /8 columns.*3 heads/],
  ['a layer that is not there', { ...SRUPP, attention_layers: [2] }, /attention_layers is \[2\].* 0 to 1/],
  ['a layer twice', { ...SRUPP, attention_layers: [1, 1] }, /attention_layers/],
  [
    'layers said in two ways',
    { ...SRUPP, attention_layers: [1], attention_every_n_layers: 2 },
    /attention_every_n_layers is 2; null beside/,
  ],
  ['half a column for each direction', { ...SRU, hidden_size: 23 }, /23 columns.*even/],
  ['a place for norms that is none', { ...SRU, layer_norm: true }, /layer_norm is true;/],
  ['a direction that is neither', { ...SRU, bidirectional: 2 }, /bidirectional is 2; true or false/],
  ['a bias that closes its gate', { ...SRU, highway_bias: -1e3 }, /highway_bias is -1000; a number from/],
  ['no layer', { ...SRU, num_hidden_layers: 0 }, /num_hidden_layers is 0/],
];

for (const [title, config, message] of refused) {
  test(`refused, with the key and the way out: ${title}`, () => {
    assert.throws(() => create(config), fails('CHECKPOINT', message));
  });
}

test('a graph keeps about the bytes that it is said to', () => {
  // Counted by hand: what the last layer keeps for a token, in numbers.
  const bytes = (config: Config, layers: number) => {
    using encoder = create({ ...config, num_hidden_layers: layers });
    const ids = Int32Array.from({ length: 100 }, (_, k) => k % 97);
    const batch = { ids, offsets: Int32Array.of(0, 100), truncated: 0 };
    return encoder.graphBytes({ batch, rows: Int32Array.of(0), tokens: 100 });
  };
  const layer = (config: Config) => Math.round((bytes(config, 3) - bytes(config, 2)) / 4 / 100);
  assert.equal(layer(SRU), 5 * 24); // three projections, the cells, the output
  assert.equal(layer(SRUPP), 5 * 24 + 5 * 8 + 2); // and z, keys, values, attention, sum; two statistics
});
