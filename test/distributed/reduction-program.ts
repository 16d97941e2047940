/** Gradients that ranks add up in other ways: `node reduction-program.js`, started by reduction.test.ts as several ranks. */
import {
  AdamW,
  GradCache,
  GradCacheError,
  infoNCE,
  ModuleEncoder,
  Ranks,
  Tensor,
  type Parameter,
  type Reduction,
  type TextEncoder,
  type TokenBatch,
} from '../../lib/index.js';
import type { AnyEncoder } from '../../lib/step/encoder.js';
import { textEncoder, tokens } from '../exactness/support.js';
import { failingPasses, failingProgress } from './failing-passes.js';

const ranks = (await Ranks.join({ timeout: 60, device: process.env.DEVICE ?? 'cpu' }))!;
const last = ranks.rank === ranks.size - 1;

const batch = (step: number): [TokenBatch, TokenBatch] => {
  const of = (tower: number): TokenBatch =>
    tokens(
      Array.from({ length: 7 + ranks.rank }, (_, row) => 1 + ((row * 7 + ranks.rank + step) % 30)),
      1 + tower + 2 * ranks.rank + 10 * step,
    );
  return [of(0), of(1)];
};

const towers = async (): Promise<TextEncoder[]> => [
  await textEncoder('float32', { seed: 1 }),
  await textEncoder('float32', { seed: 2 }),
];

async function gradientsOf(parameters: readonly Parameter[]): Promise<number[]> {
  const all: number[] = [];
  for (const { tensor } of parameters) all.push(...((await tensor.grad!.values()) as Float32Array));
  return all;
}

/** The gradients of two steps, each followed by an update if it is divided. */
async function trained(
  reduction: Reduction,
  divided = false,
  tied = false,
): Promise<{ gradients: number[]; weights: number[] }> {
  const own = await towers();
  const encoders = tied ? [own[0]!, own[0]!] : own;
  const loss = infoNCE({ temperature: { initial: 0.2, learned: true } });
  const gradcache = new GradCache({ encoders, loss, ranks, reduction, chunk: { sequences: 3 } });
  const parameters = gradcache.parameters();
  const optimizer = new AdamW(parameters, { lr: 0.01, ranks: divided ? ranks : null });
  await gradcache.step(batch(0));
  if (divided) await optimizer.step();
  await gradcache.step(batch(1));
  const gradients = divided ? [] : await gradientsOf(parameters);
  await optimizer.step();
  const weights: number[] = [];
  for (const { tensor } of parameters) weights.push(...((await tensor.values()) as Float32Array));
  optimizer.dispose();
  for (const encoder of encoders) encoder.dispose();
  return { gradients, weights };
}

const apart = (some: readonly number[], others: readonly number[]): number =>
  Math.hypot(...some.map((value, k) => value - others[k]!)) / Math.hypot(...others);

/** An encoder of a user, whose gradients are tensors of their own. */
class Own {
  readonly weight = Tensor.from(
    Float32Array.from({ length: 24 }, (_, k) => Math.sin(k)),
    { shape: [6, 4] },
  );

  constructor() {
    this.weight.requiresGrad = true;
  }

  forward(input: Tensor): Tensor {
    return input.matmul(this.weight);
  }

  parameters(): Parameter[] {
    return [{ name: 'weight', tensor: this.weight, decay: true }];
  }
}

async function ofModules(reduction: Reduction): Promise<number[]> {
  const own = new ModuleEncoder(new Own());
  const gradcache = new GradCache({
    encoders: [own, own],
    loss: infoNCE({ temperature: 0.5 }),
    ranks,
    reduction,
  });
  const rows = (seed: number): Tensor =>
    Tensor.from(
      Float32Array.from({ length: 30 }, (_, k) => Math.sin(k * seed + ranks.rank)),
      { shape: [5, 6] },
    );
  await gradcache.step([rows(3), rows(5)] as never);
  return gradientsOf(gradcache.parameters());
}

/**
 * A step in which the last rank fails in the backward pass of a tower. That of tower 1 goes first: its sums are under way when
 * tower 0 fails, and those of both towers are begun at once when it fails itself.
 */
async function failing(
  error: () => Error,
  times: number,
  {
    tower = 0,
    divided = false,
    bucket,
    progress = false,
  }: {
    readonly tower?: 0 | 1;
    readonly divided?: boolean;
    readonly bucket?: number;
    /** Whether not the pass fails, but the question how far it has come. */
    readonly progress?: boolean;
  } = {},
): Promise<unknown> {
  const own = await towers();
  const encoders: AnyEncoder[] = own;
  if (last)
    encoders[tower] = progress
      ? failingProgress(own[tower]!, error)
      : failingPasses(own[tower]!, 'backward', error, times);
  const gradcache = new GradCache({
    encoders,
    loss: infoNCE(),
    ranks,
    reduction: { overlap: true, ...(bucket !== undefined && { bucket }) },
    chunk: { sequences: 3 },
  });
  const parameters = gradcache.parameters();
  using _ = new AdamW(parameters, { lr: 0.01, ranks: divided ? ranks : null });
  const failure = await gradcache.step(batch(0)).then(
    ({ retries }) => ({ retries }),
    ({ code, message }: GradCacheError) => ({ code, message }),
  );
  const gradients = await gradientsOf(parameters);
  const zero = gradients.every((value) => value === 0);
  // The next step is that of a process that never failed.
  for (const { tensor } of parameters) tensor.grad!.copyFrom(tensor.grad!.mul(0));
  await gradcache.step(batch(1));
  return { failure, zero, norm: Math.hypot(...(await gradientsOf(parameters))) };
}

try {
  const exact = await trained({});
  // The default, written out on one rank, is the same as on the others.
  const early = await trained({ overlap: true, ...(last && { bucket: 2 ** 25 }) });
  const narrow = await trained({ type: 'bfloat16' });
  const both = await trained({ type: 'bfloat16', overlap: true });
  const shared = await trained({ overlap: true }, true);
  const sharedLate = await trained({}, true);
  // Parts of one matrix, so that each backward leaves many.
  const bucket = 256;
  const parts = await trained({ overlap: true, bucket });
  const narrowParts = await trained({ type: 'bfloat16', overlap: true, bucket });
  const sharedParts = await trained({ overlap: true, bucket }, true);
  const tied = [
    await trained({}, false, true),
    await trained({ overlap: true, bucket }, false, true),
  ] as const;
  const modules = [await ofModules({}), await ofModules({ type: 'bfloat16' })] as const;
  const different = await trained(last ? { type: 'bfloat16' } : {}).then(
    () => 'none',
    ({ code, message }: GradCacheError) => `${code}: ${message}`,
  );
  const outOfMemory = (): Error => new GradCacheError('OUT_OF_MEMORY', 'no room');
  console.log(
    JSON.stringify({
      overlap: apart(early.gradients, exact.gradients),
      narrow: apart(narrow.gradients, exact.gradients),
      both: apart(both.gradients, narrow.gradients),
      shares: apart(shared.weights, sharedLate.weights),
      parts: [
        apart(parts.gradients, exact.gradients),
        apart(narrowParts.gradients, narrow.gradients),
        apart(sharedParts.weights, sharedLate.weights),
        apart(tied[1].gradients, tied[0].gradients),
      ],
      otherParts: await trained({ overlap: true, bucket: last ? 512 : 256 }).then(
        () => 'none',
        ({ code, message }: GradCacheError) => `${code}: ${message}`,
      ),
      modules: apart(modules[1], modules[0]),
      different,
      retried: await failing(outOfMemory, 1),
      failed: await failing(() => new GradCacheError('NON_FINITE', 'it is NaN'), 1),
      fine: await failing(outOfMemory, 0),
      first: await failing(outOfMemory, 1, { tower: 1, divided: true }),
      inParts: await failing(outOfMemory, 1, { tower: 1, bucket }),
      failedInParts: await failing(() => new GradCacheError('NON_FINITE', 'it is NaN'), 1, { bucket }),
      lost: await failing(() => new GradCacheError('DISPOSED', 'it is gone'), 1, {
        tower: 1,
        progress: true,
      }),
    }),
  );
} catch (error) {
  ranks.fail(error);
  throw error;
} finally {
  await ranks.close();
}
