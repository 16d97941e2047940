import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { AdamW, emptyCache, GradCache, infoNCE, synchronize, type TextEncoder } from '../../lib/index.js';
import { createEncoder, SHAPES, type ModelOptions, type ShapeName } from './models.js';
import { workload, type Kind } from './workload.js';

export interface CheckRequest {
  readonly do: 'check';
  readonly check: keyof typeof checks;
  readonly shape: ShapeName;
  readonly kind: Kind;
  readonly pairs: number;
  readonly device: string;
  readonly shrink: number;
  readonly chunk: number;
}

/** An encoder, and a step on the workload with it as both towers. */
async function prepare(request: CheckRequest, options: Omit<ModelOptions, 'device'>) {
  const shape = SHAPES[request.shape];
  const encoder = await createEncoder(shape, { device: request.device, ...options });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.05 }),
    chunk: { tokens: request.chunk },
    seed: 7,
  });
  const batches = workload(request.kind, request.pairs, shape.vocabulary, request.shrink);
  const dispose = () => {
    encoder.dispose();
    emptyCache(request.device);
  };
  return { encoder, step: () => gradcache.step(batches), dispose };
}

/** The part of the model that a parameter belongs to: `embeddings` or `layer.3`. */
export function layerOf(name: string): string {
  const layer = /\blayer\.(\d+)\b/.exec(name)?.[1];
  return layer === undefined ? (name.includes('embeddings') ? 'embeddings' : 'rest') : `layer.${layer}`;
}

/** Cosines of the gradients of two encoders of one shape: of all parameters, and layer by layer. */
export async function gradientCosines(
  a: TextEncoder,
  b: TextEncoder,
): Promise<{ whole: number; layers: Record<string, number> }> {
  const sums = new Map<string, [number, number, number]>();
  const ofB = new Map(b.parameters().map(({ name, tensor }) => [name, tensor]));
  for (const { name, tensor } of a.parameters()) {
    const [one, other] = [tensor.grad, ofB.get(name)?.grad];
    if (!one || !other) continue;
    const [x, y] = [(await one.values()) as Float32Array, (await other.values()) as Float32Array];
    one.dispose();
    other.dispose();
    for (const part of ['whole', layerOf(name)]) {
      const sum = sums.get(part) ?? [0, 0, 0];
      for (let k = 0; k < x.length; k++) {
        sum[0] += x[k]! * y[k]!;
        sum[1] += x[k]! * x[k]!;
        sum[2] += y[k]! * y[k]!;
      }
      sums.set(part, sum);
    }
  }
  const cosines = Object.fromEntries(
    [...sums].map(([part, [dot, aa, bb]]) => [part, dot / Math.sqrt(aa * bb)]),
  );
  const { whole = NaN, ...layers } = cosines;
  return { whole, layers };
}

/** Gradient in bfloat16 against the one in float32, from the same float32 weights, without dropout. */
async function precision(request: CheckRequest) {
  const low = await prepare(request, { precision: 'bfloat16', dropout: 0 });
  const high = await prepare(request, { precision: 'float32', dropout: 0 });
  const losses = [(await low.step()).loss, (await high.step()).loss];
  const { whole, layers } = await gradientCosines(low.encoder, high.encoder);
  const [lowest] = Object.entries(layers).sort((x, y) => x[1] - y[1]);
  low.dispose();
  high.dispose();
  return { whole, lowestLayer: lowest![0], lowest: lowest![1], losses };
}

/** Losses of eight steps on one batch, with an update after each and with dropout, in bfloat16 and in float32. */
async function training(request: CheckRequest) {
  const losses: { [precision: string]: number[] } = {};
  for (const precision of ['bfloat16', 'float32'] as const) {
    const { step, encoder, dispose } = await prepare(request, { precision, dropout: 0.1 });
    const optimizer = new AdamW(encoder.parameters(), { lr: 1e-4 });
    losses[precision] = [];
    for (let k = 0; k < 8; k++) {
      losses[precision].push((await step()).loss);
      await optimizer.step();
    }
    optimizer.dispose();
    dispose();
  }
  return losses;
}

/** Two encoders of one seed, each after one step with dropout: are loss and gradients the same bits? */
async function bits(request: CheckRequest) {
  const digests: string[] = [];
  for (let run = 0; run < 2; run++) {
    const { encoder, step, dispose } = await prepare(request, { precision: 'bfloat16', dropout: 0.1 });
    const { loss } = await step();
    const hash = createHash('sha256').update(String(loss));
    for (const { tensor } of encoder.parameters()) {
      const { grad } = tensor;
      if (grad) hash.update(await grad.bytes());
      grad?.dispose();
    }
    digests.push(hash.digest('hex'));
    dispose();
  }
  return { same: digests[0] === digests[1] };
}

/** An encoder with dropout in bfloat16, after one step that warms up. */
async function warmed(request: CheckRequest) {
  const prepared = await prepare(request, { precision: 'bfloat16', dropout: 0.1 });
  await prepared.step();
  await synchronize(request.device);
  return prepared;
}

/** How late the event loop was while a step ran, in milliseconds (its timer itself takes 1). */
async function eventLoop(request: CheckRequest) {
  const { step, dispose } = await warmed(request);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const { milliseconds } = await step();
  delay.disable();
  dispose();
  return {
    p50: delay.percentile(50) / 1e6,
    p99: delay.percentile(99) / 1e6,
    max: delay.max / 1e6,
    step: milliseconds.total,
  };
}

/** What the card draws and how fast its clock runs while steps follow each other, and whether its limit holds it back. */
async function power(request: CheckRequest) {
  const { step, dispose } = await warmed(request);
  const columns = 'power.draw.instant,clocks.sm,clocks_event_reasons.sw_power_cap,power.limit,clocks.max.sm';
  const smi = spawn('nvidia-smi', [
    '--id=0',
    `--query-gpu=${columns}`,
    '--format=csv,noheader,nounits',
    '--loop-ms=50',
  ]);
  let output = '';
  smi.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const failed = new Promise<never>((_, reject) => smi.on('error', reject));
  // The first samples come before the clock has settled.
  for (let steps = 0; steps < 4; steps++) {
    if (steps === 1) output = '';
    await Promise.race([step(), failed]);
  }
  smi.kill();
  dispose();
  const samples = output
    .trim()
    .split('\n')
    .map((line) => line.split(', '))
    .filter((fields) => fields.length === columns.split(',').length);
  const mean = (values: number[]) =>
    Math.round(values.reduce((sum, value) => sum + value, 0) / values.length);
  return {
    watts: mean(samples.map(([draw]) => Number(draw))),
    limit: Number(samples[0]?.[3]),
    megahertz: mean(samples.map(([, clock]) => Number(clock))),
    most: Number(samples[0]?.[4]),
    percentHeldByTheLimit: mean(samples.map(([, , capped]) => (capped === 'Active' ? 100 : 0))),
    samples: samples.length,
  };
}

export const checks = { precision, training, bits, eventLoop, power };
