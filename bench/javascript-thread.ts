/**
 * What a step takes of the JavaScript thread: the time that an event loop beside a training has to wait for. The model is
 * so small that packing, planning and the cache are most of what there is.
 *
 *   npm run bench -- javascript-thread [--pairs 8192] [--tokens 2048] [--rounds 5]
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { GradCache, infoNCE, TextEncoder, type TokenBatch } from '../lib/index.js';
import { smallTokenizer } from '../test/exactness/small-tokenizer.js';

const VOCABULARY = 30_000;
const LONGEST = 128;

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '8192' },
    tokens: { type: 'string', default: '2048' },
    rounds: { type: 'string', default: '5' },
  },
});

/** Milliseconds that this thread has computed, in user and system mode. Only Linux tells. */
function threadTime(): number {
  const [nanoseconds] = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ');
  return Number(nanoseconds) / 1e6;
}

/** Texts of 8 to 128 tokens. */
function batch(texts: number, salt: number): TokenBatch {
  const offsets = new Int32Array(texts + 1);
  for (let k = 0; k < texts; k++) offsets[k + 1] = offsets[k]! + 8 + ((k * 7919 + salt) % (LONGEST - 7));
  const ids = Int32Array.from(
    { length: offsets[texts]! },
    (_, k) => 1 + ((k * 7919 + salt) % (VOCABULARY - 1)),
  );
  return { ids, offsets, truncated: 0 };
}

async function main(): Promise<void> {
  const [pairs, tokens, rounds] = [values.pairs, values.tokens, values.rounds].map(Number) as [
    number,
    number,
    number,
  ];
  const config = {
    model_type: 'bert',
    vocab_size: VOCABULARY,
    hidden_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    intermediate_size: 32,
    max_position_embeddings: LONGEST,
    type_vocab_size: 1,
    pad_token_id: 0,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-12,
  };
  const encoder = TextEncoder.create(config, await smallTokenizer(100), { dropout: 0.1 });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.05 }),
    chunk: { tokens },
  });
  const batches = [batch(pairs, 1), batch(pairs, 5)];
  await gradcache.step(batches);
  const before = threadTime();
  const loop = performance.eventLoopUtilization();
  let chunks = 0;
  for (let round = 0; round < rounds; round++) ({ chunks } = await gradcache.step(batches));
  const busy = performance.eventLoopUtilization(loop).active;
  console.log(
    `${pairs} pairs, ${chunks} chunks of ${tokens} tokens: ${((threadTime() - before) / rounds).toFixed(0)} ms of CPU time ` +
      `on the JavaScript thread a step, its event loop busy for ${(busy / rounds).toFixed(0)} ms`,
  );
  encoder.dispose();
}

await main();
