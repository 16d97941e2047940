import { fileURLToPath } from 'node:url';
import { TextEncoder, Tokenizer, type NewModel } from 'gradcache';

/** A small BERT with random weights: one layer is what learns most in the few minutes that a CPU has here. */
export const MODEL = {
  config: {
    architectures: ['BertModel'],
    model_type: 'bert',
    vocab_size: 8192,
    hidden_size: 128,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    intermediate_size: 256,
    max_position_embeddings: 48,
    type_vocab_size: 1,
    hidden_act: 'gelu',
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
    initializer_range: 0.02,
    layer_norm_eps: 1e-12,
    pad_token_id: 0,
  },
  // Compiled, this file is dist/examples/quickstart/model.js; the vocabulary stays in the source tree.
  tokenizer: fileURLToPath(new URL('../../../examples/quickstart/tokenizer.json', import.meta.url)),
} as const satisfies NewModel;

/** The model for programs that train it step by step. */
export async function makeModel(device: string, seed = 1): Promise<TextEncoder> {
  const tokenizer = await Tokenizer.fromFile(MODEL.tokenizer);
  return TextEncoder.create(MODEL.config, tokenizer, { device, pooling: 'mean', normalize: true, seed });
}
