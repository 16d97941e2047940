/**
 * Steps over ranks against the same steps of one process on the rows of all: `node gradients-program.js PRECISION,… [NAME…] ['MUTANT: NAME'…]`,
 * started by gradients.test.ts as several ranks. Rank 0 computes both and prints how far they are apart: of these cases, by
 * default of all, and of cases with a part of the step left out.
 */
import { createHash } from 'node:crypto';
import { argv } from 'node:process';
import {
  AdamW,
  adaptiveLayer,
  binaryCrossEntropy,
  call,
  clipGradNorm,
  coSENT,
  CrossEncoder,
  crossBatchMemory,
  distanceHead,
  cosineSimilarity,
  distillKLDiv,
  gistEmbed,
  GradCache,
  infoNCE,
  matryoshka,
  batchAllTriplet,
  batchHardTriplet,
  batchSemiHardTriplet,
  megaBatchMargin,
  ModuleEncoder,
  mse,
  multiSimilarity,
  multiVectorDistillKLDiv,
  multiVectorMarginMSE,
  multiVectorMultipleNegativesRanking,
  ntXent,
  Ranks,
  sigLIP,
  softmaxClassification,
  splade,
  supCon,
  Tensor,
  TextEncoder,
  triplet,
  type Loss,
  type CreateOptions,
  type InteractionOptions,
  type LossOptions,
  type LossWithGradients,
  type Parameter,
  type TokenBatch,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import type { AnyEncoder } from '../../lib/step/encoder.js';
import { SharedGradients } from '../../lib/distributed/shared-gradients.js';
import { SharedRows } from '../../lib/step/shared-rows.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { textEncoder, tokens, type Precision } from '../exactness/support.js';

let precision: Precision = 'float64';
const device = process.env.DEVICE ?? 'cpu';
const ROWS = 23;

/** What both train, made twice alike. */
interface Trained {
  readonly encoders: readonly AnyEncoder[];
  readonly loss: Loss;
}

interface Case {
  readonly make: () => Promise<Trained> | Trained;
  /** Rows of each tower of all ranks; default: two of 23. */
  readonly rows?: readonly number[];
  /** Keyword arguments of the rows from `begin` to `end` of each tower. */
  readonly options?: (begin: readonly number[], end: readonly number[]) => LossOptions;
  /** The batch of a tower, where it is no list of token ids. */
  readonly batch?: (tower: number, step: number, begin: number, end: number) => unknown;
}

const range = (begin: number, end: number): number[] =>
  Array.from({ length: end - begin }, (_, k) => begin + k);
const tied = async (): Promise<TextEncoder[]> => {
  const encoder = await textEncoder(precision);
  return [encoder, encoder];
};
const towers = async (): Promise<TextEncoder[]> => [
  await textEncoder(precision, { seed: 1 }),
  await textEncoder(precision, { seed: 2 }),
];
const withTied = (loss: () => Loss, options?: Case['options']): Case => ({
  make: async () => ({ encoders: await tied(), loss: loss() }),
  ...(options && { options }),
});
const withOne = (loss: () => Loss, options: Case['options']): Case => ({
  make: async () => ({ encoders: [await textEncoder(precision)], loss: loss() }),
  rows: [ROWS],
  ...(options && { options }),
});
const withThree = (loss: () => Loss, options?: Case['options'], rows = [ROWS, ROWS, ROWS]): Case => ({
  make: async () => {
    const [first, second] = await towers();
    return { encoders: [first!, second!, second!], loss: loss() };
  },
  rows,
  ...(options && { options }),
});
const labels = ([begin = 0]: readonly number[], [end = 0]: readonly number[]): LossOptions => ({
  labels: range(begin, end).map((row) => row % 5),
});
/** Own candidates: that of the next row. */
const nextTargets = ([begin = 0]: readonly number[], [end = 0]: readonly number[]): LossOptions => ({
  targets: range(0, end - begin).map((row) => (row + 1) % (end - begin)),
});
const scores = ([begin = 0]: readonly number[], [end = 0]: readonly number[]): LossOptions => ({
  labels: range(begin, end).map((row) => ((row * 7) % 11) / 10),
});

const config = {
  model_type: 'bert',
  vocab_size: 97,
  hidden_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 3,
  intermediate_size: 7,
  max_position_embeddings: 40,
};
const ofConfig = async (
  options: Pick<CreateOptions, 'pooling' | 'layers' | 'embeddingGradients'>,
): Promise<TextEncoder> =>
  TextEncoder.create(config, await smallTokenizer(97), {
    ...options,
    ...{ precision, device, dropout: 0, seed: 3 },
  });

/** An encoder of a user, with a parameter that the rows of some ranks alone depend on, and one that none does. */
class Own {
  readonly weight = this.#parameter(1, [6, 4]);
  readonly some = this.#parameter(2, [4]);
  readonly none = this.#parameter(3, [4]);

  #parameter(seed: number, shape: readonly number[]): Tensor {
    const size = shape.reduce((product, extent) => product * extent, 1);
    const values = Array.from({ length: size }, (_, k) => Math.sin(seed * 10 + k));
    const tensor = Tensor.from(values, { shape, dtype: precision as 'float32', device });
    tensor.requiresGrad = true;
    return tensor;
  }

  forward(input: Tensor): Tensor {
    const hidden = input.matmul(this.weight);
    return Number(input.narrow(0, 0, 1).narrow(1, 0, 1).sum().item()) > 0.9 ? hidden.add(this.some) : hidden;
  }

  parameters(): Parameter[] {
    return Object.entries({ weight: this.weight, some: this.some, none: this.none }).map(
      ([name, tensor]) => ({
        name,
        tensor,
        decay: false,
      }),
    );
  }
}

function parameter(name: string, values: readonly number[], shape: readonly number[]): Parameter {
  const tensor = Tensor.from(values, { shape, dtype: precision as 'float32', device });
  tensor.requiresGrad = true;
  return { name, tensor, decay: false };
}

/** The cross-entropy of scores that a function computes, and that are multiplied by a parameter. */
function scaledEntropy(scoresOf: (towers: readonly Tensor[]) => Tensor): LossWithGradients {
  const scale = parameter('scale', [2], [1]);
  const own = withGradients((...given: (Tensor & LossOptions)[]) =>
    call<Tensor>(
      'aten::cross_entropy_loss',
      scoresOf(given.slice(0, -1)).mul(scale.tensor),
      Tensor.from(given.at(-1)!.targets as number[], { dtype: 'int64', device }),
    ),
  );
  return {
    compute: (...given) => own.compute(...given),
    parameters: () => [scale],
    joinOptions: (parts, rows) => infoNCE().joinOptions!(parts, rows),
  };
}

/** A head whose blocks fall to several ranks, and a loss of its distances with a parameter. */
function headInBlocks(): Loss {
  const weight = parameter(
    'weight',
    range(0, 24 * 24).map((k) => Math.sin(k)),
    [24, 24],
  );
  return distanceHead(
    {
      forward: (a, b) => a.matmul(weight.tensor).dropout(0.2).matmul(b.t()),
      parameters: () => [weight],
    },
    { block: 5, loss: scaledEntropy(([distances]) => distances!) },
  );
}

/** Distillation of late interaction. */
function withTeacher(options: InteractionOptions): Case {
  return {
    make: async () => {
      const encoder = await ofConfig({ pooling: 'none' });
      return { encoders: [encoder, encoder, encoder], loss: multiVectorDistillKLDiv(options) };
    },
    rows: [ROWS, ROWS, ROWS],
    options: ([begin = 0], [end = 0]) => ({
      labels: range(begin, end).map((row) => [row % 3, 1 + (row % 2)]),
    }),
  };
}

/** Further documents, of which the first rank has none. @param hasTargets whether one is a second target of its anchor */
const ofSomeRanks = (loss: () => Loss, hasTargets: boolean): Case =>
  withThree(
    loss,
    ([begin = 0, , hard = 0], [end = 0, positives = 0, hardEnd = 0]) => ({
      ...(hasTargets && {
        targets: range(0, end - begin).map((row) =>
          hardEnd > hard && row === 2 ? [row, positives - begin] : [row],
        ),
      }),
      owners: range(hard, hardEnd).map(() => 2),
      ids: range(begin, end).map((row) => [`text ${row % 20}`]),
    }),
    [ROWS, ROWS, 1],
  );

const CASES: Readonly<Record<string, Case>> = {
  'tied towers': withTied(() => infoNCE()),
  'two towers, symmetric': {
    make: async () => ({ encoders: await towers(), loss: infoNCE({ symmetric: true }) }),
  },
  'hard negatives, a learned temperature': withThree(
    () => infoNCE({ temperature: { initial: 0.1, learned: true }, symmetric: true }),
    undefined,
    [ROWS, ROWS, ROWS + 8],
  ),
  'a dot product, targets and weights': withThree(
    () => infoNCE({ similarity: 'dot', temperature: 30 }),
    ([begin = 0, , hard = 0], [end = 0, , hardEnd = 0]) => ({
      // Own candidates: positives, then hard negatives.
      targets: range(0, end - begin).map((row) =>
        row === 1 ? [0, end - begin] : (row * 3) % (end - begin + hardEnd - hard),
      ),
      weights: Float64Array.from(range(begin, end), (row) => 1 + (row % 3)),
    }),
  ),
  'all directions, owners, ids and a margin': withThree(
    () =>
      infoNCE({
        directions: ['query_to_doc', 'doc_to_query', 'query_to_query', 'doc_to_doc'],
        hardnessMode: 'hard_negatives',
        hardnessStrength: 0.5,
        margin: 0.1,
        temperature: { initial: 0.2, learned: true },
      }),
    ([begin = 0], [end = 0]) => ({
      owners: range(0, end - begin).map((row) => (row === 0 ? -1 : (row * 5) % (end - begin))),
      ids: range(begin, end).map((row) => `text ${row % 20}`),
    }),
  ),
  'hard negatives that the first rank has none of': ofSomeRanks(
    () => infoNCE({ hardnessMode: 'hard_negatives', hardnessStrength: 0.5 }),
    true,
  ),
  'hard negatives that the first rank has none of, all directions, a dot product': ofSomeRanks(
    () =>
      infoNCE({
        similarity: 'dot',
        temperature: { initial: 1, learned: true },
        directions: ['query_to_doc', 'doc_to_query', 'query_to_query', 'doc_to_doc'],
      }),
    false,
  ),
  'hard negatives that the first rank has none of, at several lengths': ofSomeRanks(
    () => matryoshka(infoNCE({ symmetric: true }), { dimensions: [24, 12] }),
    false,
  ),
  'negatives of the batch, hardened': withTied(() =>
    infoNCE({
      hardnessMode: 'in_batch_negatives',
      hardnessStrength: 2,
      directions: ['query_to_doc', 'query_to_query'],
    }),
  ),
  'label smoothing': withTied(() => infoNCE({ symmetric: true, labelSmoothing: 0.1 })),
  'large scores': withTied(() => infoNCE({ symmetric: true, similarity: 'dot', temperature: 0.01 })),
  sigLIP: withTied(() => sigLIP({ learned: true })),
  ntXent: withTied(() => ntXent({ temperature: { initial: 0.3, learned: true } })),
  'ntXent of classes': withTied(() => ntXent(), labels),
  supCon: withTied(() => supCon(), labels),
  multiSimilarity: withTied(() => multiSimilarity(), labels),
  megaBatchMargin: withTied(() => megaBatchMargin()),
  batchAllTriplet: withOne(() => batchAllTriplet({ margin: 0.2 }), labels),
  batchHardTriplet: withOne(() => batchHardTriplet({ margin: 0.2, distance: 'cosine' }), labels),
  batchSemiHardTriplet: withOne(() => batchSemiHardTriplet({ margin: 0.2 }), labels),
  gistEmbed: withThree(() => gistEmbed({ guide: 'self', temperature: { initial: 0.2, learned: true } })),
  matryoshka: withTied(() =>
    matryoshka(infoNCE({ symmetric: true, temperature: { initial: 0.2, learned: true } }), {
      dimensions: [24, 12, 6],
      weights: [1, 0.5, 0.3],
    }),
  ),
  crossBatchMemory: withTied(() => crossBatchMemory(infoNCE(), { capacity: 40 })),
  'a memory, targets and ids': withTied(
    () => crossBatchMemory(infoNCE(), { capacity: 40 }),
    (begin, end) => ({
      ...nextTargets(begin, end),
      ids: range(begin[0]!, end[0]!).map((row) => `text ${row % 20}`),
    }),
  ),
  'a head, targets': withTied(
    () => distanceHead({ forward: (a, b) => a.matmul(b.t()), parameters: () => [] }),
    nextTargets,
  ),
  'a head with weights and dropout, in blocks': withTied(headInBlocks, nextTargets),
  'a loss of your own, with a parameter': withTied(
    () => scaledEntropy(([a, b]) => a!.matmul(b!.t())),
    nextTargets,
  ),
  'a function': withTied(
    () =>
      (a: Tensor, b: Tensor, options: LossOptions): Tensor =>
        call<Tensor>(
          'aten::cross_entropy_loss',
          a.matmul(b.t()),
          Tensor.from(options.places as number[], { dtype: 'int64', device }),
        ),
    ([begin = 0], [end = 0]) => ({ places: range(begin, end) }),
  ),
  coSENT: withTied(() => coSENT(), scores),
  triplet: withThree(() => triplet()),
  cosineSimilarity: withTied(() => cosineSimilarity(), scores),
  distillKLDiv: withThree(
    () => distillKLDiv(),
    ([begin = 0], [end = 0]) => ({ labels: range(begin, end).map((row) => [row % 3, 1 + (row % 2)]) }),
  ),
  'mse with a projection': withTied(
    () => mse({ projection: { from: 24, to: 5, seed: 1, dtype: precision, device } }),
    ([begin = 0], [end = 0]) => ({
      labels: range(begin, end).map((row) => range(0, 5).map((k) => Math.sin(row * 5 + k))),
    }),
  ),
  softmaxClassification: withTied(
    () => softmaxClassification({ dimension: 24, classes: 5, seed: 1, dtype: precision, device }),
    labels,
  ),
  'modules, one with a gradient on some ranks': {
    make: () => {
      const own = [new ModuleEncoder(new Own()), new ModuleEncoder(new Own())];
      return { encoders: own, loss: infoNCE({ temperature: 0.5 }) };
    },
    batch: (tower, step, begin, end) =>
      Tensor.from(
        range(begin, end).flatMap((row) =>
          range(0, 6).map((k) => Math.sin(row * 5 + k * (tower + 1) + step)),
        ),
        { shape: [end - begin, 6], dtype: precision as 'float32', device },
      ),
  },
  'a representation for each token': {
    make: async () => {
      const encoder = await ofConfig({ pooling: 'none' });
      return { encoders: [encoder, encoder], loss: multiVectorMultipleNegativesRanking() };
    },
    options: nextTargets,
  },
  'a representation for each token, of which the best of all documents count': {
    make: async () => {
      const encoder = await ofConfig({ pooling: 'none' });
      const loss = multiVectorMultipleNegativesRanking({ similarity: 'xtr', topK: 40, scale: 1.5 });
      return { encoders: [encoder, encoder, encoder], loss };
    },
    rows: [ROWS, ROWS, ROWS + 8],
  },
  'a representation for each token, and a teacher': withTeacher({ similarity: 'meanmaxsim' }),
  'a representation for each token, a teacher, and the best tokens of all documents': withTeacher({
    similarity: 'xtr',
    topK: 40,
  }),
  'margins of a teacher, token by token': {
    ...withTeacher({}),
    make: async () => {
      const encoder = await ofConfig({ pooling: 'none' });
      return { encoders: [encoder, encoder, encoder], loss: multiVectorMarginMSE() };
    },
    options: ([begin = 0], [end = 0]) => ({ labels: range(begin, end).map((row) => row % 3) }),
  },
  'several layers': {
    make: async () => {
      const encoder = await ofConfig({ layers: 'all' });
      const { layers } = encoder;
      return { encoders: [encoder, encoder], loss: adaptiveLayer(infoNCE(), { layers }) };
    },
  },
  'several layers, a loss that each rank computes whole': {
    make: async () => {
      const encoder = await ofConfig({ layers: 'all' });
      const { layers } = encoder;
      return { encoders: [encoder, encoder], loss: adaptiveLayer(coSENT(), { layers }) };
    },
    options: scores,
  },
  'sparse representations': {
    make: async () => {
      const encoder = await ofConfig({ pooling: 'splade' });
      return {
        encoders: [encoder, encoder],
        loss: splade(infoNCE({ similarity: 'dot', temperature: 1 }), {
          documentRegularizerWeight: 0.1,
          queryRegularizerWeight: 0.2,
        }),
      };
    },
  },
  'sparse representations, all documents and a threshold': {
    make: async () => {
      const encoder = await ofConfig({ pooling: 'splade' });
      return {
        encoders: [encoder, encoder, encoder],
        loss: splade(infoNCE({ similarity: 'dot', temperature: 1, symmetric: true }), {
          documentRegularizerWeight: 0.1,
          documentRegularizerThreshold: 40,
          useDocumentRegularizerOnly: true,
        }),
      };
    },
    rows: [ROWS, ROWS, ROWS + 8],
  },
  'sparse representations, a loss of rows': {
    make: async () => {
      const encoder = await ofConfig({ pooling: 'splade' });
      return {
        encoders: [encoder, encoder, encoder],
        loss: splade(distillKLDiv(), {
          documentRegularizerWeight: 0.1,
          documentRegularizerThreshold: 40,
          queryRegularizerWeight: 0.2,
        }),
      };
    },
    rows: [ROWS, ROWS, ROWS],
    options: ([begin = 0], [end = 0]) => ({
      labels: range(begin, end).map((row) => [row % 3, 1 + (row % 2)]),
    }),
  },
  'gradients of rows of a table': {
    make: async () => {
      const encoder = await ofConfig({ embeddingGradients: 'rows' });
      return { encoders: [encoder, encoder], loss: infoNCE() };
    },
    rows: [5, 5],
  },
  'a cross-encoder': {
    make: async () => ({
      encoders: [
        CrossEncoder.create(config, await smallTokenizer(97), { precision, device, dropout: 0, seed: 4 }),
      ],
      loss: binaryCrossEntropy(),
    }),
    rows: [ROWS],
    options: ([begin = 0], [end = 0]) => ({ labels: range(begin, end).map((row) => row % 2) }),
  },
};

/** Texts of 1 to 30 tokens, always the same for a row. */
function texts(tower: number, step: number, begin: number, end: number): TokenBatch {
  const all = tokens(
    range(0, 64).map((row) => 1 + ((row * 13 + tower * 5 + step * 3) % 30)),
    1 + tower + 10 * step,
  );
  const from = all.offsets[begin]!;
  return {
    ids: all.ids.slice(from, all.offsets[end]),
    offsets: all.offsets.slice(begin, end + 1).map((offset) => offset - from),
    truncated: 0,
  };
}

/** Uneven parts of so many rows. */
function cuts(rows: number, size: number): number[] {
  const shares = [0.35, 0.6, 1].slice(0, size);
  return [0, ...range(0, size - 1).map((rank) => Math.floor(rows * shares[rank]!)), rows];
}

interface Values {
  readonly losses: readonly number[];
  readonly values: readonly (readonly number[])[];
  readonly digest: string;
}

async function train(of: Case, ranks: Ranks | null, exchange: 'gather' | 'ring' = 'gather'): Promise<Values> {
  const { encoders, loss } = await of.make();
  const { rows = [ROWS, ROWS], options, batch = texts } = of;
  const chunk = { sequences: 5 };
  const gradcache = new GradCache({ encoders, loss, ranks, accumulate: 2, chunk, exchange });
  const begin = rows.map((count) => (ranks === null ? 0 : cuts(count, ranks.size)[ranks.rank]!));
  const end = rows.map((count) => (ranks === null ? count : cuts(count, ranks.size)[ranks.rank + 1]!));
  const losses: number[] = [];
  for (let step = 0; step < 2; step++) {
    const inputs = rows.map((_, tower) =>
      begin[tower] === end[tower] ? null : batch(tower, step, begin[tower]!, end[tower]!),
    );
    const given = ranks === null ? wholeOptions(of) : options?.(begin, end);
    const result = await gradcache.step(inputs, given === undefined ? {} : { loss: given });
    losses.push(result.loss);
    if (result.sequences !== rows.reduce((sum, count) => sum + count, 0))
      throw new Error('not the rows of all');
  }
  const parameters = gradcache.parameters();
  const values = [];
  for (const { tensor } of parameters) {
    const { grad } = tensor;
    values.push(
      grad === null
        ? []
        : Array.from((await call('aten::to_dense', grad).to({ dtype: 'float64' }).values()) as Float64Array),
    );
  }
  await clipGradNorm(parameters, 1);
  await new AdamW(parameters, { lr: 0.01 }).step();
  const hash = createHash('sha256');
  for (const { tensor } of parameters) {
    const weights = (await tensor.to({ dtype: 'float64' }).values()) as Float64Array;
    hash.update(new Uint8Array(weights.buffer, weights.byteOffset, weights.byteLength));
  }
  return { losses, values, digest: hash.digest('hex') };
}

/** Keyword arguments of all rows that say what those of the ranks' own rows say together. */
function wholeOptions({ rows = [ROWS, ROWS], options }: Case): LossOptions | undefined {
  if (options === undefined) return undefined;
  const size = Number(process.env.WORLD_SIZE);
  const parts = range(0, size).map((rank) => {
    const begin = rows.map((count) => cuts(count, size)[rank]!);
    const end = rows.map((count) => cuts(count, size)[rank + 1]!);
    return { begin, end, given: options(begin, end) };
  });
  const place = (target: number | number[], { begin, end }: (typeof parts)[number]): unknown => {
    if (Array.isArray(target)) return target.map((each) => place(each, { begin, end, given: {} }));
    const positives = end[1]! - begin[1]!;
    return target < positives ? begin[1]! + target : rows[1]! + begin[2]! + target - positives;
  };
  return Object.fromEntries(
    Object.keys(parts[0]!.given).map((name) => [
      name,
      parts.flatMap((part) => {
        const list = Array.from(part.given[name] as ArrayLike<never>);
        if (name === 'targets') return list.map((target) => place(target, part));
        if (name === 'owners')
          return list.map((owner: number) => (owner < 0 ? owner : owner + part.begin[0]!));
        return list;
      }),
    ]),
  );
}

/** Leaves out a part of the step while a case runs, so that the test sees that it would find that. */
const MUTANTS: Readonly<Record<string, (run: () => Promise<void>) => Promise<void>>> = {
  'gradients of earlier steps are counted on every rank': (run) =>
    without(SharedGradients.prototype, 'countOnce', () => undefined, run),
  'gradients of parameters are not added up': (run) =>
    without(SharedGradients.prototype, 'reduce', async () => undefined, run),
  'gradients of representations are not added up': (run) =>
    without(SharedRows.prototype, 'scatter', async () => undefined, run),
  'the loss that all compute whole is counted by all': (run) =>
    without(SharedGradients.prototype, 'zero', () => undefined, run),
};

async function without<Of extends object>(
  prototype: Of,
  method: keyof Of,
  other: () => unknown,
  run: () => Promise<void>,
): Promise<void> {
  const own = Object.getOwnPropertyDescriptor(prototype, method)!;
  Object.defineProperty(prototype, method, { ...own, value: other });
  await run().finally(() => Object.defineProperty(prototype, method, own));
}

const ranks = (await Ranks.join({ timeout: 60, device }))!;

/** What rank 0 finds of a case, of which it computes both; others tell the digest of their weights. */
async function compared(name: string): Promise<Record<string, unknown>> {
  const of = CASES[name]!;
  const alone = ranks.rank === 0 ? await train(of, null) : null;
  const found = { [name]: apart(alone, await train(of, ranks)) };
  const { loss } = await of.make();
  if (withGradients(loss).takesRing !== true) return found;
  const inRing = await train(of, ranks, 'ring');
  return { ...found, [`${name}, in a ring`]: apart(alone, inRing) };
}

function apart(alone: Values | null, shared: Values): unknown {
  if (alone === null) return { digest: shared.digest };
  const norms = alone.values.map((values) => Math.hypot(...values));
  const greatest = Math.max(...norms);
  const errors = alone.values.map((values, place) => {
    const others = shared.values[place]!;
    if (others.length !== values.length) return Infinity;
    const apart = Math.hypot(...values.map((value, k) => value - others[k]!));
    // One that is 0 in exact arithmetic, as that of a key's bias, holds rounding alone.
    const rounding = greatest * (precision === 'float64' ? 1e-10 : 1e-5);
    return norms[place]! < rounding && apart < rounding ? 0 : apart / norms[place]!;
  });
  const losses = alone.losses.map((loss, step) => Math.abs(loss - shared.losses[step]!) / Math.abs(loss));
  return {
    gradient: Math.max(...errors),
    loss: Math.max(...losses),
    digest: shared.digest,
    norm: greatest,
  };
}

const [, , ...asked] = argv;
const results: Record<string, unknown> = {};
try {
  const [precisions, ...others] = asked as [string, ...string[]];
  const mutants = others.flatMap((each) =>
    each.includes(': ') ? [each.split(': ') as [string, string]] : [],
  );
  const named = others.filter((each) => !each.includes(': '));
  const names = named.length > 0 ? named : Object.keys(CASES);
  for (precision of precisions.split(',') as Precision[]) {
    for (const name of names) {
      const found = await compared(name).catch((error: unknown) => {
        throw new Error(`${precision}, ${name}`, { cause: error });
      });
      for (const [of, each] of Object.entries(found)) results[`${precision}, ${of}`] = each;
    }
    for (const [mutant, of] of mutants)
      await MUTANTS[mutant]!(async () => {
        results[mutant] = (await compared(of))[of];
      });
  }
  console.log(JSON.stringify(results));
} catch (error) {
  ranks.fail(error);
  throw error;
} finally {
  await ranks.close();
}
