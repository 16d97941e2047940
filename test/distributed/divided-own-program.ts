/**
 * Divided updates of weights in bfloat16 and of tables whose gradients are of rows: `node divided-own-program.js`, started by
 * divided-own.test.ts as several ranks.
 */
import { createHash } from 'node:crypto';
import {
  AdamW,
  call,
  GradCache,
  infoNCE,
  memory,
  RAdam,
  Ranks,
  Tensor,
  TextEncoder,
  type AdamWOptions,
  type CreateOptions,
  type GradCacheError,
  type Parameter,
} from '../../lib/index.js';
import type { StoredTensor } from '../../lib/safetensors/safetensors.js';
import { collectGarbage } from '../collect-garbage.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { tokens } from '../exactness/support.js';
import { runParts } from './run-parts.js';

const ranks = (await Ranks.join({ timeout: 60, device: process.env.DEVICE ?? 'cpu' }))!;
const { device } = ranks;
const tokenizer = await smallTokenizer(97, { specialTokens: false });

type State = ReadonlyMap<string, StoredTensor>;

const digest = async (tensors: readonly Tensor[]): Promise<string> => {
  const hash = createHash('sha256');
  for (const tensor of tensors) hash.update(await tensor.bytes());
  return hash.digest('hex');
};

/** A state as bytes, whatever the order of its tensors and of the rows of a table. */
function digestOf(state: State): string {
  const hash = createHash('sha256');
  for (const name of [...state.keys()].sort()) {
    const { shape, dtype, bytes } = state.get(name)!;
    const rows = state.get(name.replace(/^[^.]*\./, 'rows.'));
    hash.update(`${name} ${dtype} ${shape.join()}`);
    if (rows === undefined || shape.length === 0) hash.update(bytes);
    else for (const place of orderOf(rows)) hash.update(part(bytes, place, shape[0]!));
  }
  return hash.digest('hex');
}

const part = (bytes: Uint8Array, place: number, count: number): Uint8Array => {
  const length = bytes.byteLength / count;
  return bytes.subarray(place * length, (place + 1) * length);
};

function orderOf({ bytes }: StoredTensor): number[] {
  const rows = new BigInt64Array(bytes.slice().buffer);
  return [...rows.keys()].sort((one, other) => Number(rows[one]! - rows[other]!));
}

/** The state of rank 0 on each rank. */
async function shared(state: State): Promise<State> {
  const sent =
    ranks.rank === 0 ? [...state].map(([name, { bytes, ...rest }]) => [name, rest, Array.from(bytes)]) : [];
  const [first] = await ranks.bytes('sending a state', Buffer.from(JSON.stringify(sent)));
  const list = JSON.parse(new TextDecoder().decode(first)) as [string, StoredTensor, number[]][];
  return new Map(list.map(([name, rest, bytes]) => [name, { ...rest, bytes: Uint8Array.from(bytes) }]));
}

/** What an update is made for: parameters, and how they get the gradients of a step, the same on all ranks. */
interface Subject {
  readonly parameters: readonly Parameter[];
  readonly backward: (step: number) => Promise<void>;
  readonly dispose: () => void;
}

/** Steps that have some rows alone: those of the second are of one rank, whichever the number of ranks. */
const WORDS = [
  [1, 2, 3, 4, 5, 6, 7, 30],
  [6, 12, 18],
  [7, 8, 9, 90, 91],
  [3, 6, 60, 61, 62, 63, 64, 65, 66],
  [1, 2, 5],
];

function encoderOf(
  options: CreateOptions,
  { isStatic = false, learned = false }: { isStatic?: boolean; learned?: boolean } = {},
): Subject {
  const settings = isStatic
    ? { model_type: 'static', vocab_size: 97, hidden_size: 6 }
    : {
        ...{ model_type: 'bert', vocab_size: 97, hidden_size: 24, max_position_embeddings: 40 },
        ...{ num_hidden_layers: 1, num_attention_heads: 3, intermediate_size: 40 },
      };
  const encoder = TextEncoder.create(settings, tokenizer, { seed: 4, dropout: 0, device, ...options });
  const loss = infoNCE({ temperature: { initial: 0.3, learned } });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss });
  const batch = (step: number, shift: number) => {
    const words = WORDS[step % WORDS.length]!;
    const texts = words.map((_, k) => [words[k]!, words[(k + shift) % words.length]!]);
    return {
      ids: Int32Array.from(texts.flat()),
      offsets: Int32Array.from({ length: texts.length + 1 }, (_, k) => 2 * k),
      truncated: 0,
    };
  };
  return {
    parameters: gradcache.parameters(),
    backward: async (step) => void (await gradcache.step([batch(step, 1), batch(step, 2)])),
    dispose: () => {
      encoder.dispose();
    },
  };
}

/** Parameters of a caller, whose gradients are of bfloat16 too. */
function callers(): Subject {
  const make = (name: string, shape: number[], turned = false): Parameter => {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const values = Float32Array.from({ length: size }, (_, k) => Math.sin(size + k * 0.37));
    const rows = Tensor.from(values, { shape, device }).to({ dtype: 'bfloat16' });
    const tensor = turned ? rows.t() : rows;
    tensor.requiresGrad = true;
    tensor.grad = call('aten::empty_like', tensor.detach());
    return { name, tensor, decay: shape.length > 1 };
  };
  const parameters = [
    make('weight', [37, 101]),
    make('turned', [40, 50], true),
    make('bias', [7]),
    make('scale', []),
  ];
  return {
    parameters,
    backward: async (step) => {
      for (const { tensor } of parameters) {
        const values = Float32Array.from({ length: tensor.size }, (_, k) => Math.cos(step + k * 0.11));
        const rows = Tensor.from(values, { shape: tensor.shape, device });
        tensor.grad!.copyFrom(rows);
      }
      await Promise.resolve();
    },
    dispose: () => {
      for (const { tensor } of parameters) tensor.dispose();
    },
  };
}

/** The same updates undivided and divided; and begun in one way, and gone on with in the other. */
async function updates(
  kind: typeof AdamW | typeof RAdam,
  make: () => Subject,
  options: Partial<AdamWOptions>,
): Promise<unknown> {
  const found: string[][] = [];
  for (const [before, behind] of [
    [null, null],
    [ranks, ranks],
    [ranks, null],
    [null, ranks],
  ]) {
    const subject = make();
    const fresh = (own: Ranks | null | undefined): AdamW =>
      new kind(subject.parameters, { lr: 0.01, weightDecay: 0.1, maxGradNorm: 0.5, ...options, ranks: own });
    let optimizer = fresh(before);
    const norms: number[] = [];
    for (let step = 0; step < 7; step++) {
      if (step === 3) {
        const state = await optimizer.state();
        optimizer.dispose();
        optimizer = fresh(behind);
        optimizer.loadState(before === null ? state : await shared(state));
      }
      await subject.backward(step);
      norms.push((await optimizer.step()).gradNorm);
    }
    const state = await optimizer.state();
    found.push([
      await digest(subject.parameters.map(({ tensor }) => tensor)),
      ranks.rank === 0 || behind === null ? digestOf(state) : String(state.size),
      norms.map((norm) => norm.toPrecision(9)).join(),
      String(await zero(subject.parameters)),
    ]);
    optimizer.dispose();
    subject.dispose();
  }
  return found;
}

async function zero(parameters: readonly Parameter[]): Promise<boolean> {
  for (const { tensor } of parameters) {
    const { grad } = tensor;
    if (grad !== null && Array.from(await grad.values(), Number).some((value) => value !== 0)) return false;
  }
  return true;
}

/** Training over ranks, undivided and divided. */
async function training(options: CreateOptions, own: Partial<AdamWOptions>): Promise<string[]> {
  const digests: string[] = [];
  for (const over of [null, ranks]) {
    const encoder = TextEncoder.create(
      {
        ...{ model_type: 'bert', vocab_size: 97, hidden_size: 24, max_position_embeddings: 40 },
        ...{ num_hidden_layers: 1, num_attention_heads: 3, intermediate_size: 40 },
      },
      tokenizer,
      { seed: 4, dropout: 0, device, precision: 'bfloat16', ...options },
    );
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), ranks });
    const optimizer = new AdamW(gradcache.parameters(), { lr: 0.01, maxGradNorm: 1, ...own, ranks: over });
    for (let step = 0; step < 4; step++) {
      const of = (tower: number) => tokens([3, 5, 2 + ranks.rank], 1 + tower + 2 * ranks.rank + 10 * step);
      await gradcache.step([of(0), of(1)]);
      await optimizer.step();
    }
    digests.push(await digest(encoder.parameters().map(({ tensor }) => tensor)));
    optimizer.dispose();
    encoder.dispose();
  }
  return digests;
}

/** What the copy of a large parameter and its moments take of this rank's memory. */
async function bytesOfCopies(): Promise<number> {
  const large = (): Tensor => call('aten::full', [26_000_000], 1, { dtype: 'bfloat16', device });
  const tensor = large();
  tensor.requiresGrad = true;
  tensor.grad = large();
  let taken = 0;
  // The first time libraries and buffers of exchanges take memory too.
  for (let time = 0; time < 2; time++) {
    collectGarbage();
    const before = memory().allocated;
    const parameters = [{ name: 'p', tensor, decay: false }];
    using optimizer = new AdamW(parameters, { lr: 0.01, masterWeights: 'host', ranks });
    await optimizer.step();
    collectGarbage();
    taken = memory().allocated - before;
  }
  tensor.grad = null;
  tensor.dispose();
  return taken;
}

/** Ranks whose gradients are of other rows. */
async function otherRows(): Promise<string> {
  const encoder = TextEncoder.create({ model_type: 'static', vocab_size: 97, hidden_size: 6 }, tokenizer, {
    ...{ seed: 4, device, precision: 'float32', embeddingGradients: 'rows' },
  });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  const optimizer = new AdamW(encoder.parameters(), { lr: 0.01, ranks });
  const ids = Int32Array.from({ length: 2 + ranks.rank }, (_, k) => k + 1);
  const batch = { ids, offsets: Int32Array.from({ length: ids.length + 1 }, (_, k) => k), truncated: 0 };
  await gradcache.step([batch, batch]);
  try {
    await optimizer.step();
    return 'none';
  } catch (error) {
    return `${(error as GradCacheError).code}: ${(error as GradCacheError).message}`;
  }
}

const narrow =
  (options: CreateOptions = {}, learned = false) =>
  (): Subject =>
    encoderOf({ precision: 'bfloat16', weights: 'bfloat16', ...options }, { learned });
const rows = { embeddingGradients: 'rows' } as const;

const PARTS: Readonly<Record<string, () => Promise<unknown>>> = {
  bytes: bytesOfCopies,
  host: () => updates(AdamW, narrow(), { masterWeights: 'host' }),
  // A temperature beside the weights is in float64, where the last bit of a norm over ranks would show.
  'host, learned': () => updates(AdamW, narrow({}, true), { masterWeights: 'host', maxGradNorm: Infinity }),
  'host, radam': () => updates(RAdam, narrow(), { masterWeights: 'host' }),
  none: () => updates(AdamW, narrow(), { masterWeights: 'none', seed: 3 }),
  rows: () => updates(AdamW, () => encoderOf({ precision: 'float32', ...rows }), {}),
  'rows, radam': () => updates(RAdam, () => encoderOf({ precision: 'float32', ...rows }), {}),
  'rows alone': () =>
    updates(AdamW, () => encoderOf({ precision: 'float32', ...rows }, { isStatic: true }), {}),
  'none, rows': () => updates(AdamW, narrow(rows), { masterWeights: 'none', seed: 3 }),
  'host, callers': () => updates(AdamW, callers, { masterWeights: 'host' }),
  'none, callers': () => updates(AdamW, callers, { masterWeights: 'none', seed: 5 }),
  training: async () => ({
    host: await training({ weights: 'bfloat16' }, { masterWeights: 'host' }),
    none: await training({ weights: 'bfloat16', ...rows }, { masterWeights: 'none', seed: 3 }),
    rows: await training(rows, {}),
  }),
  otherRows,
};

await runParts(ranks, PARTS);
