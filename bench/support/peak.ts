import { GradCache, infoNCE, TextEncoder, type TokenBatch } from '../../lib/index.js';
import { smallTokenizer } from '../../test/exactness/small-tokenizer.js';

/** What a step of `pairs` pairs took at its peak. */
export interface Peak {
  readonly pairs: number;
  readonly tokensPerText: number;
  readonly shape: string;
  /** Sequences in a chunk. */
  readonly chunk: number;
  /** Resident bytes at the highest point of the step. */
  readonly peak: number;
  /** Bytes of representations, their gradients and token ids. */
  readonly unavoidable: number;
  readonly seconds: number;
}

const SHAPE = { hidden: 128, layers: 1, heads: 4, intermediate: 256, vocabulary: 4000 };
const TOKENS = 32;
const CHUNK = 64;
const WARM_UP = 6;

/** Measures one step after a few of 512 pairs, in this process. */
export async function measurePeak(pairs: number): Promise<Peak> {
  const encoder = TextEncoder.create(
    {
      model_type: 'bert',
      vocab_size: SHAPE.vocabulary,
      hidden_size: SHAPE.hidden,
      num_hidden_layers: SHAPE.layers,
      num_attention_heads: SHAPE.heads,
      intermediate_size: SHAPE.intermediate,
      max_position_embeddings: 64,
      type_vocab_size: 2,
      pad_token_id: 0,
      hidden_act: 'gelu',
      hidden_dropout_prob: 0.1,
      attention_probs_dropout_prob: 0.1,
      layer_norm_eps: 1e-12,
    },
    await smallTokenizer(SHAPE.vocabulary),
    { seed: 1 },
  );
  const step = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.05 }),
    chunk: { sequences: CHUNK },
  });
  // So that pools of allocators and of V8 have their size before anything is compared.
  for (let k = 0; k < WARM_UP; k++) await step.step([tokens(512, 1), tokens(512, 2)]);
  const inputs = [tokens(pairs, 3), tokens(pairs, 4)];
  const { milliseconds, peakMemory } = await step.step(inputs);
  const representations = 2 * 2 * pairs * SHAPE.hidden * 4;
  const ids = 2 * pairs * TOKENS * 4;
  return {
    pairs,
    tokensPerText: TOKENS,
    shape: `${SHAPE.layers} layer of ${SHAPE.hidden}`,
    chunk: CHUNK,
    peak: peakMemory,
    unavoidable: representations + ids,
    seconds: milliseconds.total / 1000,
  };
}

/** Random ids: what they say does not matter here. */
function tokens(texts: number, seed: number): TokenBatch {
  const ids = new Int32Array(texts * TOKENS);
  let state = seed;
  for (let k = 0; k < ids.length; k++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    ids[k] = state % SHAPE.vocabulary;
  }
  return { ids, offsets: Int32Array.from({ length: texts + 1 }, (_, k) => k * TOKENS), truncated: 0 };
}
