import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encoderSettings } from '../../lib/architectures/architecture.js';
import { architectureOf, MODEL_TYPES } from '../../lib/architectures/architectures.js';
import { guarded, native } from '../../lib/addon/native.js';
import { fails } from '../robustness/failures.js';

const HEAD = { pooling: 'mean', modules: [] };
const CONFIG = {
  ...{ vocab_size: 20, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 5 },
  ...{ hidden_dim: 5, max_position_embeddings: 16, embedding_size: 4, attention_size: 4 },
  ...{ num_key_value_heads: 1, head_dim: 4, pad_token_id: 0 },
};

for (const modelType of MODEL_TYPES) {
  test(`${modelType}: the addon takes the settings that it needs, no other, and asks for those that lack`, () => {
    const { keys } = architectureOf(modelType);
    const config = Object.fromEntries(Object.entries(CONFIG).filter(([key]) => keys.has(key)));
    if (modelType === 'deberta-v2') config['embedding_size'] = CONFIG.hidden_size; // another one is refused
    const settings = encoderSettings(architectureOf(modelType), config, HEAD);
    const make = (changed: Readonly<Record<string, unknown>>) => {
      guarded(
        () => new (native().EncoderHandle)(changed as typeof settings, 'float32', 'cpu', [], []),
      ).dispose();
    };
    make(settings);
    assert.throws(() => make({ ...settings, colour: 3 }), fails('INPUT', /no setting 'colour'/));
    for (const name of Object.keys(settings)) {
      const { [name]: _, ...others } = settings;
      assert.throws(() => make(others), fails('INPUT', new RegExp(`needs the setting '${name}'`)), name);
      assert.throws(() => make({ ...settings, [name]: null }), fails('INPUT', new RegExp(`'${name}'`)), name);
    }
  });
}
