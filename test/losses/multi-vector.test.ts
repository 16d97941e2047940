import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  multiVectorDistillKLDiv,
  multiVectorMarginMSE,
  multiVectorMultipleNegativesRanking,
  Tensor,
  type InteractionOptions,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { labelMatrix } from '../../lib/losses/labels.js';
import { TokenLoss } from '../../lib/losses/token-loss.js';
import { assertClose } from '../oracle/compare.js';

/** A tower: tokens [sum of lengths, dimension], and where each text begins. */
interface Tower {
  readonly tokens: Tensor;
  readonly offsets: Int32Array;
}

/** Texts of pseudo-random lengths from `least` to `most`, and tokens. */
function texts(
  seed: number,
  count: number,
  [least, most]: readonly [number, number],
  dimension: number,
): Tower {
  const random = (i: number): number => Math.abs((Math.sin(i * 12.9898 + seed * 78.233) * 43758.5453) % 1);
  const offsets = new Int32Array(count + 1);
  for (let k = 0; k < count; k++)
    offsets[k + 1] = offsets[k]! + least + Math.floor(random(k) * (most - least + 1));
  const size = offsets[count]! * dimension;
  const values = Float64Array.from({ length: size }, (_, i) => random(i + 1000) * 2 - 1);
  return { tokens: Tensor.from(values, { shape: [offsets[count]!, dimension] }), offsets };
}

type Interaction = Required<InteractionOptions>;

/** All scores of queries with documents, interleaved as in sentence-transformers: document i of tower k is column i * C + k. */
function plainScores(
  tokens: readonly Tensor[],
  offsets: readonly Int32Array[],
  { similarity, topK }: Interaction,
): Tensor {
  const [queries, ...documents] = tokens.map((tensor, k) =>
    Array.from({ length: offsets[k]!.length - 1 }, (_, text) =>
      tensor.narrow(0, offsets[k]![text]!, offsets[k]![text + 1]! - offsets[k]![text]!),
    ),
  ) as [Tensor[], ...Tensor[][]];
  const columns = documents[0]!.flatMap((_, text) => documents.map((tower) => tower[text]!));
  const rows = queries.map((query) => {
    const products = columns.map((document) => query.matmul(document.t()));
    const kept = similarity === 'xtr' ? bestOf(products, topK) : null;
    const scores = products.map((product, column) => {
      if (product.shape[1] === 0) return call<Tensor>('aten::full', [], -1e9, { dtype: 'float64' });
      const hidden =
        kept === null ? product : call<Tensor>('aten::masked_fill.Scalar', product, kept[column]!, -1e30);
      const [largest] = call<[Tensor, Tensor]>('aten::max.dim', hidden, 1);
      if (similarity === 'maxsim') return largest.sum();
      if (similarity === 'meanmaxsim') return largest.mean();
      const missed: Tensor = call('aten::lt.Scalar', largest, -1e29);
      const hits = missed.shape[0]! - missed.to({ dtype: 'float64' }).sum().item();
      return call<Tensor>('aten::masked_fill.Scalar', largest, missed, 0).sum().div(Math.max(1, hits));
    });
    return call<Tensor>('aten::stack', scores);
  });
  return call('aten::stack', rows);
}

/** For each document which products are not among the best of a query's token. */
function bestOf(products: readonly Tensor[], topK: number): Tensor[] {
  const all: Tensor = call('aten::cat', products, 1);
  const [, places] = call<[Tensor, Tensor]>('aten::topk', all.detach(), Math.min(topK, all.shape[1]!), 1);
  const hidden: Tensor = call(
    'aten::scatter.value',
    call('aten::ones_like', all.detach(), { dtype: 'bool' }),
    1,
    places,
    0,
  );
  let begin = 0;
  return products.map(({ shape }) => hidden.narrow(1, (begin += shape[1]!) - shape[1]!, shape[1]!));
}

/** The losses by the formulas of sentence-transformers. */
const PLAIN = {
  ranking: (scores: Tensor, { scale = 1, documents }: { scale?: number; documents: number }) => {
    const targets = Array.from({ length: scores.shape[0]! }, (_, query) => query * documents);
    return call<Tensor>(
      'aten::cross_entropy_loss',
      scores.mul(scale),
      Tensor.from(targets, { dtype: 'int64' }),
    );
  },
  kl: (scores: Tensor, { temperature, labels }: { temperature: number; labels: number[][] }) => {
    const student: Tensor = call('aten::log_softmax.int', scores.div(temperature), 1);
    const teacher: Tensor = call('aten::log_softmax.int', matrix(labels).div(temperature), 1);
    const divergence = call<Tensor>('aten::exp', teacher).mul(teacher.sub(student)).sum().div(labels.length);
    return divergence.mul(temperature ** 2);
  },
  margin: (scores: Tensor, { labels }: { labels: number[][] }) => {
    const margins = scores
      .narrow(1, 0, 1)
      .sub(scores.narrow(1, 1, scores.shape[1]! - 1))
      .sub(matrix(labels));
    return margins.mul(margins).mean();
  },
};

const matrix = (rows: number[][]): Tensor =>
  Tensor.from(Float64Array.from(rows.flat()), { shape: [rows.length, rows[0]!.length] });

/** Of each query the scores with its own documents. */
function own(scores: Tensor, documents: number): Tensor {
  const rows = Array.from({ length: scores.shape[0]! }, (_, query) =>
    scores.narrow(0, query, 1).narrow(1, query * documents, documents),
  );
  return call('aten::cat', rows, 0);
}

async function assertLikePlain(
  title: string,
  ours: LossWithGradients,
  towers: readonly Tower[],
  plain: (...tokens: Tensor[]) => Tensor,
  given: LossOptions = {},
): Promise<void> {
  const tokens = towers.map((tower) => tower.tokens);
  const offsets = towers.map((tower) => tower.offsets);
  const expected = await withGradients((...args: Tensor[]) => plain(...args.slice(0, -1))).compute(
    tokens,
    0.5,
    {},
  );
  const found = await ours.compute(tokens, 0.5, { ...given, offsets });
  const close = (actual: number, wanted: number): boolean =>
    Math.abs(actual - wanted) <= 1e-10 * Math.max(1, Math.abs(wanted));
  assert.ok(close(found.loss, expected.loss), `${title}: loss ${found.loss} for ${expected.loss}`);
  for (const [tower, gradient] of expected.gradients.entries()) {
    const wanted = (await gradient!.values()) as Float64Array;
    const values = (await found.gradients[tower]!.values()) as Float64Array;
    assert.ok(values.every(Number.isFinite), `${title}: a gradient of tower ${tower} is not finite`);
    const size = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const wrong = values.findIndex((value, k) => Math.abs(value - wanted[k]!) > 1e-10 * Math.max(1, size));
    assert.equal(wrong, -1, `${title}: element ${wrong} of the gradient of tower ${tower}`);
  }
}

const INTERACTIONS: readonly Interaction[] = [
  { similarity: 'maxsim', topK: 256 },
  { similarity: 'meanmaxsim', topK: 256 },
  { similarity: 'xtr', topK: 5 },
  { similarity: 'xtr', topK: 10_000 },
];

const optionsOf = ({ similarity, topK }: Interaction): InteractionOptions =>
  similarity === 'xtr' ? { similarity, topK } : { similarity };

/** The loss as a GPU computes it, by libtorch's operators. */
const composite = (name: string, interaction: Interaction, settings: object, teacher?: number[][]) =>
  new TokenLoss({
    name,
    interaction: { ...interaction },
    settings: () => ({ composite: true, ...settings }),
    ...(teacher && { teacher: { labels: (_, { queries }) => labelMatrix(name, '', teacher, queries) } }),
  });

test('ranking has the value and gradients of plain operators on all pairs of tokens', async () => {
  const shapes: [
    string,
    number,
    number,
    readonly [number, number],
    readonly [number, number],
    number,
    number,
  ][] = [
    ['one pair', 1, 1, [3, 3], [4, 4], 3, 1],
    ['one token each', 4, 1, [1, 1], [1, 1], 5, 1],
    ['hard negatives', 7, 3, [2, 9], [1, 20], 5, 1],
    ['a scale of 1000', 6, 1, [2, 5], [3, 8], 8, 1000],
    ['a scale of 0.01', 6, 2, [2, 5], [3, 8], 8, 0.01],
  ];
  for (const [title, count, documents, queryLengths, documentLengths, dimension, scale] of shapes)
    for (const interaction of INTERACTIONS) {
      const towers = [
        texts(1, count, queryLengths, dimension),
        ...Array.from({ length: documents }, (_, k) => texts(2 + k, count, documentLengths, dimension)),
      ];
      const name = `${title}, ${interaction.similarity} ${interaction.topK}`;
      const plain = (...tokens: Tensor[]): Tensor =>
        PLAIN.ranking(
          plainScores(
            tokens,
            towers.map(({ offsets }) => offsets),
            interaction,
          ),
          { scale, documents },
        );
      const ours = multiVectorMultipleNegativesRanking({ scale, ...optionsOf(interaction) });
      await assertLikePlain(name, ours, towers, plain);
      const operators = composite('ranking', interaction, { scale });
      await assertLikePlain(`${name}, operators`, operators, towers, plain);
    }
});

test('several tiles of queries, blocks of documents and pieces of a long query change nothing', async () => {
  for (const [title, queries, documents] of [
    ['many texts', texts(1, 40, [10, 40], 6), texts(2, 40, [20, 90], 6)],
    ['long texts', texts(1, 2, [700, 900], 4), texts(2, 2, [800, 1200], 4)],
  ] as const)
    for (const interaction of INTERACTIONS.slice(0, 3)) {
      const plain = (...tokens: Tensor[]): Tensor =>
        PLAIN.ranking(plainScores(tokens, [queries.offsets, documents.offsets], interaction), {
          documents: 1,
        });
      const ours = multiVectorMultipleNegativesRanking(optionsOf(interaction));
      await assertLikePlain(`${title}, ${interaction.similarity}`, ours, [queries, documents], plain);
    }
});

test('distillation and margins have the value and gradients of plain operators on own documents', async () => {
  for (const interaction of INTERACTIONS)
    for (const [count, documents] of [
      [1, 2],
      [11, 3],
    ] as const) {
      const towers = [
        texts(1, count, [2, 8], 5),
        ...Array.from({ length: documents }, (_, k) => texts(5 + k, count, [1, 12], 5)),
      ];
      const offsets = towers.map((tower) => tower.offsets);
      const labels = Array.from({ length: count }, (_, row) =>
        Array.from({ length: documents }, (_, k) => Math.sin(row * 3 + k) * 4),
      );
      const temperature = 0.5;
      const title = `${interaction.similarity} ${interaction.topK}, ${count} queries`;
      const scores = (tokens: Tensor[]): Tensor => own(plainScores(tokens, offsets, interaction), documents);
      const kl = (...tokens: Tensor[]): Tensor => PLAIN.kl(scores(tokens), { temperature, labels });
      const distill = multiVectorDistillKLDiv({ temperature, ...optionsOf(interaction) });
      await assertLikePlain(`${title}, KL`, distill, towers, kl, { labels });
      const operators = composite(
        'distill_kl',
        interaction,
        { temperature, teacherTemperature: temperature },
        labels,
      );
      await assertLikePlain(`${title}, KL by operators`, operators, towers, kl);
      const margins = labels.map(([first, ...others]) => others.map((other) => first! - other));
      // A column at a time, which tells XTR's best tokens.
      const byColumn = (tokens: Tensor[]): Tensor =>
        call(
          'aten::cat',
          towers
            .slice(1)
            .map((_, k) =>
              own(plainScores([tokens[0]!, tokens[k + 1]!], [offsets[0]!, offsets[k + 1]!], interaction), 1),
            ),
          1,
        );
      const margin = (...tokens: Tensor[]): Tensor => PLAIN.margin(byColumn(tokens), { labels: margins });
      const mse = multiVectorMarginMSE(optionsOf(interaction));
      await assertLikePlain(`${title}, margins`, mse, towers, margin, { labels: margins });
      await assertLikePlain(`${title}, scores`, mse, towers, margin, { labels });
    }
});

test('identical tokens and documents: the first of equal tokens has the gradient, and nothing is NaN', async () => {
  // Products of whole numbers are exact, so that equal tokens tie.
  const whole = (tensor: Tensor): Tensor => call('aten::round', tensor.mul(8));
  const { tokens: words, offsets: begins } = texts(1, 3, [2, 4], 4);
  const queries = { tokens: whole(words), offsets: begins };
  const one = whole(texts(2, 1, [3, 3], 4).tokens);
  const tokens: Tensor = call('aten::cat', [one, one, one, one, one, one], 0);
  const documents = { tokens, offsets: Int32Array.of(0, 6, 12, 18) };
  for (const { similarity } of INTERACTIONS.slice(0, 2)) {
    const offsets = [queries.offsets, documents.offsets];
    const loss = multiVectorMultipleNegativesRanking({ similarity });
    const { loss: value, gradients } = await loss.compute([queries.tokens, tokens], 1, { offsets });
    assertClose([value], [Math.log(3)], 1e-12, 'equal documents');
    const values = (await gradients[1]!.values()) as Float64Array;
    for (const [begin, end] of [
      [3, 6],
      [9, 12],
      [15, 18],
    ] as const)
      assert.ok(
        values.subarray(begin * 4, end * 4).every((value) => value === 0),
        'the second copy has none',
      );
  }
});

test('a document without tokens scores as in sentence-transformers, and gets no gradient', async () => {
  const queries = texts(1, 3, [2, 4], 4);
  const { tokens } = texts(2, 1, [5, 5], 4);
  const documents = { tokens, offsets: Int32Array.of(0, 3, 3, 5) };
  for (const interaction of INTERACTIONS.slice(0, 3)) {
    const plain = (...given: Tensor[]): Tensor =>
      PLAIN.ranking(plainScores(given, [queries.offsets, documents.offsets], interaction), { documents: 1 });
    const ours = multiVectorMultipleNegativesRanking(optionsOf(interaction));
    await assertLikePlain(interaction.similarity, ours, [queries, documents], plain);
    await assertLikePlain(
      'operators',
      composite('ranking', interaction, { scale: 1 }),
      [queries, documents],
      plain,
    );
  }
});

test('rows with one representation are texts of one token, and targets name other documents', async () => {
  const [queries, documents] = [texts(1, 4, [1, 1], 6), texts(2, 9, [1, 1], 6)];
  const targets = [8, 0, 3, 3];
  const { loss } = await multiVectorMultipleNegativesRanking({ scale: 3 }).compute(
    [queries.tokens, documents.tokens],
    1,
    { targets },
  );
  const scores = queries.tokens.matmul(documents.tokens.t()).mul(3);
  const expected: Tensor = call('aten::cross_entropy_loss', scores, Tensor.from(targets, { dtype: 'int64' }));
  assertClose([loss], [expected.item()], 1e-12, 'loss');
});

test('float32 tokens give what float64 gives, within rounding', async () => {
  const towers = [texts(1, 12, [5, 12], 16), texts(2, 12, [10, 40], 16)];
  const offsets = towers.map((tower) => tower.offsets);
  for (const interaction of INTERACTIONS.slice(0, 3)) {
    const loss = multiVectorMultipleNegativesRanking(optionsOf(interaction));
    const run = (dtype: 'float32' | 'float64') =>
      loss.compute(
        towers.map(({ tokens }) => tokens.to({ dtype })),
        1,
        { offsets },
      );
    const [narrow, wide] = [await run('float32'), await run('float64')];
    assertClose([narrow.loss], [wide.loss], 1e-5, 'loss');
    for (const [tower, gradient] of narrow.gradients.entries())
      assertClose(
        (await gradient!.values()) as Float32Array,
        (await wide.gradients[tower]!.values()) as Float64Array,
        1e-4,
        `tower ${tower}`,
      );
  }
});

test('what does not fit is refused, and numbers that are none', async () => {
  for (const make of [multiVectorMultipleNegativesRanking, multiVectorDistillKLDiv, multiVectorMarginMSE])
    for (const [options, message] of [
      [{ similarity: 'cosine' }, /maxsim/],
      [{ topK: 3 }, /xtr/],
      [{ similarity: 'xtr', topK: 0 }, /topK is 0/],
      [{ unknown: 1 }, /unknown/],
    ] as const)
      assert.throws(() => make(options as never), { code: 'INPUT', message });
  assert.throws(() => multiVectorMultipleNegativesRanking({ scale: 0 }), {
    code: 'INPUT',
    message: /scale is 0/,
  });
  assert.throws(() => multiVectorDistillKLDiv({ teacherTemperature: -1 }), {
    code: 'INPUT',
    message: /teacherTemperature is -1/,
  });

  const [queries, documents] = [texts(1, 3, [2, 3], 4), texts(2, 3, [2, 3], 4)];
  const pair = [queries.tokens, documents.tokens];
  const offsets = [queries.offsets, documents.offsets];
  const three = { towers: [...pair, documents.tokens], offsets: [...offsets, documents.offsets] };
  const ranking = multiVectorMultipleNegativesRanking();
  const refusals: [LossWithGradients, Tensor[], LossOptions, object][] = [
    [ranking, [queries.tokens], { offsets: [queries.offsets] }, { code: 'SHAPE', message: /two towers/ }],
    [ranking, pair, { offsets: [queries.offsets] }, { code: 'INPUT', message: /offsets/ }],
    [
      ranking,
      pair,
      { offsets: [queries.offsets, Int32Array.of(0, 1, 2, 3)] },
      { code: 'SHAPE', message: /tower 1/ },
    ],
    [ranking, pair, { offsets, targets: [0, 1, 3] }, { code: 'SHAPE', message: /target 3/ }],
    [ranking, pair, { offsets, targets: [0] }, { code: 'SHAPE' }],
    [ranking, pair, { offsets, labels: [1] }, { code: 'INPUT', message: /labels/ }],
    [
      ranking,
      [queries.tokens, texts(2, 2, [2, 2], 4).tokens],
      { offsets: [queries.offsets, Int32Array.of(0, 2, 4)] },
      { code: 'SHAPE', message: /explicit targets/ },
    ],
    [ranking, [queries.tokens, documents.tokens.to({ dtype: 'float32' })], { offsets }, { code: 'DTYPE' }],
    [ranking, [queries.tokens.mul(NaN), documents.tokens], { offsets }, { code: 'NON_FINITE' }],
    [
      multiVectorDistillKLDiv(),
      pair,
      { offsets, labels: [[1], [1], [1]] },
      { code: 'SHAPE', message: /two documents/ },
    ],
    [
      multiVectorDistillKLDiv(),
      three.towers,
      { offsets: three.offsets },
      { code: 'INPUT', message: /needs labels/ },
    ],
    [
      multiVectorDistillKLDiv(),
      three.towers,
      { offsets: three.offsets, labels: [[1, 2], [1, 2], [1]] },
      { code: 'SHAPE', message: /labels\[2\]/ },
    ],
    [
      multiVectorMarginMSE(),
      three.towers,
      { offsets: three.offsets, labels: [1, NaN, 1] },
      { code: 'INPUT', message: /labels\[1\]/ },
    ],
    [multiVectorMarginMSE(), three.towers, { offsets: three.offsets, labels: [1] }, { code: 'SHAPE' }],
    [
      // The sum in float64 is finite, and gradients in float32 are not.
      multiVectorMarginMSE(),
      three.towers.map((tower, k) => tower.mul((k + 1) * 1e18).to({ dtype: 'float32' })),
      { offsets: three.offsets, labels: [[1], [2], [3]] },
      { code: 'NON_FINITE' },
    ],
  ];
  for (const [loss, towers, options, error] of refusals)
    await assert.rejects(loss.compute(towers, 1, options), error, JSON.stringify(error));
});
