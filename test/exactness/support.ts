import {
  backward,
  call,
  noGrad,
  Tensor,
  TextEncoder,
  tidy,
  withGrad,
  withSeed,
  type Chunk,
  type Encoder,
  type Parameter,
  type TokenBatch,
} from '../../lib/index.js';
import type { Numbers } from '../oracle/compare.js';
import { smallTokenizer } from './small-tokenizer.js';

/** Where the tests compute: the same files run with `GRADCACHE_TEST_DEVICE=cuda`. */
export const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';

/** The precisions in which gradients are compared, each with the relative error allowed. */
export const precisions = [
  ['float64', 1e-10],
  ['float32', 1e-5],
] as const;

export type Precision = (typeof precisions)[number][0];

const VOCABULARY = 97;

let tokenizer: ReturnType<typeof smallTokenizer> | undefined;

/** config.json of small encoders, one of each kind of block. */
const CONFIGS = {
  bert: {
    model_type: 'bert',
    vocab_size: VOCABULARY,
    hidden_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 3,
    intermediate_size: 40,
    max_position_embeddings: 40,
    type_vocab_size: 2,
    pad_token_id: 0,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-12,
    initializer_range: 0.2,
  },
  sru: {
    model_type: 'sru',
    vocab_size: VOCABULARY,
    embedding_size: 10,
    hidden_size: 24,
    num_hidden_layers: 2,
    max_position_embeddings: 40,
    layer_norm: 'after',
  },
  srupp: {
    model_type: 'srupp',
    vocab_size: VOCABULARY,
    hidden_size: 24,
    num_hidden_layers: 3,
    attention_size: 12,
    num_attention_heads: 2,
    attention_layers: [0, 1],
    max_position_embeddings: 40,
    layer_norm: 'before',
    rescale: true,
  },
  modernbert: {
    ...{ model_type: 'modernbert', vocab_size: VOCABULARY, hidden_size: 24, num_hidden_layers: 3 },
    ...{ num_attention_heads: 3, intermediate_size: 20, max_position_embeddings: 40, local_attention: 6 },
    ...{ pad_token_id: 0, initializer_range: 0.2, mlp_bias: true },
  },
  qwen3: {
    ...{ model_type: 'qwen3', vocab_size: VOCABULARY, hidden_size: 24, num_hidden_layers: 2 },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, intermediate_size: 20 },
    ...{ max_position_embeddings: 40, initializer_range: 0.2 },
  },
  gemma3: {
    ...{ model_type: 'gemma3_text', vocab_size: VOCABULARY, hidden_size: 24, num_hidden_layers: 2 },
    ...{ num_attention_heads: 2, num_key_value_heads: 1, head_dim: 8, intermediate_size: 20 },
    ...{ max_position_embeddings: 40, sliding_window: 4, use_bidirectional_attention: true },
    ...{ sliding_window_pattern: 2, query_pre_attn_scalar: 9, initializer_range: 0.2 },
  },
  gte: {
    ...{ model_type: 'gte', vocab_size: VOCABULARY, hidden_size: 24, num_hidden_layers: 2 },
    ...{ num_attention_heads: 3, intermediate_size: 20, max_position_embeddings: 40, pad_token_id: 0 },
    initializer_range: 0.2,
  },
} as const;

export type Architecture = keyof typeof CONFIGS;
export const architectures = Object.keys(CONFIGS) as Architecture[];

/** A small random encoder, BERT by default; no parameter keeps its initial 0 or 1. */
export async function textEncoder(
  precision: Precision | 'bfloat16',
  options: {
    architecture?: Architecture;
    seed?: number;
    dropout?: number;
    drophead?: number;
    layers?: number;
    pooling?: 'mean' | 'cls' | 'max' | 'last';
    normalize?: boolean;
  } = {},
): Promise<TextEncoder> {
  const { architecture = 'bert', seed = 1, dropout = 0, drophead = 0 } = options;
  const { pooling = 'mean', normalize = false } = options;
  const layers = options.layers === undefined ? {} : { num_hidden_layers: options.layers };
  const encoder = TextEncoder.create(
    { ...CONFIGS[architecture], ...layers },
    await (tokenizer ??= smallTokenizer(VOCABULARY)),
    {
      precision,
      dropout,
      drophead,
      seed,
      device,
      pooling,
      normalize,
    },
  );
  disturb(encoder.parameters(), seed);
  return encoder;
}

/** Adds the same noise in every precision: it is drawn in float32 on the CPU. */
function disturb(parameters: readonly Parameter[], seed: number): void {
  withSeed(seed + 1000, () => {
    noGrad(() => {
      for (const { tensor } of parameters) {
        tidy(() => {
          const noise = call('aten::randn', tensor.shape, { dtype: 'float32' });
          call('aten::add_.Tensor', tensor, noise.to({ dtype: tensor.dtype, device: tensor.device }), {
            alpha: 0.1,
          });
        });
      }
    });
  });
}

/** Random token ids of texts with these lengths. */
export function tokens(lengths: readonly number[], seed: number): TokenBatch {
  const offsets = new Int32Array(lengths.length + 1);
  for (const [k, length] of lengths.entries()) offsets[k + 1] = offsets[k]! + length;
  const ids = new Int32Array(offsets.at(-1)!);
  let state = seed;
  for (let k = 0; k < ids.length; k++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    ids[k] = 1 + ((state >>> 8) % (VOCABULARY - 1));
  }
  return { ids, offsets, truncated: 0 };
}

/** Ten texts of 1..17 tokens, in no order of length; the seed changes both. */
export function tenTexts(seed: number): TokenBatch {
  return tokens(
    [3, 17, 1, 8, 8, 2, 12, 5, 9, 4].map((length, k) => ((length + seed * k) % 17) + 1),
    seed,
  );
}

/** Gradients by name, read from the device; a tower's number stands before the names where there are several encoders. */
export async function gradients(
  encoders: readonly { parameters(): Parameter[] }[],
): Promise<Map<string, Numbers>> {
  const all = new Map<string, Numbers>();
  for (const [tower, encoder] of [...new Set(encoders)].entries()) {
    for (const { name, tensor } of encoder.parameters()) {
      const { grad } = tensor;
      const values = grad === null ? new Float64Array(tensor.size) : ((await grad.values()) as Float64Array);
      all.set(`${tower}:${name}`, values);
    }
  }
  return all;
}

/** Sets every gradient to zero. */
export function clear(encoders: readonly { parameters(): Parameter[] }[]): void {
  noGrad(() => {
    for (const { tensor } of encoders.flatMap((encoder) => encoder.parameters())) {
      if (tensor.grad !== null) call('aten::zero_', tensor.grad).dispose();
    }
  });
}

/** A scalar made of plain tensor operations, for {@link fullBatch}. */
export type PlainLoss = (...representations: Tensor[]) => Tensor;

/** One tower's batch in pieces, each with the seed that its dropout has. */
export type Piece = Chunk<unknown> & { readonly seed: number };

/** InfoNCE from plain operators: the definition of Gao et al. 2021 (equation 1), all scores at once. */
export function plainInfoNCE(options: {
  temperature: number | Tensor;
  similarity?: 'cosine' | 'dot';
  symmetric?: boolean;
  targets?: readonly number[];
}): PlainLoss {
  const { temperature, similarity = 'cosine', symmetric = false, targets } = options;
  return (anchors, ...columns) => {
    const candidates: Tensor = call('aten::cat', columns, 0);
    const unit = (tensor: Tensor) => (similarity === 'cosine' ? tensor.normalize() : tensor);
    const scores = unit(anchors).matmul(unit(candidates).t()).div(temperature);
    const rows = scores.shape[0]!;
    const wanted = Tensor.from(targets ?? Array.from({ length: rows }, (_, row) => row), {
      dtype: 'int64',
      device,
    });
    const forth: Tensor = call('aten::cross_entropy_loss', scores, wanted);
    if (!symmetric) return forth;
    const own = Tensor.from(
      Array.from({ length: rows }, (_, row) => row),
      { dtype: 'int64', device },
    );
    const back: Tensor = call('aten::cross_entropy_loss', scores.indexSelect(1, wanted).t(), own);
    return forth.add(back).div(2);
  };
}

/** A whole tower as one piece, in its own order. */
export function whole(encoder: Encoder, batch: unknown): Piece[] {
  const lengths = encoder.lengths(batch);
  const rows = Int32Array.from(lengths, (_, row) => row);
  return [{ batch, rows, tokens: lengths.reduce((sum, length) => sum + length, 0), seed: 0 }];
}

/**
 * What everything is compared with: every graph is kept, one loss is built on all of them with autograd's own operators,
 * and there is a single backward. Nothing is cached, nothing is encoded twice. Returns loss and gradients, and leaves the
 * encoders' gradients at zero.
 */
export async function fullBatch(
  encoders: readonly Encoder[],
  pieces: readonly (readonly Piece[])[],
  loss: PlainLoss,
): Promise<{ loss: number; gradients: Map<string, Numbers> }> {
  clear(encoders);
  const graphs: Tensor[][] = [];
  for (const [tower, encoder] of encoders.entries()) {
    const parts: Tensor[] = [];
    for (const { seed, ...chunk } of pieces[tower]!) {
      const { ticket } = await encoder.forwardChunk(chunk, { seed, retain: true });
      parts.push(ticket.graph!);
    }
    graphs.push(parts);
  }
  const root = withGrad(() => loss(...graphs.map((parts, tower) => inOwnOrder(parts, pieces[tower]!))));
  await backward([root], [null]);
  const result = { loss: root.item(), gradients: await gradients(encoders) };
  clear(encoders);
  return result;
}

/** Pieces of a tower end to end, then row k where row k of the batch belongs. */
function inOwnOrder(parts: readonly Tensor[], pieces: readonly Piece[]): Tensor {
  const order = pieces.flatMap(({ rows }) => [...rows]);
  const place = order.map((_, row) => order.indexOf(row));
  const joined: Tensor = call('aten::cat', parts, 0);
  return joined.indexSelect(0, Tensor.from(place, { dtype: 'int64', device }));
}
