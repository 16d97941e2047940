/** Updates that are divided over ranks: `node divided-program.js`, started by divided.test.ts as several ranks. */
import { createHash } from 'node:crypto';
import {
  AdamW,
  call,
  clipGradNorm,
  GradCache,
  GradCacheError,
  infoNCE,
  memory,
  noGrad,
  RAdam,
  Ranks,
  Tensor,
  type Parameter,
  type TokenBatch,
} from '../../lib/index.js';
import { DividedUpdate } from '../../lib/optim/divided-update.js';
import { collectGarbage } from '../collect-garbage.js';
import { textEncoder, tokens, type Precision } from '../exactness/support.js';
import { runParts } from './run-parts.js';

const ranks = (await Ranks.join({ timeout: 60, device: process.env.DEVICE ?? 'cpu' }))!;

const failure = async (run: () => unknown): Promise<string> => {
  try {
    await run();
    return 'none';
  } catch (error) {
    const { code, message } = error as GradCacheError;
    return `${code}: ${message}`;
  }
};

const digest = async (tensors: readonly Tensor[]): Promise<string> => {
  const hash = createHash('sha256');
  for (const tensor of tensors) hash.update(await tensor.bytes());
  return hash.digest('hex');
};

/** Parameters of a caller, whose sizes do not come out even, with the same gradients on all ranks. */
function ownParameters(): Parameter[] {
  const make = (name: string, shape: number[], turned = false): Parameter => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const values = (seed: number) => Float32Array.from({ length: size }, (_, k) => Math.sin(seed + k * 0.37));
    const [tensor, grad] = [values(size), values(size + 1)].map((each) => {
      const rows = Tensor.from(each, { shape });
      return turned ? rows.t() : rows;
    }) as [Tensor, Tensor];
    tensor.requiresGrad = true;
    tensor.grad = grad;
    return { name, tensor, decay: shape.length > 1 };
  };
  return [
    make('weight', [37, 101]),
    make('turned', [40, 50], true),
    make('bias', [7]),
    make('scale', []),
    make('none', [3]),
  ];
}

/** Several updates by the same gradients, with and without ranks. */
async function updates(kind: typeof AdamW | typeof RAdam, maxGradNorm: number): Promise<unknown> {
  const found: string[] = [];
  const norms: number[] = [];
  for (const own of [null, ranks]) {
    const parameters = ownParameters();
    parameters.at(-1)!.tensor.grad = null;
    const optimizer = new kind(parameters, { lr: 0.01, weightDecay: 0.1, maxGradNorm, ranks: own });
    const gradients = parameters.map(({ tensor }) => tensor.grad?.clone() ?? null);
    for (let step = 0; step < 7; step++) {
      for (const [place, { tensor }] of parameters.entries())
        if (gradients[place] !== null) tensor.grad!.copyFrom(gradients[place]!.mul(1 + step / 3));
      norms.push((await optimizer.step()).gradNorm);
    }
    const state = await optimizer.state();
    found.push(await digest(parameters.map(({ tensor }) => tensor)));
    const zero = await Promise.all(
      parameters.map(async ({ tensor }) => (await tensor.grad?.values())?.every((value) => value === 0)),
    );
    if (zero.includes(false)) found.push('a gradient is not zero');
    const whole = createHash('sha256');
    for (const [name, { bytes, shape }] of state) whole.update(name).update(bytes).update(shape.join());
    found.push(ranks.rank === 0 || own === null ? whole.digest('hex') : String(state.size));
    optimizer.dispose();
  }
  return { alone: found.slice(0, 2), divided: found.slice(2), norms };
}

/** Rows of this rank, of each rank another number. */
const batch = (step: number): [TokenBatch, TokenBatch] => {
  const of = (tower: number): TokenBatch =>
    tokens(
      Array.from({ length: 4 + (ranks.rank % 2) }, (_, row) => 1 + ((row * 7 + ranks.rank + step) % 30)),
      1 + tower + 2 * ranks.rank + 10 * step,
    );
  return [of(0), of(1)];
};

/** Training over ranks, with the whole state and with shares of it. */
async function training(precision: Precision | 'bfloat16', accumulate: number): Promise<unknown> {
  const digests: string[] = [];
  const weights: number[][] = [];
  for (const own of [null, ranks]) {
    const encoder = await textEncoder(precision);
    const loss = infoNCE({ temperature: { initial: 0.2, learned: true } });
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss, ranks, accumulate });
    const optimizer = new AdamW(gradcache.parameters(), { lr: 0.01, maxGradNorm: 0.5, ranks: own });
    for (let step = 0; step < 6; step++) {
      await gradcache.step(batch(step));
      if ((step + 1) % accumulate === 0) await optimizer.step();
    }
    const tensors = gradcache.parameters().map(({ tensor }) => tensor);
    digests.push(await digest(tensors));
    weights.push((await Promise.all(tensors.map(numbersOf))).flat());
    if (own === null) continue;
    // The whole state, given to an optimizer that goes on.
    const state = await optimizer.state();
    digests.push(String(state.size));
    optimizer.dispose();
    encoder.dispose();
  }
  const [alone = [], divided = []] = weights;
  const apart = Math.hypot(...alone.map((value, k) => value - divided[k]!)) / Math.hypot(...alone);
  return { digests, apart };
}

const numbersOf = async (tensor: Tensor): Promise<number[]> =>
  Array.from((await tensor.to({ dtype: 'float64' }).values()) as Float64Array);

/** What updates of a large parameter take, by this rank's share and by the whole. */
async function bytesOfUpdates(): Promise<number[]> {
  const size = 12_000_000;
  const large = (): Tensor => call('aten::full', [size], 1, { dtype: 'float32' });
  const tensor = large();
  tensor.requiresGrad = true;
  tensor.grad = large();
  const optimizers: AdamW[] = [];
  const taken: number[] = [];
  for (const own of [ranks, null]) {
    collectGarbage();
    const before = memory().allocated;
    const optimizer = new AdamW([{ name: 'p', tensor, decay: false }], { lr: 0.01, ranks: own });
    await optimizer.step();
    taken.push(memory().allocated - before);
    optimizers.push(optimizer);
  }
  for (const optimizer of optimizers) optimizer.dispose();
  return taken;
}

/** No memory for the state, until the function that is returned is called. */
function failingOnce(): () => void {
  const own = Object.getOwnPropertyDescriptor(DividedUpdate.prototype, 'ownShare')!;
  DividedUpdate.prototype.ownShare = () => {
    throw new GradCacheError('OUT_OF_MEMORY', 'no room');
  };
  return () => Object.defineProperty(DividedUpdate.prototype, 'ownShare', own);
}

/** What goes wrong, and what it leaves. */
async function refusals(): Promise<unknown> {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), ranks });
  const parameters = gradcache.parameters();
  const tensors = parameters.map(({ tensor }) => tensor);
  const divided = new AdamW(parameters, { lr: 0.01, ranks });
  await gradcache.step(batch(0));
  const found: Record<string, string> = {
    clip: await failure(() => clipGradNorm(parameters, 1)),
    undivided: await failure(() => new AdamW(parameters, { lr: 0.01 }).step()),
  };
  const before = await digest(tensors);
  const room = ranks.rank === 1 ? failingOnce() : () => undefined;
  found.failing = await failure(() => divided.step());
  room();
  // A share of the last rank.
  const spoilt = encoder.parameters().at(-1)!;
  const gradient = spoilt.tensor.grad!;
  const kept = gradient.clone();
  if (ranks.rank === ranks.size - 1) gradient.copyFrom(gradient.mul(NaN));
  found['not finite'] = await failure(() => divided.step());
  found.unchanged = String(before === (await digest(tensors)));
  gradient.copyFrom(kept);
  found.next = await failure(() => divided.step());
  found.changed = String(before !== (await digest(tensors)));
  found.state = await failure(async () => {
    divided.loadState(await sharedState(divided));
  });
  divided.dispose();
  // Now whole gradients are added up again.
  await gradcache.step(batch(1));
  found.whole = await failure(() => new AdamW(parameters, { lr: 0.01 }).step());
  return found;
}

/** Updates that fail on the last rank when others have made their part, and what they leave. */
async function torn(): Promise<unknown> {
  const found: Record<string, unknown> = {};
  for (const method of ['put', 'gather'] as const) {
    const parameters = ownParameters();
    const gradients = parameters.map(({ tensor }) => tensor.grad!.clone());
    const weights = parameters.map(({ tensor }) => tensor.clone());
    const optimizer = new AdamW(parameters, { lr: 0.01, ranks });
    await optimizer.step();
    const state = await sharedState(optimizer);
    const kept = parameters.map(({ tensor }) => tensor.clone());
    const renew = (from: readonly Tensor[]): void => {
      for (const [place, { tensor }] of parameters.entries()) {
        noGrad(() => tensor.copyFrom(from[place]!));
        tensor.grad!.copyFrom(gradients[place]!);
      }
    };
    renew(kept);
    const mend = ranks.rank === ranks.size - 1 ? failing(method) : () => undefined;
    const update = await failure(() => optimizer.step());
    mend();
    const zero = await Promise.all(parameters.map(async ({ tensor }) => isZero(await tensor.grad!.values())));
    const again = [await failure(() => optimizer.step()), await failure(() => optimizer.state())];
    renew(kept);
    optimizer.loadState(state);
    const next = await failure(() => optimizer.step());
    const resumed = await digest(parameters.map(({ tensor }) => tensor));
    // The same without a failure.
    const fresh = new AdamW(parameters, { lr: 0.01, ranks });
    renew(weights);
    await fresh.step();
    renew(kept);
    await fresh.step();
    const same = resumed === (await digest(parameters.map(({ tensor }) => tensor)));
    found[method] = { update, again, next, same, zero: zero.every(Boolean) };
    for (const each of [optimizer, fresh]) each.dispose();
  }
  return found;
}

const isZero = (values: Iterable<number | bigint>): boolean =>
  [...values].every((value) => Number(value) === 0);

/** Makes the last step of an update fail on this rank, until the function that is returned is called. */
function failing(method: 'put' | 'gather'): () => void {
  const own = Object.getOwnPropertyDescriptor(DividedUpdate.prototype, method)!;
  const whole = own.value as (...args: unknown[]) => Promise<void>;
  const ofRanks = Object.getOwnPropertyDescriptor(Ranks.prototype, 'agree')!;
  const agree = ofRanks.value as Ranks['agree'];
  const fail = (): never => {
    throw new GradCacheError('OUT_OF_MEMORY', 'no room');
  };
  if (method === 'put') DividedUpdate.prototype.put = fail;
  else
    DividedUpdate.prototype.gather = async function (this: DividedUpdate, ...args) {
      Ranks.prototype.agree = function (this: Ranks, what: string) {
        return agree.call(this, what, fail);
      } as typeof agree;
      await whole.apply(this, args);
    };
  return () => {
    Object.defineProperty(Ranks.prototype, 'agree', ofRanks);
    Object.defineProperty(DividedUpdate.prototype, method, own);
  };
}

/** The state of all, on each rank. */
async function sharedState(optimizer: AdamW): Promise<Awaited<ReturnType<AdamW['state']>>> {
  const state = await optimizer.state();
  const sent =
    ranks.rank === 0 ? [...state].map(([name, { bytes, ...rest }]) => [name, rest, Array.from(bytes)]) : [];
  const [first] = await ranks.bytes('sending a state', new TextEncoder().encode(JSON.stringify(sent)));
  const list = JSON.parse(new TextDecoder().decode(first)) as [string, { shape: number[] }, number[]][];
  return new Map(
    list.map(([name, rest, bytes]) => [name, { ...rest, bytes: Uint8Array.from(bytes) } as never]),
  );
}

/** A state that was put together, and loaded again, goes on as one that never was. */
async function reloaded(): Promise<unknown> {
  const digests: string[] = [];
  for (const again of [false, true]) {
    const parameters = ownParameters();
    const gradients = parameters.map(({ tensor }) => tensor.grad!.clone());
    let optimizer = new AdamW(parameters, { lr: 0.01, ranks });
    for (let step = 0; step < 4; step++) {
      for (const [place, { tensor }] of parameters.entries()) tensor.grad!.copyFrom(gradients[place]!);
      await optimizer.step();
      if (!again || step !== 1) continue;
      const state = await sharedState(optimizer);
      optimizer.dispose();
      optimizer = new AdamW(parameters, { lr: 0.01, ranks });
      optimizer.loadState(state);
    }
    digests.push(await digest(parameters.map(({ tensor }) => tensor)));
  }
  return digests;
}

const PARTS: Readonly<Record<string, () => Promise<unknown>>> = {
  bytes: bytesOfUpdates,
  adamw: () => updates(AdamW, Infinity),
  clipped: () => updates(AdamW, 0.7),
  radam: () => updates(RAdam, Infinity),
  float32: () => training('float32', 1),
  bfloat16: () => training('bfloat16', 1),
  accumulated: () => training('float64', 3),
  reloaded,
  refusals,
  torn,
};

await runParts(ranks, PARTS);
