import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { call, GradCache, infoNCE, noGrad, TextEncoder, withSeed } from '../../lib/index.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { gradients as gradientsOf, tenTexts } from '../exactness/support.js';
import { assertSameGradients } from './compare.js';
import { readGradients, Oracle } from './oracle.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
const VOCABULARY = 97;
const COMMON = { vocab_size: VOCABULARY, hidden_size: 12, num_hidden_layers: 3, max_position_embeddings: 40 };

/** config.json's. The widths tell where columns are mistaken for others; the layers differ in kind where they may. */
const CONFIGS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  sru: { ...COMMON, model_type: 'sru' },
  'sru, narrow embeddings, norms before, rescaled': {
    ...{
      ...COMMON,
      model_type: 'sru',
      embedding_size: 7,
      layer_norm: 'before',
      rescale: true,
      highway_bias: -1,
    },
  },
  'sru, one direction, norms after': {
    ...COMMON,
    model_type: 'sru',
    bidirectional: false,
    layer_norm: 'after',
  },
  'sru++': { ...COMMON, model_type: 'srupp', attention_size: 6 },
  'sru++, heads, attention in every second layer, norms before, rescaled': {
    ...{ ...COMMON, model_type: 'srupp', attention_size: 8, num_attention_heads: 2, embedding_size: 10 },
    ...{ attention_every_n_layers: 2, layer_norm: 'before', rescale: true },
  },
  'sru++, one direction, norms after': {
    ...{ ...COMMON, model_type: 'srupp', attention_size: 6, bidirectional: false, layer_norm: 'after' },
  },
};

let oracle: Oracle;

before(() => {
  oracle = new Oracle();
});

after(() => oracle.close());

/** Saved with weights none of which is as it begins: alpha and the biases begin at 0. */
async function savedEncoder(config: Readonly<Record<string, unknown>>, name: string): Promise<string> {
  using encoder = TextEncoder.create(config, await smallTokenizer(VOCABULARY), { normalize: false, seed: 3 });
  withSeed(4, () => {
    noGrad(() => {
      for (const { tensor } of encoder.parameters())
        call('aten::add_.Tensor', tensor, call('aten::randn', tensor.shape), { alpha: 0.2 }).dispose();
    });
  });
  const folder = oracle.path(name);
  await encoder.save(folder);
  return folder;
}

const asLists = ({ ids, offsets }: { ids: Int32Array; offsets: Int32Array }) =>
  Array.from(offsets.subarray(1), (end, k) => [...ids.subarray(offsets[k], end)]);

for (const [name, config] of Object.entries(CONFIGS)) {
  for (const by of ['rendered', 'published'] as const) {
    test(`${name}: loss and gradients of the cached step equal those of the layers ${by} in PyTorch`, async () => {
      const folder = await savedEncoder(config, `${name} ${by}`);
      const batches = [tenTexts(1), tenTexts(2)];
      const expected = await oracle.sruGradients(folder, batches.map(asLists), { temperature: 0.2, by });
      for (const [precision, tolerance] of [
        ['float32', 1e-5],
        ['float64', 1e-9],
      ] as const) {
        using encoder = await TextEncoder.load(folder, { device, precision, dropout: 0 });
        const gradcache = new GradCache({
          encoders: [encoder, encoder],
          loss: infoNCE({ temperature: 0.2 }),
          chunk: { sequences: 3 },
        });
        const { loss } = await gradcache.step(batches);
        assert.ok(Math.abs(loss - expected.loss) <= tolerance * expected.loss, `${loss}, ${expected.loss}`);
        const ours = new Map(
          [...(await gradientsOf([encoder]))].map(([key, values]) => [key.slice(2), values]),
        );
        assertSameGradients(ours, await readGradients(expected), tolerance, precision);
      }
    });
  }
}
