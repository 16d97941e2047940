import { call, ModuleEncoder, TextEncoder, withSeed } from '../../../lib/index.js';
import type { Chunk, Encoder, Tensor } from '../../../lib/index.js';
import { smallTokenizer } from '../../exactness/small-tokenizer.js';
import { tenTexts, textEncoder } from '../../exactness/support.js';
import { disturbedCalls, type GoodCall } from '../disturbed-calls.js';
import type { Target } from '../target.js';

const texts = ['w1 w2 w3', 'w4', 'w5 w6'];
const config = {
  model_type: 'bert',
  vocab_size: 50,
  hidden_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 3,
  intermediate_size: 7,
  max_position_embeddings: 40,
  hidden_act: 'gelu',
  hidden_dropout_prob: 0.1,
  layer_norm_eps: 1e-12,
};

/** A linear layer from 4 to 3, with dropout. */
function linear(): ModuleEncoder {
  const tensor = withSeed(1, () => call<Tensor>('aten::randn', [3, 4]));
  tensor.requiresGrad = true;
  return new ModuleEncoder({
    forward: (input: Tensor) => call<Tensor>('aten::dropout', call('aten::linear', input, tensor), 0.1, true),
    parameters: () => [{ name: 'weight', tensor, decay: true }],
  });
}

/** The two passes of a chunk, one after the other, as a loop of one's own makes them. */
const passes =
  (encoder: Encoder) =>
  async (chunk: Chunk<unknown>, options: never, gradients: Tensor, group: number): Promise<void> => {
    const { representations, ticket } = await encoder.forwardChunk(chunk, options);
    representations.dispose();
    await encoder.backwardChunk(chunk, ticket, gradients, group);
  };

/** Methods of encoders and of tokenizers. */
export const encoders: Target = {
  count: 1500,
  least: { answered: 250, refused: 250 },
  prepare: async () => {
    const tokenizer = await smallTokenizer(50);
    const module = linear();
    const rows = Int32Array.of(3, 0, 2);
    const features = () => call<Tensor>('aten::ones', [5, 4]);
    const one = await textEncoder('float32', { dropout: 0.1 });
    const chunk = () => {
      const batch = tenTexts(1);
      const lengths = one.lengths(batch);
      return { batch, rows: Int32Array.of(0, 3), tokens: lengths[0]! + lengths[3]! };
    };
    const options = () => ({ seed: 1, retain: true, group: 0 });
    const calls: GoodCall[] = [
      { name: 'encode', make: () => [texts, { prompt: '', tokensPerChunk: 4 }], use: one.encode.bind(one) },
      { name: 'tokenize', make: () => [texts, { prompt: { prefix: 'w1 ' } }], use: one.tokenize.bind(one) },
      { name: 'lengths', make: () => [tenTexts(1)], use: one.lengths.bind(one) },
      { name: 'truncated', make: () => [tenTexts(1)], use: one.truncated.bind(one) },
      { name: 'graphBytes', make: () => [chunk()], use: one.graphBytes.bind(one) },
      { name: 'forwardChunk', make: () => [chunk(), options()], use: one.forwardChunk.bind(one) },
      {
        name: 'both passes',
        make: () => [chunk(), options(), call('aten::ones', [2, one.dimension]), 0],
        use: passes(one),
      },
      {
        name: 'both passes of a module',
        make: () => [{ batch: features(), rows, tokens: 3 }, options(), call('aten::ones', [3, 3]), 0],
        use: passes(module),
      },
      {
        name: "a module's lengths",
        make: () => [{ left: features(), right: features() }],
        use: module.lengths.bind(module),
      },
      { name: 'setPrompt', make: () => ['query', 'w1 '], use: one.setPrompt.bind(one) },
      { name: 'setSimilarity', make: () => ['cosine'], use: one.setSimilarity.bind(one) },
      { name: 'save', make: () => ['saved', { maxLength: 12 }], use: one.save.bind(one) },
      {
        name: 'create',
        make: () => [
          config,
          tokenizer,
          { pooling: 'mean', normalize: true, seed: 1, maxLength: 8, dropout: 0.5 },
        ],
        use: (...args: Parameters<typeof TextEncoder.create>) => TextEncoder.create(...args).dispose(),
      },
      {
        name: "the tokenizer's encode",
        make: () => [texts, { maxLength: 4, prefix: '' }],
        use: tokenizer.encode.bind(tokenizer),
      },
    ];
    return disturbedCalls(calls);
  },
};
