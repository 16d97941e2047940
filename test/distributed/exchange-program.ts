/** Representations that go round the ranks in blocks: `node exchange-program.js`, started by exchange.test.ts as several ranks. */
import {
  call,
  GradCache,
  infoNCE,
  memory,
  ModuleEncoder,
  Ranks,
  Tensor,
  type Loss,
  type LossWithGradients,
  type Parameter,
} from '../../lib/index.js';
import type { Exchange } from '../../lib/step/exchange.js';
import type { GradCacheError } from '../../lib/errors.js';

const ranks = (await Ranks.join({ timeout: 30, device: process.env.DEVICE ?? 'cpu' }))!;
const { device } = ranks;

/** Rows of `width` numbers, each the row's own number times a parameter. */
class Rows {
  readonly weight: Tensor;

  constructor(width: number, seed: number) {
    this.weight = Tensor.from(
      Float32Array.from({ length: width }, (_, k) => Math.sin(k * 0.7 + seed)),
      { shape: [1, width], device },
    );
    this.weight.requiresGrad = true;
  }

  forward(rows: Tensor): Tensor {
    return call('aten::sin', rows.matmul(this.weight));
  }

  parameters(): Parameter[] {
    return [{ name: 'weight', tensor: this.weight, decay: false }];
  }
}

/** `count` rows of this rank, others than those of other ranks. */
const batch = (count: number): Tensor =>
  Tensor.from(
    Float32Array.from({ length: count }, (_, row) => 1 + row + ranks.rank * 0.37),
    { shape: [count, 1], device },
  );

interface Stepped {
  /** Of the step, besides what the process had before. */
  readonly bytes: number;
  readonly loss: number;
  readonly gradients: readonly number[];
}

async function step(exchange: Exchange, loss: Loss, width: number, count: number): Promise<Stepped> {
  const encoders = [1, 2].map((seed) => new ModuleEncoder(new Rows(width, seed)));
  const gradcache = new GradCache({ encoders, loss, ranks, exchange });
  const inputs = encoders.map(() => batch(count));
  const before = memory(device).allocated;
  const result = await gradcache.step(inputs);
  const gradients = [];
  for (const { tensor } of gradcache.parameters())
    gradients.push(...Array.from((await tensor.grad!.values()) as Float32Array));
  return { bytes: result.peakMemory - before, loss: result.loss, gradients };
}

const failure = async (run: () => unknown): Promise<string> => {
  try {
    await run();
    return 'none';
  } catch (error) {
    const { code, message } = error as GradCacheError;
    return `${code}: ${message}`;
  }
};

/** What a loss over many numbers takes on this rank. Memory of the first step that stays is of neither. */
async function bytes(): Promise<Record<string, number>> {
  await step('ring', infoNCE(), 8, 8);
  const found: Record<string, number> = {};
  for (const exchange of ['ring', 'gather'] as const)
    found[exchange] = (await step(exchange, infoNCE(), 16_384, 256)).bytes;
  return found;
}

/** The same step twice, of uneven rows, a softmax over rows and columns, and a temperature that is learned. */
async function twice(): Promise<boolean> {
  const found = [];
  for (let time = 0; time < 2; time++) {
    const loss = infoNCE({ symmetric: true, temperature: { initial: 0.2, learned: true } });
    const { loss: value, gradients } = await step('ring', loss, 64, 30 + 11 * ranks.rank);
    found.push(JSON.stringify({ value, gradients }));
  }
  return found[0] === found[1];
}

/** A loss as {@link infoNCE} that fails on the last rank after its statistics have gone round. */
function failingLate(): LossWithGradients {
  const loss = infoNCE({ symmetric: true });
  return new Proxy(loss, {
    get: (target, name) => {
      if (name === 'compute' && ranks.rank === ranks.size - 1)
        return async (...args: Parameters<LossWithGradients['compute']>) => {
          await target.compute(...args);
          throw new Error('it fell over');
        };
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

const PARTS: Readonly<Record<string, () => Promise<unknown>>> = {
  bytes,
  twice,
  different: () => failure(() => step(ranks.rank === 0 ? 'ring' : 'gather', infoNCE(), 8, 4)),
  widths: () => failure(() => step('ring', infoNCE(), 8 + ranks.rank, 4)),
  late: () => failure(() => step('ring', failingLate(), 8, 4)),
  next: () => failure(() => step('ring', infoNCE(), 8, 4)),
};

try {
  const found: Record<string, unknown> = {};
  for (const [name, part] of Object.entries(PARTS)) found[name] = await part();
  console.log(JSON.stringify(found));
} catch (error) {
  ranks.fail(error);
  throw error;
} finally {
  await ranks.close();
}
