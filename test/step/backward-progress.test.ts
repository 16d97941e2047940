/** What a backward says of the gradients that are final is true, in every architecture, while it still runs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tensor } from '../../lib/index.js';
import { call, noGrad, TextEncoder, type TokenBatch } from '../../lib/index.js';
import { buffersOf } from '../../lib/distributed/divided-gradients.js';
import { device, tokens } from '../exactness/support.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';

const VOCABULARY = 97;
const sizes = {
  vocab_size: VOCABULARY,
  hidden_size: 64,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  intermediate_size: 128,
  max_position_embeddings: 40,
  pad_token_id: 0,
};
const recurrent = {
  vocab_size: VOCABULARY,
  hidden_size: 64,
  num_hidden_layers: 4,
  max_position_embeddings: 40,
};
const decoder = { ...sizes, num_key_value_heads: 2, head_dim: 16 };

/** Their layers have weights in common, or heads, so that nothing is final before the first layer is done. */
const AT_THE_END = ['ALBERT', 'BERT of all layers'];

const CONFIGS: Readonly<Record<string, readonly [config: object, options?: object]>> = {
  BERT: [{ model_type: 'bert', ...sizes, type_vocab_size: 2 }],
  'BERT with a frozen layer': [
    { model_type: 'bert', ...sizes, type_vocab_size: 2 },
    { frozen: ['embeddings.word_embeddings.weight', 'encoder.layer.2.output.dense.weight'] },
  ],
  'BERT with a representation for each token': [
    { model_type: 'bert', ...sizes, type_vocab_size: 2 },
    { pooling: 'none' },
  ],
  'BERT of all layers': [{ model_type: 'bert', ...sizes, type_vocab_size: 2 }, { layers: 'all' }],
  RoBERTa: [{ model_type: 'roberta', ...sizes, type_vocab_size: 1 }],
  MPNet: [{ model_type: 'mpnet', ...sizes, relative_attention_num_buckets: 32 }],
  ALBERT: [{ model_type: 'albert', ...sizes, embedding_size: 16, type_vocab_size: 2 }],
  'DeBERTa V2': [
    {
      ...{ model_type: 'deberta-v2', ...sizes, type_vocab_size: 0, relative_attention: true },
      ...{ pos_att_type: ['c2p', 'p2c'], position_buckets: 8, share_att_key: true },
      ...{ norm_rel_ebd: 'layer_norm', position_biased_input: false, max_relative_positions: -1 },
    },
  ],
  T5: [
    {
      ...{
        model_type: 't5',
        vocab_size: VOCABULARY,
        d_model: 64,
        d_kv: 16,
        d_ff: 128,
        num_layers: 4,
        num_heads: 4,
      },
      ...{ relative_attention_num_buckets: 8, feed_forward_proj: 'gated-gelu', pad_token_id: 0 },
    },
  ],
  ModernBERT: [{ model_type: 'modernbert', ...sizes, local_attention: 6 }],
  Qwen3: [{ model_type: 'qwen3', ...decoder }],
  'Gemma 3': [{ model_type: 'gemma3_text', ...decoder, sliding_window: 4, query_pre_attn_scalar: 9 }],
  SRU: [{ model_type: 'sru', ...recurrent }],
  'SRU++': [{ model_type: 'srupp', ...recurrent, attention_size: 16, num_attention_heads: 4 }],
};

const batch: TokenBatch = tokens(
  Array.from({ length: 64 }, () => 17),
  1,
);
const rows = Int32Array.from({ length: 64 }, (_, row) => row);

for (const [name, [config, options]] of Object.entries(CONFIGS))
  test(name, async () => {
    const tokenizer = await smallTokenizer(VOCABULARY);
    const encoder = TextEncoder.create(config as never, tokenizer, { seed: 1, device, ...options });
    const { progress, ...passes } = encoder.rowPasses!;
    const chunk = { batch, rows, tokens: batch.ids.length, packed: await encoder.pack(batch) };
    const count = passes.counts?.(batch).reduce((sum, each) => sum + each, 0) ?? rows.length;
    const target = passes.empty(count);
    const gradients = noGrad(() => call<Tensor>('aten::randn_like', target));
    const [buffer] = buffersOf(encoder.parameters()) as [Tensor];
    /** Runs a backward, checks what it says meanwhile, and tells how often it said something else. */
    async function saidMeanwhile(): Promise<number> {
      const { ticket } = await passes.forward(chunk, { seed: 1, retain: true }, target);
      progress!.reset();
      assert.ok(progress!.finalFrom() > buffer.size);
      const seen = new Map<number, Tensor>();
      let runs = true;
      const done = passes.backward(chunk, ticket, gradients, 0, true).finally(() => (runs = false));
      while (runs) {
        const from = progress!.finalFrom();
        if (from < buffer.size && !seen.has(from))
          seen.set(
            from,
            noGrad(() => buffer.narrow(0, from, buffer.size - from).clone()),
          );
        await new Promise((resolve) => setImmediate(resolve));
      }
      await done;
      assert.equal(progress!.finalFrom(), 0);
      const all = (await buffer.values()) as Float32Array;
      assert.ok(all.some((value) => value !== 0));
      for (const [from, then] of seen) {
        assert.deepEqual(await then.values(), all.slice(from), `from ${from}`);
        then.dispose();
      }
      return seen.size;
    }
    // A backward takes milliseconds here: one may be over before it is asked.
    let said = await saidMeanwhile();
    for (let more = 0; said === 0 && more < 50 && !AT_THE_END.includes(name); more++)
      said = await saidMeanwhile();
    if (!AT_THE_END.includes(name)) assert.ok(said > 0, 'nothing was said before the end');
    // Of a backward that is not the last one nothing is said.
    const { ticket } = await passes.forward(chunk, { seed: 1, retain: false }, target);
    progress!.reset();
    await passes.backward(chunk, ticket, gradients, 0);
    assert.ok(progress!.finalFrom() > buffer.size);
    encoder.dispose();
  });
