/**
 * Our side of the GPU bench: a process that takes one request a line on its standard input and answers each with a line
 * of JSON, as bench/peers_gpu.py does for the others.
 */
import { createInterface } from 'node:readline';
import { AdamW, emptyCache, GradCache, infoNCE, synchronize } from '../../lib/index.js';
import { checks, type CheckRequest } from './checks.js';
import type { Job } from './jobs.js';
import { createEncoder, loadEncoder, SHAPES, type ShapeName } from './models.js';
import { firstRows, workload, type Kind } from './workload.js';

/** Steps of one job: some that are not timed, then some that are. */
export interface BlockRequest {
  readonly do: 'block';
  readonly shape: ShapeName;
  readonly kind: Kind;
  readonly pairs: number;
  readonly dropout: number;
  readonly precision: 'float32' | 'bfloat16' | 'tf32';
  readonly device: string;
  readonly shrink: number;
  readonly job: NonNullable<Job['ours']>;
  readonly warm: number;
  readonly steps: number;
  /** The model's folder, for shapes other than BERT's. */
  readonly folder?: string;
  /** The rank of adapters. */
  readonly lora?: number;
  /** Pairs of the steps that are not timed; default: all. */
  readonly warmPairs?: number;
}

/** What a block of steps gave. */
export interface BlockResult {
  readonly seconds: number[];
  /** The most memory in use in a timed step, in bytes. */
  readonly peak: number;
  readonly tokens: number;
  readonly loss: number;
  readonly chunks?: number;
  readonly retained?: number;
  readonly retries?: number;
  /** Milliseconds of the passes of the last step. */
  readonly passes?: { forward: number; loss: number; backward: number };
}

async function block(request: BlockRequest): Promise<BlockResult> {
  const { device, dropout, precision, job, shape, warm, steps, folder, lora, warmPairs } = request;
  const batches = workload(request.kind, request.pairs, SHAPES[shape].vocabulary, request.shrink);
  const first = warmPairs === undefined ? batches : batches.map((batch) => firstRows(batch, warmPairs));
  const options = { device, precision, dropout };
  const encoder =
    folder === undefined
      ? await createEncoder(SHAPES[shape], options)
      : await loadEncoder(folder, options, lora);
  const optimizer = new AdamW(encoder.parameters(), { lr: 2e-5 });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    // As 'gradcache train' takes it where the loss's precision is 'auto'.
    loss: infoNCE({ temperature: 0.05, precision: precision === 'bfloat16' ? 'fast' : 'exact' }),
    chunk: job.chunk,
    ...(job.retain === undefined ? {} : { retain: job.retain }),
  });
  try {
    const seconds: number[] = [];
    let peak = 0;
    for (let step = 0; ; step++) {
      await synchronize(device);
      const start = performance.now();
      const result = await gradcache.step(step < warm ? first : batches);
      await optimizer.step();
      await synchronize(device);
      if (step >= warm) {
        seconds.push((performance.now() - start) / 1000);
        peak = Math.max(peak, result.peakMemory);
      }
      if (step + 1 < warm + steps) continue;
      const { tokens, loss, chunks, retained, retries, milliseconds } = result;
      return { seconds, peak, tokens, loss, chunks, retained, retries, passes: milliseconds };
    }
  } finally {
    optimizer.dispose();
    encoder.dispose();
    emptyCache(device);
  }
}

async function answer(request: BlockRequest | CheckRequest): Promise<unknown> {
  return request.do === 'block' ? block(request) : checks[request.check](request);
}

for await (const line of createInterface({ input: process.stdin })) {
  let result: unknown;
  try {
    result = await answer(JSON.parse(line) as BlockRequest | CheckRequest);
  } catch (error) {
    result = { error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
