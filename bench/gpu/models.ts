import { TextEncoder, type Tokenizer } from '../../lib/index.js';
import { smallTokenizer } from '../../test/exactness/small-tokenizer.js';

/** The shape of an encoder: a BERT's, or what `config` says. */
export interface Shape {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly intermediate: number;
  readonly vocabulary: number;
  readonly positions: number;
  /** The content of config.json of any other architecture. Such a model is read from a folder that both sides open. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly pooling?: 'mean' | 'lasttoken';
}

type Sizes = Pick<Shape, 'hidden' | 'layers' | 'heads' | 'intermediate' | 'vocabulary' | 'positions'>;

function common(sizes: Sizes): Record<string, unknown> {
  return {
    vocab_size: sizes.vocabulary,
    hidden_size: sizes.hidden,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    intermediate_size: sizes.intermediate,
    max_position_embeddings: sizes.positions,
    pad_token_id: 0,
    bos_token_id: 1,
    eos_token_id: 1,
  };
}

function modernbert(sizes: Sizes, window: number): Shape {
  const config = {
    ...common(sizes),
    model_type: 'modernbert',
    cls_token_id: 1,
    sep_token_id: 1,
    local_attention: window,
    global_attn_every_n_layers: 3,
  };
  return { ...sizes, config };
}

function qwen3(sizes: Sizes, pairs: number, headDimension: number): Shape {
  const config = {
    ...common(sizes),
    model_type: 'qwen3',
    num_key_value_heads: pairs,
    head_dim: headDimension,
    rope_theta: 1_000_000,
    rms_norm_eps: 1e-6,
    tie_word_embeddings: true,
  };
  return { ...sizes, config, pooling: 'lasttoken' };
}

function gemma(sizes: Sizes, headDimension: number, window: number): Shape {
  const config = {
    ...common(sizes),
    model_type: 'gemma3_text',
    num_key_value_heads: 1,
    head_dim: headDimension,
    query_pre_attn_scalar: headDimension,
    sliding_window: window,
    use_bidirectional_attention: true,
  };
  return { ...sizes, config };
}

export const SHAPES = {
  base: { hidden: 768, layers: 12, heads: 12, intermediate: 3072, vocabulary: 30_522, positions: 512 },
  mini: { hidden: 384, layers: 6, heads: 12, intermediate: 1536, vocabulary: 30_522, positions: 512 },
  // ModernBERT-base
  modernbert: modernbert(
    { hidden: 768, layers: 22, heads: 12, intermediate: 1152, vocabulary: 50_368, positions: 8192 },
    128,
  ),
  // Qwen3-Embedding-0.6B and 8B
  qwen3: qwen3(
    { hidden: 1024, layers: 28, heads: 16, intermediate: 3072, vocabulary: 151_669, positions: 32_768 },
    8,
    128,
  ),
  'qwen3-8b': qwen3(
    { hidden: 4096, layers: 36, heads: 32, intermediate: 12_288, vocabulary: 151_665, positions: 32_768 },
    8,
    128,
  ),
  // EmbeddingGemma
  gemma: gemma(
    { hidden: 768, layers: 24, heads: 3, intermediate: 1152, vocabulary: 262_144, positions: 2048 },
    256,
    512,
  ),
  tiny: { hidden: 32, layers: 2, heads: 2, intermediate: 64, vocabulary: 1200, positions: 64 },
  'tiny-modernbert': modernbert(
    { hidden: 64, layers: 4, heads: 2, intermediate: 48, vocabulary: 1200, positions: 64 },
    16,
  ),
  'tiny-qwen3': qwen3(
    { hidden: 64, layers: 2, heads: 4, intermediate: 96, vocabulary: 1200, positions: 64 },
    2,
    32,
  ),
  'tiny-gemma': gemma(
    { hidden: 96, layers: 7, heads: 3, intermediate: 96, vocabulary: 1200, positions: 64 },
    32,
    8,
  ),
} as const satisfies Record<string, Shape>;

export type ShapeName = keyof typeof SHAPES;

/** What an encoder is made with beside its shape. */
export interface ModelOptions {
  readonly device: string;
  readonly precision: 'float32' | 'float64' | 'bfloat16' | 'tf32';
  /** The probability, for hidden states and for attention. */
  readonly dropout: number;
  readonly seed?: number;
}

const tokenizers = new Map<number, ReturnType<typeof smallTokenizer>>();

/** A BERT with random weights, mean pooling and representations of length one. */
export async function createEncoder(
  shape: Shape,
  options: ModelOptions,
  tokenizer?: Tokenizer,
): Promise<TextEncoder> {
  const { vocabulary } = shape;
  if (tokenizer === undefined && !tokenizers.has(vocabulary))
    tokenizers.set(vocabulary, smallTokenizer(vocabulary));
  const config = {
    ...common(shape),
    model_type: 'bert',
    type_vocab_size: 2,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-12,
  };
  return TextEncoder.create(config, tokenizer ?? (await tokenizers.get(vocabulary)!), options);
}

/** The model of a folder, whole or with adapters of this rank on all linear layers. */
export function loadEncoder(
  folder: string,
  options: ModelOptions,
  rank: number | undefined,
): Promise<TextEncoder> {
  const lora = rank === undefined ? {} : { lora: { rank, targetModules: 'all-linear' } };
  return TextEncoder.load(folder, { ...options, ...lora });
}
