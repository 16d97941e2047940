import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  distillKLDiv,
  flops,
  infoNCE,
  marginMSE,
  regularizerWarmUp,
  sigLIP,
  splade,
  Tensor,
  type Loss,
  type LossOptions,
  type LossWithGradients,
  type SpladeOptions,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { assertClose } from '../oracle/compare.js';

/** Rows of which few columns are not 0. */
interface Rows {
  readonly values: Float64Array;
  readonly rows: number;
  readonly width: number;
}

/** About `active` columns of each row are not 0; the first row has none where `zeros` is true. */
function sparseRows(rows: number, width: number, seed: number, { active = 4, zeros = false } = {}): Rows {
  const values = Float64Array.from({ length: rows * width }, (_, i) => {
    const drawn = Math.abs(Math.sin(i * 12.9898 + seed * 78.233) * 43_758.5453) % 1;
    return drawn < active / width ? 0.2 + Math.abs(Math.cos(i * 1.3 + seed)) : 0;
  });
  // Towers are as wide as their last column that is not 0.
  values[rows * width - 1] = 0.7;
  if (zeros) values.fill(0, 0, width);
  return { values, rows, width };
}

const dense = ({ values, rows, width }: Rows): Tensor => Tensor.from(values, { shape: [rows, width] });

/** The same as an encoder with SPLADE's pooling gives them. */
function entries({ values, rows, width }: Rows): { tensor: Tensor; offsets: Int32Array; places: number[] } {
  const list: number[] = [];
  const places: number[] = [];
  const offsets = new Int32Array(rows + 1);
  for (let row = 0; row < rows; row++) {
    const active = Array.from({ length: width }, (_, c) => c).filter((c) => values[row * width + c] !== 0);
    for (const column of active.length === 0 ? [0] : active) {
      list.push(values[row * width + column]!, column);
      places.push(row * width + column);
    }
    offsets[row + 1] = places.length;
  }
  return { tensor: Tensor.from(Float64Array.from(list), { shape: [places.length, 2] }), offsets, places };
}

interface Result {
  readonly loss: number;
  readonly gradients: Float64Array[];
}

async function results(loss: Loss, tensors: readonly Tensor[], options: LossOptions = {}): Promise<Result> {
  const result = await withGradients(loss).compute(tensors, 1, options);
  const gradients = result.gradients.map(async (gradient) => (await gradient!.values()) as Float64Array);
  return { loss: result.loss, gradients: await Promise.all(gradients) };
}

/** Gradients of sparse towers, at the places of what is not 0. */
async function ofEntries(loss: Loss, towers: readonly Rows[], options: LossOptions = {}): Promise<Result> {
  const given = towers.map(entries);
  const tensors = given.map(({ tensor }) => tensor);
  const { loss: value, gradients } = await results(loss, tensors, {
    ...options,
    offsets: given.map(({ offsets }) => offsets),
  });
  return {
    loss: value,
    gradients: gradients.map((gradient) => {
      assert.ok(
        gradient.every((number, place) => place % 2 === 0 || number === 0),
        'of columns: none',
      );
      return gradient.filter((_, place) => place % 2 === 0);
    }),
  };
}

/** The same loss with gradients of dense rows, at the same places. */
async function ofDense(loss: Loss, towers: readonly Rows[], options: LossOptions = {}): Promise<Result> {
  const { loss: value, gradients } = await results(loss, towers.map(dense), options);
  const places = towers.map((tower) => entries(tower).places);
  return {
    loss: value,
    gradients: gradients.map((gradient, k) => Float64Array.from(places[k]!, (place) => gradient[place]!)),
  };
}

function assertSame(actual: Result, expected: Result, title: string): void {
  assertClose([actual.loss], [expected.loss], 1e-10, title);
  for (const [tower, gradient] of actual.gradients.entries())
    assertClose(gradient, expected.gradients[tower]!, 1e-10, `${title}, tower ${tower}`);
}

/** FLOPS in plain operators. */
function plainFlops(rows: Tensor, threshold: number | null | undefined): Tensor {
  const active: Tensor = call<Tensor>('aten::ne.Scalar', rows, 0).sum(1);
  const counted: Tensor = call<Tensor>('aten::gt.Scalar', active, threshold ?? -1).to({ dtype: rows.dtype });
  const means = rows.mul(counted.reshape([-1, 1])).mean(0);
  return means.mul(means).sum();
}

/** InfoNCE and regularisers in plain operators over dense rows. */
function plain(options: SpladeOptions, temperature: number, cosine = false): Loss {
  return (...given: (Tensor & LossOptions)[]) => {
    const towers: Tensor[] = given.slice(0, -1);
    const compared = cosine ? towers.map((tower) => tower.normalize()) : towers;
    const scores = compared[0]!.matmul(call<Tensor>('aten::cat', compared.slice(1), 0).t()).div(temperature);
    const ranking = scores.logSoftmax(1);
    let loss: Tensor = call<Tensor>('aten::diagonal', ranking).mean().neg();
    const documents = options.useDocumentRegularizerOnly === true ? towers : towers.slice(1);
    const all: Tensor = call('aten::cat', documents, 0);
    loss = loss.add(
      plainFlops(all, options.documentRegularizerThreshold).mul(options.documentRegularizerWeight),
    );
    if (options.queryRegularizerWeight == null) return loss;
    const queries = plainFlops(towers[0]!, options.queryRegularizerThreshold);
    return loss.add(queries.mul(options.queryRegularizerWeight));
  };
}

const WEIGHTS: SpladeOptions = { documentRegularizerWeight: 0.3, queryRegularizerWeight: 0.2 };

test('value and gradients are those of plain operators on dense rows, for dense and for sparse towers', async () => {
  const pairs = [sparseRows(11, 37, 1), sparseRows(11, 37, 2)];
  const same = [sparseRows(1, 9, 3), sparseRows(1, 9, 3)];
  const repeated = { ...sparseRows(4, 9, 3), values: new Float64Array(36).fill(0.5) };
  const cases: [string, Rows[], SpladeOptions, { temperature?: number; cosine?: boolean }?][] = [
    ['pairs', pairs, WEIGHTS],
    ['hard negatives', [...pairs, sparseRows(7, 37, 3)], WEIGHTS],
    [
      'a row without a column',
      [sparseRows(5, 8, 1, { zeros: true }), sparseRows(5, 8, 2, { zeros: true })],
      WEIGHTS,
    ],
    ['one pair', same, WEIGHTS],
    ['identical rows', [repeated, repeated], WEIGHTS],
    ['no query regulariser', pairs, { documentRegularizerWeight: 0.3 }],
    ['documents alone', pairs, { documentRegularizerWeight: 0.3, useDocumentRegularizerOnly: true }],
    ['thresholds', pairs, { ...WEIGHTS, documentRegularizerThreshold: 4, queryRegularizerThreshold: 3 }],
    ['a threshold above all rows', pairs, { ...WEIGHTS, documentRegularizerThreshold: 40 }],
    ['cosine', pairs, WEIGHTS, { cosine: true, temperature: 0.05 }],
    ['temperature 0.001', pairs, WEIGHTS, { temperature: 0.001 }],
    ['temperature 100', pairs, WEIGHTS, { temperature: 100 }],
  ];
  for (const [title, towers, options, { temperature = 1, cosine = false } = {}] of cases) {
    const expected = await ofDense(plain(options, temperature, cosine), towers);
    const loss = splade(infoNCE({ similarity: cosine ? 'cosine' : 'dot', temperature }), options);
    assertSame(await ofDense(loss, towers), expected, `${title}, dense`);
    assertSame(await ofEntries(loss, towers), expected, `${title}, sparse`);
  }
});

test('sparse towers that are several tiles', async () => {
  // 64 MiB hold 17 dense rows as wide as this. The columns between them change nothing.
  const apart = 32_768;
  const towers = [1, 2].map((seed) => sparseRows(40, 16, seed, { active: 6 }));
  const wide = towers.map(entries).map(({ tensor, offsets }) => {
    const factors = Tensor.from(Float64Array.of(1, apart), { shape: [1, 2] });
    return { tensor: tensor.mul(factors), offsets };
  });
  const loss = splade(infoNCE({ temperature: 0.5, symmetric: true }), WEIGHTS);
  const { loss: value, gradients } = await results(
    loss,
    wide.map(({ tensor }) => tensor),
    { offsets: wide.map(({ offsets }) => offsets) },
  );
  const ofValues = gradients.map((gradient) => gradient.filter((_, place) => place % 2 === 0));
  assertSame({ loss: value, gradients: ofValues }, await ofDense(loss, towers), 'InfoNCE');
});

test('learned numbers of the loss, dense rows beside sparse ones, and losses of any kind', async () => {
  const towers = [sparseRows(9, 30, 1), sparseRows(9, 30, 2)];
  const losses: [string, () => Loss][] = [
    ['InfoNCE', () => infoNCE({ temperature: { initial: 0.5, learned: true } })],
    ['SigLIP', () => sigLIP()],
    ['a function', () => (a, b) => a.sub(b).exp().mean()],
    ['rows side by side', () => besides(['columns'])],
  ];
  for (const [title, make] of losses) {
    const [ofRows, ofSparse] = [splade(make(), WEIGHTS), splade(make(), WEIGHTS)];
    const expected = await ofDense(ofRows, towers);
    assertSame(await ofEntries(ofSparse, towers), expected, title);
    const slopes = [ofRows, ofSparse].map((loss) =>
      loss.parameters().map(({ tensor }) => tensor.grad!.item()),
    );
    if (slopes[0]!.length > 0) assertClose(slopes[1]!, slopes[0]!, 1e-10, `${title}: slopes`);

    const [queries, documents] = towers as [Rows, Rows];
    const { tensor, offsets, places } = entries(queries);
    const mixed = await results(ofSparse, [tensor, dense(documents)], { offsets: [offsets, null] });
    assert.equal(mixed.loss, (await results(ofSparse, towers.map(dense))).loss);
    assert.equal(mixed.gradients[0]!.length, 2 * places.length);
    assert.equal(mixed.gradients[1]!.length, documents.values.length);
  }
});

/** Cosines of rows side by side; it notes how wide rows are. */
function besides(forms: ('columns' | number)[]): LossWithGradients {
  const loss = withGradients((...given: (Tensor & LossOptions)[]) => {
    const [a, b] = [given[0]!, given[1]!];
    forms.push(a.shape[1]!);
    return a.normalize().mul(b.normalize()).sum(1).exp().mean();
  });
  return {
    sparse: 'columns',
    parameters: () => loss.parameters(),
    compute: (...args) => loss.compute(...args),
  };
}

test('a loss of rows side by side gets the columns that one of them has', async () => {
  const widths: ('columns' | number)[] = [];
  const towers = [1, 2, 3].map((seed) => sparseRows(20, 5000, seed, { active: 5 }));
  await ofEntries(splade(besides(widths), WEIGHTS), towers.slice(0, 2));
  assert.ok((widths[0] as number) < 40, String(widths));
});

test('margins and rankings of a teacher are those of plain operators, for dense and for sparse towers', async () => {
  const shapes = [
    [7, 37],
    [1, 9],
    [33, 13],
  ] as const;
  for (const [rows, width] of shapes) {
    const towers = [1, 2, 3].map((seed) => sparseRows(rows, width, seed));
    const labels = Array.from({ length: rows }, (_, row) => [Math.sin(row) + 2, Math.cos(row)]);
    const teacher = Tensor.from(Float64Array.from(labels.flat()), { shape: [rows, 2] });
    const scoresOf = ([queries, ...documents]: Tensor[]): Tensor =>
      call(
        'aten::stack',
        documents.map((each) => queries!.mul(each).sum(1)),
        1,
      );
    const margins = (scores: Tensor): Tensor => scores.narrow(1, 0, 1).sub(scores.narrow(1, 1, 1));
    const plainLosses: [string, LossWithGradients, (scores: Tensor) => Tensor][] = [
      [
        'margins',
        marginMSE(),
        (scores) => {
          const apart = margins(scores).sub(margins(teacher));
          return apart.mul(apart).mean();
        },
      ],
      ...[0.5, 2].map((temperature): (typeof plainLosses)[number] => [
        `rankings at ${temperature}`,
        distillKLDiv({ temperature }),
        (scores) => {
          const [wanted, found] = [teacher, scores].map((each) => each.div(temperature).logSoftmax(1));
          const terms = wanted!.exp().mul(wanted!.sub(found!));
          return terms.sum().mul(temperature ** 2 / rows);
        },
      ]),
    ];
    for (const [title, loss, twin] of plainLosses) {
      const whole = (...given: (Tensor & LossOptions)[]): Tensor => {
        const own: Tensor[] = given.slice(0, -1);
        const documents = plainFlops(call('aten::cat', own.slice(1), 0), null).mul(0.3);
        return twin(scoresOf(own)).add(documents).add(plainFlops(own[0]!, null).mul(0.2));
      };
      const expected = await ofDense(whole, towers);
      const what = `${title} [${rows}, ${width}]`;
      assertSame(await ofDense(splade(loss, WEIGHTS), towers, { labels }), expected, `${what}, dense`);
      assertSame(await ofEntries(splade(loss, WEIGHTS), towers, { labels }), expected, `${what}, sparse`);
    }
  }
});

test('a tower that trains nothing needs no gradient', async () => {
  const towers = [sparseRows(6, 12, 1), sparseRows(6, 12, 2)];
  const loss = splade(infoNCE({ similarity: 'dot' }), WEIGHTS);
  const all = await results(loss, towers.map(dense));
  const result = await loss.compute(towers.map(dense), 1, {}, [true, false]);
  assertClose([result.loss], [all.loss], 1e-12, 'loss');
  assertClose((await result.gradients[0]!.values()) as Float64Array, all.gradients[0]!, 1e-12, 'gradient');
});

test('regularizerScale multiplies both weights, and a warm-up grows with the square of the update', async () => {
  const towers = [sparseRows(6, 12, 1), sparseRows(6, 12, 2)];
  const inner = () => infoNCE({ similarity: 'dot' });
  const half = { documentRegularizerWeight: 0.15, queryRegularizerWeight: 0.1 };
  const expected = await ofDense(splade(inner(), half), towers);
  assertSame(await ofEntries(splade(inner(), WEIGHTS), towers, { regularizerScale: 0.5 }), expected, 'half');
  const none = await ofEntries(splade(inner(), WEIGHTS), towers, { regularizerScale: 0 });
  assertSame(none, await ofDense(inner(), towers), 'none');
  const scale = regularizerWarmUp(4);
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(scale), [0, 1 / 16, 1 / 4, 9 / 16, 1, 1]);
  assert.equal(regularizerWarmUp(0)(1), 1);
});

test('FLOPS alone', async () => {
  const towers = [sparseRows(5, 20, 1), sparseRows(8, 20, 2)];
  for (const threshold of [null, 3]) {
    const expected = await ofDense((...given: (Tensor & LossOptions)[]) => {
      return plainFlops(call('aten::cat', given.slice(0, 2), 0), threshold);
    }, towers);
    assertSame(await ofDense(flops({ threshold }), towers), expected, 'dense');
    assertSame(await ofEntries(flops({ threshold }), towers), expected, 'sparse');
  }
});

test('what does not fit is refused', async () => {
  const inner = infoNCE({ similarity: 'dot' });
  for (const [options, message] of [
    [{}, /documentRegularizerWeight is undefined/],
    [{ documentRegularizerWeight: -1 }, /documentRegularizerWeight is -1/],
    [{ documentRegularizerWeight: '1' }, /documentRegularizerWeight is "1"/],
    [{ ...WEIGHTS, queryRegularizerThreshold: 1.5 }, /threshold is 1.5/],
    [{ ...WEIGHTS, useDocumentRegularizerOnly: true }, /queryRegularizerWeight is 0.2; null/],
    [{ documentRegularizerWeight: 1, queryRegularizerThreshold: 3 }, /queryRegularizerThreshold is 3; null/],
    [{ ...WEIGHTS, weight: 1 }, /weight/],
  ] as const)
    assert.throws(() => splade(inner, options as never), { code: 'INPUT', message });
  assert.throws(() => splade({} as never, WEIGHTS), { code: 'INPUT' });
  assert.throws(() => flops({ threshold: -1 }), { code: 'INPUT' });
  assert.throws(() => regularizerWarmUp(-1), { code: 'INPUT' });

  const loss = splade(inner, WEIGHTS);
  const towers = [sparseRows(3, 5, 1), sparseRows(3, 5, 2)];
  for (const regularizerScale of [-1, NaN, 'no'])
    await assert.rejects(ofDense(loss, towers, { regularizerScale }), {
      code: 'INPUT',
      message: /regularizerScale/,
    });
  await assert.rejects(ofDense(loss, towers, { target: [0] }), { code: 'INPUT' });
  // Several representations a row that are no entries, as one for each token.
  const tokens = {
    tensor: Tensor.from(new Float64Array(12), { shape: [4, 3] }),
    offsets: Int32Array.of(0, 1, 4),
  };
  await assert.rejects(
    results(loss, [tokens.tensor, tokens.tensor], { offsets: [tokens.offsets, tokens.offsets] }),
    { code: 'SHAPE', message: /pooling 'splade'/ },
  );
  const overflowing = { ...towers[0]!, values: towers[0]!.values.map((value) => value * 1e200) };
  await assert.rejects(ofEntries(loss, [overflowing, towers[1]!]), { code: 'NON_FINITE' });
});
