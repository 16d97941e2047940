/**
 * Steps over ranks that go wrong: `node failures-program.js NAME`, started by failures.test.ts as several ranks. `all` runs those
 * after which the ranks go on.
 */
import { argv } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  distanceHead,
  GradCache,
  GradCacheError,
  infoNCE,
  Ranks,
  Tensor,
  type Loss,
  type LossOptions,
  type LossWithGradients,
  type TextEncoder,
  type TokenBatch,
} from '../../lib/index.js';
import type { Exchange } from '../../lib/step/exchange.js';
import { RepresentationCache } from '../../lib/step/representation-cache.js';
import { SharedRows } from '../../lib/step/shared-rows.js';
import { textEncoder, tokens } from '../exactness/support.js';
import { failingPasses } from './failing-passes.js';

const ranks = (await Ranks.join({
  timeout: Number(process.env.TIMEOUT ?? 30),
  device: process.env.DEVICE ?? 'cpu',
}))!;
const encoder = await textEncoder('float64');
const last = ranks.rank === ranks.size - 1;

const batch = (): TokenBatch[] =>
  [1, 2].map((tower) =>
    tokens(
      Array.from({ length: 8 }, (_, row) => 1 + ((row * 7 + ranks.rank) % 20)),
      tower + 100 * ranks.rank,
    ),
  );

/** The norm of all gradients. */
async function norm(): Promise<number> {
  let sum = 0;
  for (const { tensor } of encoder.parameters()) {
    const { grad } = tensor;
    for (const value of (await grad!.values()) as Float64Array) sum += value * value;
  }
  return Math.sqrt(sum);
}

/** The encoder, which fails on the last rank. */
const failing = (method: 'forward' | 'backward', error: () => Error, times = 1): TextEncoder =>
  last ? failingPasses(encoder, method, error, times) : encoder;

/** Fails once, in the part of the last rank; where representations go round. */
function failInRing(error: () => Error): void {
  const own = Object.getOwnPropertyDescriptor(RepresentationCache.prototype, 'compute')!;
  if (!last) return;
  RepresentationCache.prototype.compute = () => {
    Object.defineProperty(RepresentationCache.prototype, 'compute', own);
    return Promise.reject(error());
  };
}

/** The same where they are gathered. */
function failInLoss(error: () => Error): void {
  const compute = Object.getOwnPropertyDescriptor(SharedRows.prototype, 'compute')!
    .value as SharedRows['compute'];
  if (!last) return;
  SharedRows.prototype.compute = () => {
    SharedRows.prototype.compute = compute;
    return Promise.reject(error());
  };
}

async function stepWith(loss: Loss, exchange: Exchange = 'gather'): Promise<unknown> {
  const chunk = { sequences: 4 };
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss, ranks, chunk, exchange });
  const { retries } = await gradcache.step(batch());
  return { retries, norm: await norm() };
}

const outOfMemory = (): Error => new GradCacheError('OUT_OF_MEMORY', 'no room');
const step = async (encoders: readonly TextEncoder[], chunk = 4, loss: LossOptions = {}) => {
  const gradcache = new GradCache({ encoders, loss: infoNCE(), ranks, chunk: { sequences: chunk } });
  const { retries } = await gradcache.step(batch(), { loss });
  return { retries, norm: await norm(), chunks: gradcache.chunkSizes() };
};

/** What a step that fails leaves, and the next one. */
async function failed(encoders: readonly TextEncoder[], loss: LossOptions = {}): Promise<unknown> {
  await step([encoder, encoder]);
  const before = await norm();
  const error = await step(encoders, 4, loss).then(
    () => null,
    ({ code, message }: GradCacheError) => ({ code, message }),
  );
  const after = await norm();
  await step([encoder, encoder]);
  return { error, kept: before === after, next: Math.abs((await norm()) / before - 2) < 1e-9 };
}

const PROGRAMS: Readonly<Record<string, () => Promise<unknown>>> = {
  fine: () => step([encoder, encoder]),
  'memory runs out while encoding': () => step([failing('forward', outOfMemory), encoder]),
  'memory runs out in the backward pass': () => step([encoder, failing('backward', outOfMemory)]),
  'memory cannot suffice': () => failed([failing('forward', outOfMemory, 1000), encoder]),
  'an error while encoding': () => failed([failing('forward', () => new TypeError('no function')), encoder]),
  'an error in the backward pass': () =>
    failed([encoder, failing('backward', () => new GradCacheError('NON_FINITE', 'it is NaN'))]),
  'keyword arguments that do not fit': () =>
    failed([encoder, encoder], { targets: last ? [1] : [1, 0, 3, 2, 5, 4, 7, 6] }),
  // The others wait for this rank's part of the statistics.
  'memory runs out in the loss': async () => {
    failInLoss(outOfMemory);
    return stepWith(infoNCE({ symmetric: true }));
  },
  'an error in the loss': async () => {
    failInLoss(() => new GradCacheError('DTYPE', 'wrong type'));
    return stepWith(infoNCE({ symmetric: true })).catch(({ code, message }: GradCacheError) => ({
      code,
      message,
    }));
  },
  // It adds up by itself what the ranks have.
  'an error in a loss in TypeScript': async () => {
    const head = distanceHead({
      forward: (a, b) => {
        if (last) throw new GradCacheError('DTYPE', 'wrong type');
        return a.matmul(b.t());
      },
      parameters: () => [],
    });
    return stepWith(head).catch(({ code, message }: GradCacheError) => ({ code, message }));
  },
  // Gloo would end the process.
  'a loss that adds up other types on each rank': async () => {
    const loss: LossWithGradients = {
      sharing: 'parts',
      parameters: () => [],
      compute: async (towers, _weight, _options, _trained, share) => {
        await share!.sum(Tensor.from([1, 2], { dtype: last ? 'int64' : 'int32' }));
        return { loss: 0, gradients: towers.map(() => null) };
      },
    };
    return stepWith(loss).catch(({ code, message }: GradCacheError) => ({ code, message }));
  },
  'memory runs out in the loss, in a ring': async () => {
    failInRing(outOfMemory);
    return stepWith(infoNCE({ symmetric: true }), 'ring');
  },
  'an error in the loss, in a ring': async () => {
    failInRing(() => new GradCacheError('DTYPE', 'wrong type'));
    return stepWith(infoNCE({ symmetric: true }), 'ring').catch(({ code, message }: GradCacheError) => ({
      code,
      message,
    }));
  },
  'stopped on one rank': async () => {
    const controller = new AbortController();
    if (last) controller.abort();
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), ranks });
    return gradcache.step(batch(), { signal: controller.signal }).then(
      () => null,
      ({ code, message }: GradCacheError) => ({ code, message }),
    );
  },
  'a step with wrong inputs on one rank': async () => {
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), ranks });
    const inputs = last ? ([Promise.reject(new Error('no such file')), batch()[1]] as never) : batch();
    return gradcache.step(inputs as never).then(
      () => null,
      ({ code, message }: GradCacheError) => ({ code, message }),
    );
  },
};

/** Those that end the ranks. */
const ENDS: typeof PROGRAMS = {
  'an unequal number of steps': async () => {
    await step([encoder, encoder]);
    if (!last) await step([encoder, encoder]);
  },
  killed: async () => {
    console.log('begins');
    for (;;) await step([encoder, encoder]);
  },
  'killed in a ring': async () => {
    console.log('begins');
    for (;;) await stepWith(infoNCE(), 'ring');
  },
  'cut off': async () => {
    await step([encoder, encoder]);
    console.log('begins');
    for (;;) {
      const before = await norm();
      const failure = await step([encoder, encoder]).catch((error: unknown) => error as GradCacheError);
      if (failure instanceof GradCacheError) return { code: failure.code, kept: (await norm()) === before };
    }
  },
  late: async () => {
    if (last) await sleep(600_000);
    await step([encoder, encoder]);
  },
};

/** All programs begin without gradients. */
function clear(): void {
  for (const { tensor } of encoder.parameters()) tensor.grad!.copyFrom(tensor.grad!.mul(0));
}

async function all(): Promise<Record<string, unknown>> {
  const told: Record<string, unknown> = {};
  for (const [name, program] of Object.entries(PROGRAMS)) {
    clear();
    told[name] = await program();
  }
  // The last: after it the ranks do not work together any more.
  const unequal = 'an unequal number of steps';
  told[unequal] = await ENDS[unequal]!().catch(({ code, message }: GradCacheError) => ({ code, message }));
  return told;
}

try {
  console.log(JSON.stringify((await (ENDS[argv[2]!] ?? PROGRAMS[argv[2]!] ?? all)()) ?? 'fine'));
} catch (error) {
  ranks.fail(error);
  const { code, message } = error as GradCacheError;
  console.log(JSON.stringify({ code, message }));
} finally {
  await ranks.close().catch(() => undefined);
}
