import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encoderSettings } from '../../lib/architectures/architecture.js';
import { architectureOf } from '../../lib/architectures/architectures.js';
import { fails } from '../robustness/failures.js';

// Representations, gradients and saved folders: in test/oracle, beside transformers' models.

type Config = Readonly<Record<string, unknown>>;
const HEAD = { pooling: 'mean', modules: [], normalize: true } as const;
const settings = (config: Config) =>
  encoderSettings(architectureOf(config['model_type'] as string), config, HEAD);

const SIZES = {
  ...{ vocab_size: 97, hidden_size: 24, num_hidden_layers: 4, num_attention_heads: 2, intermediate_size: 40 },
  ...{ max_position_embeddings: 64, pad_token_id: 0 },
};
const full = 'full_attention';
const sliding = 'sliding_attention';
const rope = (rope_theta: number, more: object = {}) => ({ rope_type: 'default', rope_theta, ...more });

/** What the hub's folders say, and what transformers 5 saves for the same model. */
const DIALECTS: readonly (readonly [string, Config, Config])[] = [
  [
    'modernbert',
    { global_attn_every_n_layers: 2, global_rope_theta: 8e4, local_rope_theta: 500, local_attention: 16 },
    {
      layer_types: [full, sliding, full, sliding],
      rope_parameters: { [full]: rope(8e4), [sliding]: rope(500) },
      local_attention: 16,
    },
  ],
  [
    'llama',
    { rope_theta: 5e5, rope_scaling: { type: 'linear', factor: 2 }, num_key_value_heads: 1 },
    {
      rope_parameters: { rope_type: 'linear', rope_theta: 5e5, factor: 2 },
      num_key_value_heads: 1,
      head_dim: 12,
    },
  ],
  [
    'llama',
    {
      rope_theta: 5e5,
      rope_scaling: {
        ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
        original_max_position_embeddings: 16,
      },
    },
    {
      rope_parameters: rope(5e5, {
        ...{ rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
        original_max_position_embeddings: 16,
      }),
    },
  ],
  [
    'mistral',
    { rope_theta: 1e4, sliding_window: null },
    { rope_parameters: rope(1e4), sliding_window: null },
  ],
  [
    'qwen3',
    { rope_theta: 1e6, use_sliding_window: false, sliding_window: 4096, max_window_layers: 2 },
    {
      ...{ rope_parameters: rope(1e6), use_sliding_window: false, sliding_window: null },
      layer_types: [full, full, full, full],
    },
  ],
  [
    'gemma3_text',
    { rope_theta: 1e6, rope_local_base_freq: 1e4, sliding_window_pattern: 2, sliding_window: 8 },
    {
      rope_parameters: { [full]: rope(1e6), [sliding]: rope(1e4) },
      layer_types: [sliding, full, sliding, full],
      sliding_window: 8,
    },
  ],
  [
    'nomic_bert',
    {
      ...{ n_embd: 24, n_layer: 4, n_head: 2, n_inner: 40, n_positions: 64, rotary_emb_base: 1000 },
      ...{ activation_function: 'swiglu', layer_norm_epsilon: 1e-12, resid_pdrop: 0, attn_pdrop: 0 },
      ...{ prenorm: false, qkv_proj_bias: false, rotary_emb_fraction: 1, vocab_size: 97, pad_token_id: 0 },
    },
    { rope_parameters: rope(1000), hidden_act: 'silu' },
  ],
];

for (const [model_type, hub, saved] of DIALECTS) {
  test(`${model_type}: ${Object.keys(hub).join(', ')} say the same as what transformers saves`, () => {
    const ours = 'n_embd' in hub ? { model_type, ...hub } : { model_type, ...SIZES, ...hub };
    assert.deepEqual(settings(ours), settings({ model_type, ...SIZES, ...saved }));
  });
}

test('an older GTE folder says `new`, and scales angles in its own way', () => {
  const config = { ...SIZES, rope_theta: 2e4, rope_scaling: { type: 'ntk', factor: 8 }, type_vocab_size: 1 };
  const older = settings({ ...config, model_type: 'new', position_embedding_type: 'rope' });
  assert.deepEqual(older, settings({ ...config, model_type: 'gte' }));
  assert.deepEqual(older['rotations'], [{ kind: 'ntk', theta: 2e4, features: 12, factor: 8 }]);
});

test('what is neither is refused by name', () => {
  const refusals: readonly (readonly [string, object, RegExp])[] = [
    [
      'llama',
      { rope_scaling: { type: 'dynamic', factor: 2 } },
      /rope_type of rope_scaling is "dynamic"; "default" or "linear"/,
    ],
    [
      'qwen3',
      { rope_parameters: rope(1e4, { rope_type: 'longrope' }) },
      /rope_type of rope_parameters is "longrope"/,
    ],
    ['llama', { rope_scaling: 8 }, /rope_scaling is 8; an object is needed/],
    ['llama', { rope_scaling: { type: 'linear' } }, /factor is undefined/],
    ['llama', { rope_scaling: { type: 'linear', factor: 0.5 } }, /factor is 0.5; a number from 1/],
    ['llama', { rope_parameters: { [full]: rope(1e4) } }, /a record for all layers/],
    [
      'modernbert',
      { layer_types: [full, 'chunked_attention', full, full] },
      /layer_types is "chunked_attention"/,
    ],
    ['modernbert', { layer_types: [full] }, /a list of 4/],
    ['qwen3', { use_sliding_window: true, sliding_window: 0 }, /sliding_window is 0/],
    ['llama', { hidden_act: 'quick_gelu' }, /hidden_act is "quick_gelu"/],
  ];
  for (const [model_type, change, message] of refusals)
    assert.throws(() => settings({ model_type, ...SIZES, ...change }), fails('CHECKPOINT', message));
  for (const [model_type, change] of [
    ['modernbert', { quantization_config: { bits: 4 } }],
    ['qwen3', { is_decoder: true }],
    ['nomic_bert', { num_experts: 8 }],
    ['nomic_bert', { rotary_emb_interleaved: true }],
    ['gte', { logn_attention_scale: true }],
    ['new', { position_embedding_type: 'absolute' }],
  ] as const)
    assert.throws(
      () => settings({ model_type, ...SIZES, ...change }),
      fails('CHECKPOINT', new RegExp(Object.keys(change)[0]!)),
    );
});
