/** Representations that go round the ranks in blocks: `node exchange-program.js`, started by exchange.test.ts as several ranks. */
import {
  call,
  GradCache,
  infoNCE,
  memory,
  ModuleEncoder,
  Ranks,
  Tensor,
  type AnyEncoder,
  type Loss,
  type LossWithGradients,
  type Parameter,
} from '../../lib/index.js';
import type { Exchange } from '../../lib/step/exchange.js';
import { lossShare } from '../../lib/step/loss-share.js';
import type { GradCacheError } from '../../lib/errors.js';
import { collectGarbage } from '../collect-garbage.js';
import { splitCases, type Rows, type SplitCase } from '../exactness/split-losses.js';
import { runParts } from './run-parts.js';

const ranks = (await Ranks.join({ timeout: 30, device: process.env.DEVICE ?? 'cpu' }))!;
const { device } = ranks;

/** Rows of `width` numbers, each the row's own number times a parameter. */
class Multiples {
  readonly weight: Tensor;

  /** How many of the numbers a row keeps. */
  readonly #kept: number;

  constructor(width: number, seed: number, kept = width) {
    this.#kept = kept;
    this.weight = Tensor.from(
      Float32Array.from({ length: width }, (_, k) => Math.sin(k * 0.7 + seed)),
      { shape: [1, width], device },
    );
    this.weight.requiresGrad = true;
  }

  forward(rows: Tensor): Tensor {
    return call<Tensor>('aten::sin', rows.matmul(this.weight)).narrow(1, 0, this.#kept);
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
  readonly gradients: readonly Float32Array[];
}

async function step(
  exchange: Exchange,
  loss: Loss,
  width: number,
  count: number,
  kept = width,
): Promise<Stepped> {
  const encoders = [1, 2].map((seed) => new ModuleEncoder(new Multiples(width, seed, kept)));
  const gradcache = new GradCache({ encoders, loss, ranks, exchange, chunk: { sequences: 8 } });
  const inputs = encoders.map(() => batch(count));
  collectGarbage();
  const before = memory(device).allocated;
  const result = await gradcache.step(inputs);
  const gradients: Float32Array[] = [];
  for (const { tensor } of gradcache.parameters())
    gradients.push((await tensor.grad!.values()) as Float32Array);
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

/** A rank without a row of the anchors, whose scores each rank computes of its own. */
async function withoutRows(): Promise<void> {
  const encoder = new ModuleEncoder(new Multiples(8, 1));
  const encoders: AnyEncoder[] = [encoder, encoder, encoder];
  const gradcache = new GradCache<readonly AnyEncoder[]>({
    encoders,
    loss: infoNCE(),
    ranks,
    exchange: 'ring',
  });
  const pairs = (): Tensor | null => (ranks.rank === 1 ? null : batch(4));
  await gradcache.step([pairs(), pairs(), batch(4)]);
}

/** What a loss over many numbers takes on this rank. Memory of the first step that stays is of neither. */
async function bytes(): Promise<Record<string, number>> {
  await step('ring', infoNCE(), 8, 8);
  const found: Record<string, number> = {};
  for (const exchange of ['ring', 'gather'] as const)
    found[exchange] = (await step(exchange, infoNCE(), 65_536, 32)).bytes;
  return found;
}

/** The same step twice, of uneven rows, a softmax over rows and columns, and a temperature that is learned. */
async function twice(): Promise<boolean> {
  const found = [];
  for (let time = 0; time < 2; time++) {
    const loss = infoNCE({ symmetric: true, temperature: { initial: 0.2, learned: true } });
    const { loss: value, gradients } = await step('ring', loss, 64, 30 + 11 * ranks.rank);
    found.push(JSON.stringify([value, gradients.map((each) => [...each])]));
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

/** Representations of a loss, of this rank or all: each tower is cut at other places. */
/** @param none whether the first rank has no row */
function cut(
  { values, shape: [count, width] }: Rows,
  tower: number,
  none: boolean,
): { own: number[]; counts: number[] } {
  const cuts = [0, ...[0.2, 0.55, 0.7].slice(0, ranks.size - 1), 1].map((part, k, { length }) =>
    k === 1 && none
      ? 0
      : k === 0 || k === length - 1
        ? part * count
        : Math.floor((part + tower * 0.07) * count),
  );
  const counts = cuts.slice(1).map((end, k) => end - cuts[k]!);
  return {
    own: Array.from(values.subarray(cuts[ranks.rank]! * width, cuts[ranks.rank + 1]! * width)),
    counts,
  };
}

interface Computed {
  readonly loss: number;
  readonly slope: number;
  /** Of the rows of this rank, one tower behind the other. */
  readonly gradients: readonly number[];
}

/** A loss over rows in a ring, and on this rank alone in another way. */
async function compute(
  make: SplitCase['split'],
  towers: readonly Rows[],
  { inRing, none }: { readonly inRing: boolean; readonly none: boolean },
): Promise<Computed> {
  let slope = 0;
  const loss = make((of) => (slope += of));
  const parts = towers.map((rows, tower) => cut(rows, tower, none && tower === 2));
  const own = towers.map(({ shape: [, width] }, tower) =>
    Tensor.from(Float32Array.from(parts[tower]!.own), {
      shape: [parts[tower]!.counts[ranks.rank]!, width],
      device,
    }),
  );
  const all = towers.map(({ values, shape }) => Tensor.from(values, { shape, device }));
  const rows = Array.from({ length: ranks.size }, (_, rank) => parts.map(({ counts }) => counts[rank]!));
  const share = lossShare(ranks, 'computing the loss', rows);
  const found = inRing ? await loss.compute(own, 1, {}, undefined, share) : await loss.compute(all, 1, {});
  const gradients: number[] = [];
  for (const [tower, gradient] of found.gradients.entries()) {
    const begin = sum(parts[tower]!.counts.slice(0, ranks.rank));
    const mine = inRing ? gradient! : gradient!.narrow(0, begin, parts[tower]!.counts[ranks.rank]!);
    gradients.push(...Array.from((await mine.values()) as Float32Array));
  }
  if (!inRing) return { loss: found.loss, slope, gradients };
  const told = await ranks.numbers([found.loss, slope]);
  return { loss: sum(told.map(([value]) => value!)), slope: sum(told.map(([, of]) => of!)), gradients };
}

/** Its scale is not learned. */
const makeFast = (): LossWithGradients => infoNCE({ precision: 'fast', symmetric: true });

/** How far losses by kernels in a ring are from those of one process, relative. */
async function kernels(): Promise<Record<string, number[]>> {
  const found: Record<string, number[]> = {};
  const fast = { title: 'InfoNCE, fast', towers: splitCases[0]!.towers, split: makeFast };
  const all = [...splitCases, fast].map((each) => ({ ...each, none: false }));
  const some = [all[0]!, all[1]!, all.at(-1)!].map(({ title, ...rest }) => ({
    ...rest,
    title: `${title}, no third row on a rank`,
    none: true,
  }));
  for (const { title, towers, split, none } of [...all, ...some]) {
    const ring = await compute(split, towers, { inRing: true, none });
    const alone = await compute(split, towers, { inRing: false, none });
    const apart = Math.hypot(...alone.gradients.map((each, k) => each - ring.gradients[k]!));
    found[title] = [
      Math.abs(ring.loss / alone.loss - 1),
      Math.abs(ring.slope - alone.slope) / (Math.abs(alone.slope) || 1),
      apart / Math.hypot(...alone.gradients),
    ];
  }
  return found;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

const PARTS: Readonly<Record<string, () => Promise<unknown>>> = {
  bytes,
  twice,
  kernels,
  different: () => failure(() => step(ranks.rank === 0 ? 'ring' : 'gather', infoNCE(), 8, 4)),
  widths: () => failure(() => step('ring', infoNCE(), 8, 4, 8 - ranks.rank)),
  rows: () => failure(withoutRows),
  late: () => failure(() => step('ring', failingLate(), 8, 4)),
  next: () => failure(() => step('ring', infoNCE(), 8, 4)),
};

await runParts(ranks, PARTS);
