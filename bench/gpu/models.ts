import { TextEncoder } from '../../lib/index.js';
import { smallTokenizer } from '../../test/exactness/small-tokenizer.js';

/** The shape of a BERT encoder. */
export interface Shape {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediate: number;
  readonly vocabulary: number;
  readonly positions: number;
}

export const SHAPES = {
  base: { hidden: 768, layers: 12, heads: 12, intermediate: 3072, vocabulary: 30_522, positions: 512 },
  mini: { hidden: 384, layers: 6, heads: 12, intermediate: 1536, vocabulary: 30_522, positions: 512 },
  tiny: { hidden: 32, layers: 2, heads: 2, intermediate: 64, vocabulary: 1200, positions: 64 },
} as const satisfies Record<string, Shape>;

export type ShapeName = keyof typeof SHAPES;

/** What an encoder is made with beside its shape. */
export interface ModelOptions {
  readonly device: string;
  readonly precision: 'float32' | 'float64' | 'bfloat16';
  /** The probability, for hidden states and for attention. */
  readonly dropout: number;
  readonly seed?: number;
}

const tokenizers = new Map<number, ReturnType<typeof smallTokenizer>>();

/** A BERT with random weights, mean pooling and representations of length one. */
export async function createEncoder(shape: Shape, options: ModelOptions): Promise<TextEncoder> {
  const { vocabulary } = shape;
  if (!tokenizers.has(vocabulary)) tokenizers.set(vocabulary, smallTokenizer(vocabulary));
  const config = {
    model_type: 'bert',
    vocab_size: vocabulary,
    hidden_size: shape.hidden,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    intermediate_size: shape.intermediate,
    max_position_embeddings: shape.positions,
    type_vocab_size: 2,
    pad_token_id: 0,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-12,
  };
  return TextEncoder.create(config, await tokenizers.get(vocabulary)!, options);
}
