import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  crossBatchMemory,
  gistEmbed,
  GradCache,
  infoNCE,
  matryoshka,
  megaBatchMargin,
  mse,
  multiSimilarity,
  ntXent,
  sigLIP,
  supCon,
  Tensor,
  type Loss,
  type LossOptions,
  type LossWithGradients,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { plainInfoNCE, tenTexts, textEncoder } from '../exactness/support.js';
import { assertClose } from '../oracle/compare.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

function rows(count: number, dimension: number, seed: number, dtype: 'float64' | 'float32' = 'float64') {
  const values = Float64Array.from({ length: count * dimension }, (_, i) =>
    Math.sin(1 + i * 1.7 + seed * i * i),
  );
  return Tensor.from(values, { shape: [count, dimension], dtype });
}

type Given = (Tensor & LossOptions)[];

/** A plain loss at every length, in plain operators. */
function plain(loss: (...towers: Tensor[]) => Tensor, parts: readonly (readonly [number, number])[]) {
  return (...given: Given): Tensor =>
    parts
      .map(([dimension, weight]) => {
        const towers = given.slice(0, -1).map((tower) => tower.narrow(-1, 0, dimension).normalize());
        return loss(...towers).mul(weight);
      })
      .reduce((sum, part) => sum.add(part));
}

const uniform = (first: Tensor, second: Tensor): Tensor => {
  const towers = [first, second];
  const all: Tensor = call('aten::cat', towers, 0);
  return all.matmul(all.t()).mul(2).exp().mean().log();
};

const distillation = (first: Tensor, second: Tensor, options: LossOptions): Tensor => {
  const difference = first.sub(options['labels'] as Tensor).add(second);
  return difference.mul(difference).sum();
};

const gradientsOf = async (loss: Loss, towers: readonly Tensor[], options: LossOptions = {}) => {
  const { loss: value, gradients } = await withGradients(loss).compute(towers, 0.5, options);
  return {
    value,
    gradients: await Promise.all(gradients.map(async (each) => [...(await each!.values())].map(Number))),
  };
};

test('value and gradients are the weighted sum of those at each length, of unit rows', async () => {
  const scored = (temperature: number) => (a: Tensor, b: Tensor, c?: Tensor) =>
    plainInfoNCE({ temperature })(a, c === undefined ? b : call('aten::cat', [b, c], 0));
  const identical = Tensor.from(new Float64Array(5 * 7).fill(0.3), { shape: [5, 7] });
  const cases: [string, Loss, (...towers: Tensor[]) => Tensor, Tensor[], [number, number][]][] = [
    [
      'InfoNCE',
      infoNCE({ temperature: 0.1 }),
      scored(0.1),
      [rows(300, 13, 1), rows(300, 13, 2)],
      [
        [13, 1],
        [8, 0.5],
        [3, 2],
      ],
    ],
    [
      'the dot product is the cosine',
      infoNCE({ temperature: 0.1, similarity: 'dot' }),
      scored(0.1),
      [rows(9, 13, 1), rows(9, 13, 2), rows(4, 13, 3)],
      [
        [5, 1],
        [1, 3],
      ],
    ],
    [
      'one pair',
      sigLIP({ learned: false, scale: 1, bias: 0 }),
      (a, b) => call<Tensor>('aten::log_sigmoid', a.mul(b).sum()).neg(),
      [rows(1, 6, 1), rows(1, 6, 2)],
      [
        [6, 1],
        [2, 1],
      ],
    ],
    [
      'a sharp temperature',
      infoNCE({ temperature: 0.001 }),
      scored(0.001),
      [rows(7, 9, 1), rows(7, 9, 2)],
      [
        [9, 1],
        [4, 1],
      ],
    ],
    [
      'a flat temperature',
      infoNCE({ temperature: 100 }),
      scored(100),
      [rows(7, 9, 1), rows(7, 9, 2)],
      [
        [9, 1],
        [4, 1],
      ],
    ],
    [
      'identical rows',
      infoNCE(),
      scored(0.05),
      [identical, rows(5, 7, 2)],
      [
        [7, 1],
        [2, 0],
      ],
    ],
    [
      'a function',
      uniform,
      uniform,
      [rows(11, 5, 1), rows(3, 5, 2)],
      [
        [5, 0.1],
        [4, 1],
        [2, 7],
      ],
    ],
  ];
  for (const [title, loss, single, towers, parts] of cases) {
    const shuffled = [...parts].reverse(); // the order of the dimensions does not matter
    const wrapped = matryoshka(loss, {
      dimensions: shuffled.map(([dimension]) => dimension),
      weights: shuffled.map(([, weight]) => weight),
    });
    const expected = await gradientsOf(plain(single, parts), towers);
    const ours = await gradientsOf(wrapped, towers);
    assertClose([ours.value], [expected.value], 1e-10, title);
    for (const [tower, gradient] of expected.gradients.entries())
      assertClose(ours.gradients[tower]!, gradient, 1e-10, `${title}, tower ${tower}`);
  }
});

test('values and gradients are those of other libraries', { skip: vectorsAbsent }, async () => {
  const vectors = vectorsOf('MatryoshkaLoss(MultipleNegativesRankingLoss)');
  assert.ok(vectors.length > 0);
  for (const vector of vectors) {
    const { matryoshka_dims: dimensions, matryoshka_weights: weights, scale = 20 } = vector.params as never;
    const loss = infoNCE({ temperature: 1 / (scale as number) });
    await assertLikeVector(matryoshka(loss, { dimensions, weights: weights ?? undefined }), vector);
  }
});

test('a learned temperature gets the sum of the slopes; rows of length zero give no NaN', async () => {
  const towers = [rows(12, 6, 1), rows(12, 6, 2)];
  const parts = [
    [6, 1],
    [2, 0.5],
  ] as const;
  const slope = async (loss: (temperature: object) => Loss) => {
    const made = withGradients(loss({ initial: 0.3, learned: true }));
    await made.compute(towers, 1, {});
    return made.parameters()[0]!.tensor.grad!.item();
  };
  const ours = await slope((temperature) =>
    matryoshka(infoNCE({ temperature: temperature as never }), { dimensions: [6, 2], weights: [1, 0.5] }),
  );
  let expected = 0;
  for (const [dimension, weight] of parts) {
    const loss = infoNCE({ temperature: { initial: 0.3, learned: true } });
    await loss.compute(
      towers.map((tower) => tower.narrow(1, 0, dimension)),
      weight,
      {},
    );
    expected += loss.parameters()[0]!.tensor.grad!.item();
  }
  assertClose([ours], [expected], 1e-10, 'slope');

  const zeros = Tensor.from(new Float64Array(12), { shape: [3, 4] });
  const { value, gradients } = await gradientsOf(matryoshka(infoNCE(), { dimensions: [4, 2] }), [
    zeros,
    rows(3, 4, 2),
  ]);
  assert.ok([value, ...gradients.flat()].every(Number.isFinite));
});

test("labels that are a teacher's representations are cut with ours, other labels are not", async () => {
  const towers = [rows(4, 6, 1), rows(4, 6, 2)];
  const labels = rows(4, 6, 3);
  const expected = await gradientsOf(
    (...given: Given) =>
      [6, 2]
        .map((dimension) => {
          const [a, b] = given.slice(0, 2).map((tower) => tower.narrow(1, 0, dimension).normalize());
          return distillation(a!, b!, { labels: labels.narrow(1, 0, dimension) });
        })
        .reduce((sum, part) => sum.add(part)),
    towers,
  );
  const wrapped = matryoshka(distillation, { dimensions: [2, 6] });
  const ours = await gradientsOf(wrapped, towers, { labels });
  assertClose([ours.value], [expected.value], 1e-12, 'value');
  assertClose(ours.gradients[0]!, expected.gradients[0]!, 1e-12, 'gradient');
  const lists = Array.from({ length: 4 }, (_, row) => [...labels.narrow(0, row, 1).valuesSync()].map(Number));
  const nested = (a: Tensor, b: Tensor, options: LossOptions) =>
    distillation(a, b, {
      labels: Tensor.from(Float64Array.from((options['labels'] as number[][]).flat()), { shape: a.shape }),
    });
  const ofLists = await gradientsOf(matryoshka(nested, { dimensions: [2, 6] }), towers, { labels: lists });
  assertClose([ofLists.value], [expected.value], 1e-12, 'lists');
  for (const other of [[1, 2, 3, 4, 5, 6], rows(4, 5, 1)]) {
    const seen: unknown[] = [];
    const watch = (a: Tensor, b: Tensor, options: LossOptions) => {
      seen.push(options['labels']);
      return a.mul(b).sum();
    };
    await gradientsOf(matryoshka(watch, { dimensions: [2, 6] }), towers, { labels: other });
    assert.deepEqual(seen, [other, other]);
  }
});

test('labels that do not fit a length are refused before anything is encoded', async () => {
  const loss = matryoshka(mse(), { dimensions: [6, 4, 2] });
  const check = (labels: unknown, length?: number): void => {
    loss.checkOptions!({ labels }, [2, 2], [length, length]);
  };
  for (const good of [
    [Array(6).fill(1), Array(6).fill(2)],
    [new Float32Array(6), new Float64Array(6)],
    rows(2, 6, 1),
  ])
    check(good, 6);
  const ofTypedRows = await gradientsOf(loss, [rows(2, 6, 1), rows(2, 6, 2)], {
    labels: [new Float32Array(6), new Float32Array(6)],
  });
  assert.ok(ofTypedRows.value > 0);
  for (const [labels, length, message] of [
    [rows(2, 5, 1), 6, /have 5 numbers, the model's 6/],
    // They are not as long as representations, so that they are not cut.
    [rows(2, 6, 1), 8, /have 6 numbers, the model's 2/],
    [rows(3, 6, 1), undefined, /3 labels for 2 rows/],
  ] as const)
    assert.throws(
      () => {
        check(labels, length);
      },
      { code: 'SHAPE', message },
    );
});

/** A loss that notes the lengths it sees. */
function watching(): { loss: Loss; seen: number[]; fail: (times: number) => void } {
  const seen: number[] = [];
  let failures = 0;
  const loss = (a: Tensor, b: Tensor) => {
    seen.push(a.shape[1]!);
    if (failures > 0 && failures-- === 1) throw new Error('as asked');
    return a.mul(b).sum();
  };
  return { loss: loss, seen, fail: (times) => (failures = times) };
}

test('a step takes a drawn part of the dimensions: by the seed, by its number, every one in time', async () => {
  const towers = [rows(3, 8, 1), rows(3, 8, 2)];
  const dimensions = [8, 4, 2, 1];
  const drawn = async (seed: number, keyword?: number) => {
    const { loss, seen } = watching();
    const wrapped = matryoshka(loss, { dimensions, dimensionsPerStep: 2, seed });
    for (let step = 0; step < 20; step++)
      await wrapped.compute(towers, 1, keyword === undefined ? {} : { seed: keyword + step });
    return seen;
  };
  const first = await drawn(1);
  assert.equal(first.length, 40);
  for (let step = 0; step < 20; step++)
    assert.ok(first[2 * step]! > first[2 * step + 1]!, 'longest first, none twice');
  assert.deepEqual(await drawn(1), first);
  assert.notDeepEqual(await drawn(2), first);
  assert.deepEqual(new Set(first), new Set(dimensions));
  assert.deepEqual(await drawn(2, 100), await drawn(1, 100), 'the keyword argument seed decides alone');
});

test('a step that fails counts for nothing: neither its draw nor what its losses added', async () => {
  const encoder = await textEncoder('float64');
  const bystander = Tensor.from(Float64Array.of(2));
  bystander.requiresGrad = true;
  const { loss: watch, seen, fail } = watching();
  const loss = (...given: Given) => (watch as (...given: Given) => Tensor)(...given).mul(bystander);
  const wrapped = matryoshka(loss, { dimensions: [24, 8, 3], dimensionsPerStep: 2 });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: wrapped, chunk: { sequences: 4 } });
  fail(2);
  await assert.rejects(gradcache.step([tenTexts(1), tenTexts(2)]), /as asked/);
  assert.equal(bystander.grad, null);
  const controller = new AbortController();
  const aborted = gradcache.step([tenTexts(1), tenTexts(2)], {
    signal: controller.signal,
    onProgress: ({ phase }) => {
      if (phase === 'loss') controller.abort();
    },
  });
  await assert.rejects(aborted, { code: 'ABORTED' });
  assert.equal(bystander.grad, null);
  await gradcache.step([tenTexts(1), tenTexts(2)]);
  assert.equal(seen.length, 6);
  assert.deepEqual(seen.slice(2, 4), seen.slice(0, 2));
  assert.deepEqual(seen.slice(4), seen.slice(0, 2));
});

test('a tower that is not trained gets no gradient; a memory holds whole rows', async () => {
  const towers = [rows(3, 8, 1), rows(3, 8, 2)];
  const { gradients } = await matryoshka(uniform, { dimensions: [8, 4] }).compute(towers, 1, {}, [
    true,
    false,
  ]);
  assert.deepEqual(
    gradients.map((each) => each === null),
    [false, true],
  );
  const memory = crossBatchMemory(matryoshka(infoNCE(), { dimensions: [8, 4] }), { capacity: 5 });
  for (let step = 0; step < 3; step++) await memory.compute(towers, 1, {});
  assert.deepEqual(memory.rows()!.shape, [5, 8]);
});

test('what does not fit is refused', async () => {
  const loss = infoNCE();
  const refusals: [object, RegExp][] = [
    [{}, /dimensions is undefined/],
    [{ dimensions: [] }, /dimensions is \[\]/],
    [{ dimensions: [4, 4] }, /dimensions is \[4,4\]/],
    [{ dimensions: 4 }, /dimensions is 4/],
    [{ dimensions: [4, 0] }, /dimensions\[1\] is 0; a whole number from 1/],
    [{ dimensions: [4, 1.5] }, /dimensions\[1\] is 1.5/],
    [{ dimensions: [4, '2'] }, /dimensions\[1\] is "2"/],
    [{ dimensions: [4, 2], weights: [1] }, /weights is \[1\]; a list of 2 weights/],
    [{ dimensions: [4, 2], weights: [1, 1e308] }, /weights\[1\] is 1e\+308; a finite number from 0 to 3\.4/],
    [{ dimensions: [4, 2], weights: [1, NaN] }, /weights\[1\] is NaN/],
    [{ dimensions: [4, 2], weights: [1, -1] }, /weights\[1\] is -1; a finite number from 0/],
    [{ dimensions: [4, 2], dimensionsPerStep: 3 }, /dimensionsPerStep is 3; a whole number from 1 to 2/],
    [{ dimensions: [4, 2], dimensionsPerStep: 0 }, /dimensionsPerStep is 0/],
    [{ dimensions: [4, 2], seed: -1 }, /seed is -1/],
    [{ dimension: [4, 2] }, /did you mean dimensions/],
  ];
  for (const [options, message] of refusals)
    assert.throws(() => matryoshka(loss, options as never), { code: 'INPUT', message });
  assert.throws(() => matryoshka(undefined as never, { dimensions: [1] }), { code: 'INPUT' });

  const beyond = {
    code: 'SHAPE',
    message: /cuts representations to 32 numbers, and those of tower 0 have 24/,
  };
  const encoder = await textEncoder('float32');
  const tooLong = () => matryoshka(loss, { dimensions: [32, 4] });
  for (const made of [
    tooLong(),
    crossBatchMemory(tooLong(), { capacity: 3 }),
    matryoshka(tooLong(), { dimensions: [40] }),
  ])
    assert.throws(() => new GradCache({ encoders: [encoder, encoder], loss: made }), { code: 'SHAPE' });
  assert.throws(() => new GradCache({ encoders: [encoder, encoder], loss: tooLong() }), beyond);
  await assert.rejects(tooLong().compute([rows(2, 24, 1), rows(2, 24, 2)], 1, {}), beyond);
  await assert.rejects(
    matryoshka(loss, { dimensions: [2, 1], dimensionsPerStep: 1 }).compute(
      [rows(2, 2, 1), rows(2, 2, 2)],
      1,
      { seed: 'x' },
    ),
    {
      code: 'INPUT',
      message: /seed is "x"/,
    },
  );
});

/** A loss without its way of computing several lengths together. */
const alone = (loss: LossWithGradients): LossWithGradients => ({
  compute: (...given) => loss.compute(...given),
  parameters: () => loss.parameters(),
});

test('losses over scores compute several lengths together as they do one by one', async () => {
  const directions = ['query_to_doc', 'doc_to_query', 'query_to_query', 'doc_to_doc'] as const;
  const learned = { initial: 0.2, learned: true };
  const pair = [rows(11, 13, 1), rows(11, 13, 2)];
  const uneven = [...pair, rows(11, 13, 3), rows(11, 13, 4)];
  const many = [rows(1100, 7, 1), rows(1100, 7, 2)];
  const guide = [rows(11, 4, 5), rows(11, 4, 6)];
  const labels = Array.from({ length: 11 }, (_, row) => row % 3);
  const cases: [string, () => LossWithGradients, Tensor[], LossOptions?][] = [
    ['InfoNCE', () => infoNCE({ temperature: learned }), uneven],
    ['InfoNCE, sharp', () => infoNCE({ temperature: 0.001 }), uneven],
    ['InfoNCE, inner products', () => infoNCE({ similarity: 'dot', temperature: learned }), pair],
    [
      'InfoNCE, all directions',
      () => infoNCE({ directions, temperature: learned, margin: 0.1, labelSmoothing: 0.1 }),
      uneven,
    ],
    [
      'InfoNCE, hardness',
      () => infoNCE({ hardnessMode: 'all_negatives', hardnessStrength: 3, symmetric: true }),
      uneven,
    ],
    ['InfoNCE, several tiles', () => infoNCE({ symmetric: true }), many],
    ['SigLIP', () => sigLIP({ scale: 3, bias: -1 }), uneven],
    ['NT-Xent', () => ntXent({ temperature: learned }), pair],
    ['NT-Xent of classes', () => ntXent(), pair, { labels }],
    ['supCon', () => supCon({ temperature: learned }), pair, { labels }],
    ['multiSimilarity', () => multiSimilarity({ epsilon: 0.1 }), pair, { labels }],
    ['megaBatchMargin', () => megaBatchMargin(), pair],
    ['gistEmbed by itself', () => gistEmbed({ guide: 'self', temperature: learned, margin: 0.1 }), uneven],
    ['gistEmbed', () => gistEmbed({ temperature: 0.1 }), pair, { guide }],
  ];
  for (const [title, make, towers, options = {}] of cases) {
    const lengths = { dimensions: [3, 5, towers[0]!.shape[1]!], weights: [0.5, 2, 1] };
    const [together, one] = [make(), make()];
    const ours = await gradientsOf(matryoshka(together, lengths), towers, options);
    const expected = await gradientsOf(matryoshka(alone(one), lengths), towers, options);
    assertClose([ours.value], [expected.value], 1e-12, title);
    for (const [tower, gradient] of expected.gradients.entries())
      assertClose(ours.gradients[tower]!, gradient, 1e-10, `${title}, tower ${tower}`);
    for (const [place, { name, tensor }] of together.parameters().entries())
      assertClose(
        [tensor.grad!.item() + 1],
        [one.parameters()[place]!.tensor.grad!.item() + 1],
        1e-10,
        `${title}, ${name}`,
      );
    const single = matryoshka(make(), lengths);
    const rounded = towers.map((tower) => tower.to({ dtype: 'float32' }));
    const { value, gradients } = await gradientsOf(single, rounded, options);
    assertClose([value], [expected.value], 1e-4, `${title}, float32`);
    if (!/sharp|gist|multi|mega/i.test(title))
      assertClose(gradients[0]!, expected.gradients[0]!, 1e-4, `${title}, float32`);
  }
});

test('what a loss refuses at one length is refused for all of them, again and again', async () => {
  const three = [1, 2, 3].map((seed) => rows(5, 6, seed));
  const loss = matryoshka(megaBatchMargin(), { dimensions: [6, 4, 2] });
  for (let step = 0; step < 20; step++)
    await assert.rejects(loss.compute(three, 1, {}), { code: 'SHAPE', message: /given 3 towers/ });
  const { loss: value } = await loss.compute(three.slice(0, 2), 1, {});
  assert.ok(Number.isFinite(value));
});
