import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  infoNCE,
  multipleNegativesRanking,
  ntXent,
  sigLIP,
  Tensor,
  type InfoNCEOptions,
  type LossOptions,
  type MultipleNegativesRankingOptions,
} from '../../lib/index.js';
import { valueOf } from '../../lib/losses/loss-value.js';
import { withGradients } from '../../lib/losses/loss.js';
import { assertClose } from '../oracle/compare.js';
import { plainRanking, type PlainRanking } from './plain-ranking.js';
import { assertLikeVector, vectorsAbsent, vectorsOf } from './vectors.js';

type Rows = { values: Float64Array; shape: [number, number] };

function rows(count: number, dimension: number, seed: number): Rows {
  const values = Float64Array.from({ length: count * dimension }, (_, i) => Math.sin(i * 1.7 + seed * i * i));
  return { values, shape: [count, dimension] };
}

const tensorsOf = (towers: readonly Rows[]): Tensor[] =>
  towers.map(({ values, shape }) => Tensor.from(values, { shape }));

interface Results {
  readonly loss: number;
  readonly gradients: Float64Array[];
}

async function results(
  loss: Parameters<typeof withGradients>[0],
  towers: readonly Rows[],
  options: LossOptions = {},
): Promise<Results> {
  const { loss: value, gradients } = await withGradients(loss).compute(tensorsOf(towers), 1, options);
  const all = gradients.map(async (gradient) => (await gradient!.values()) as Float64Array);
  return { loss: value, gradients: await Promise.all(all) };
}

function assertSame(ours: Results, expected: Results, title: string): void {
  // A loss of 0 is compared with what it is made of.
  assertClose([ours.loss + 1], [expected.loss + 1], 1e-12, title);
  for (const [tower, gradient] of ours.gradients.entries()) {
    const theirs = expected.gradients[tower]!;
    const nothing = theirs.every((value) => Math.abs(value) < 1e-14); // what is left of a 0 has no relative error
    if (nothing) assert.ok(gradient.every((value) => Math.abs(value) < 1e-13));
    else assertClose(gradient, theirs, 1e-10, `${title}, tower ${tower}`);
  }
}

const three = [rows(7, 5, 1), rows(7, 5, 2), rows(7, 5, 3), rows(7, 5, 4)];
const uneven = [rows(6, 5, 1), rows(6, 5, 2), rows(4, 5, 3), rows(3, 5, 4)];
const ALL = ['query_to_doc', 'doc_to_query', 'query_to_query', 'doc_to_doc'] as const;
const BOTH = ['query_to_doc', 'doc_to_query'] as const;
const several = [[0, 9], [1], [2, 3, 4], [7], [0], [8, 5]];
const weights = [1, 0, 2.5, 0.25, 3, 1];
const owners = [0, 0, 4, 2, 4, -1, 0];

const cases: [string, Rows[], InfoNCEOptions, Omit<PlainRanking, 'scale'>?][] = [
  ...(['in_batch_negatives', 'hard_negatives', 'all_negatives'] as const).map(
    (hardnessMode): (typeof cases)[number] => [
      hardnessMode,
      three,
      { hardnessMode, hardnessStrength: 3, directions: ALL },
    ],
  ),
  ['all directions, label smoothing', three, { directions: ALL, labelSmoothing: 0.2 }],
  [
    'label smoothing of each direction, a margin',
    three,
    { directions: BOTH, partitionMode: 'per_direction', labelSmoothing: 0.3, margin: 0.2 },
  ],
  ['a margin and inner products', three, { directions: BOTH, margin: -0.4, similarity: 'dot' }],
  ['several positives', uneven, { directions: BOTH, labelSmoothing: 0.1 }, { targets: several }],
  ['several positives, symmetric, weights', uneven, { symmetric: true }, { targets: several, weights }],
  [
    'owners',
    uneven,
    { directions: ALL, hardnessMode: 'in_batch_negatives', hardnessStrength: 2, labelSmoothing: 0.1 },
    { owners, weights },
  ],
  [
    'owners, hard negatives and targets',
    uneven,
    { hardnessMode: 'hard_negatives', hardnessStrength: 2 },
    { owners, targets: several },
  ],
  ['one pair', [rows(1, 3, 1), rows(1, 3, 2)], { directions: ALL, labelSmoothing: 0.1 }],
  ['one pair and negatives', [rows(1, 3, 1), rows(1, 3, 2), rows(1, 3, 3)], { directions: ALL }],
  [
    'identical rows',
    [rows(1, 3, 1), rows(1, 3, 1)].map(({ values }) => same(values, 5)),
    { directions: ALL },
  ],
  ['a low temperature', three, { directions: ALL, temperature: 0.001 }],
  ['a high temperature', three, { directions: ALL, temperature: 100 }],
  ['several tiles', [rows(700, 9, 1), rows(700, 9, 2), rows(130, 9, 3)], { symmetric: true, margin: 0.1 }],
];

function same(values: Float64Array, count: number): Rows {
  return { values: Float64Array.from({ length: count * 3 }, (_, i) => values[i % 3]!), shape: [count, 3] };
}

test('values, gradients and the slope of the temperature are those of plain operators on all scores', async () => {
  for (const [title, towers, options, given = {}] of cases) {
    const { temperature = 0.05, symmetric = false, partitionMode = 'joint', hardnessMode, ...rest } = options;
    const logScale = Tensor.from(Float64Array.of(-Math.log(temperature as number)));
    logScale.requiresGrad = true;
    const how = { ...rest, ...given, ...(hardnessMode ? { hardnessMode } : {}), scale: 1, logScale };
    const directions = symmetric ? BOTH : rest.directions;
    const joint = !symmetric && partitionMode === 'joint';
    const plain = plainRanking({ ...how, joint, ...(directions ? { directions } : {}) });
    const expected = await results(plain, towers);
    const bounds = [1e-4, 1e3] as const;
    const learned = { initial: temperature as number, learned: true, bounds };
    const loss = infoNCE({ ...options, temperature: learned });
    assertSame(await results(loss, towers, { ...given }), expected, title);
    const slope = loss.parameters()[0]!.tensor.grad!.item();
    const error = Math.abs(slope - logScale.grad!.item());
    assert.ok(
      error <= 1e-10 * (1 + Math.abs(slope)),
      `${title}: slope ${slope} for ${logScale.grad!.item()}`,
    );
  }
});

test('scores that do not fit in memory at once: each of the sweeps computes its own', async () => {
  const towers = [rows(2100, 3, 1), rows(2100, 3, 2)];
  const options = { directions: BOTH, partitionMode: 'joint' } as const;
  const expected = await results(plainRanking({ ...options, joint: true, scale: 20 }), towers);
  assertSame(await results(multipleNegativesRanking(options), towers), expected, 'both directions');
});

test('anchors in several strips are the anchors by themselves', async () => {
  const [anchors, candidates] = [rows(4200, 3, 1), rows(4200, 3, 2)];
  const whole = await results(infoNCE(), [anchors, candidates]);
  const part = ({ values, shape }: Rows, begin: number, count: number): Rows => ({
    values: values.slice(begin * shape[1], (begin + count) * shape[1]),
    shape: [count, shape[1]],
  });
  let loss = 0;
  const ofCandidates = new Float64Array(candidates.values.length);
  const ofAnchors: number[] = [];
  for (const begin of [0, 1400, 2800]) {
    const targets = Array.from({ length: 1400 }, (_, k) => begin + k);
    const found = await results(infoNCE(), [part(anchors, begin, 1400), candidates], { targets });
    loss += found.loss / 3;
    for (const value of found.gradients[0]!) ofAnchors.push(value / 3);
    for (const [k, value] of found.gradients[1]!.entries()) ofCandidates[k]! += value / 3;
  }
  assertSame(whole, { loss, gradients: [Float64Array.from(ofAnchors), ofCandidates] }, 'strips');
});

test('towers that are not trained have no gradient, and change no other', async () => {
  const losses = [infoNCE({ directions: ALL }), sigLIP(), ntXent(), infoNCE({ symmetric: true })];
  for (const loss of losses) {
    const all = await results(loss, three);
    const slopes = loss.parameters().map(({ tensor }) => tensor.grad!.item());
    assertClose([await valueOf(loss, tensorsOf(three), {})], [all.loss], 1e-12, 'value');
    assert.deepEqual(
      loss.parameters().map(({ tensor }) => tensor.grad!.item()),
      slopes,
    );
    for (const trained of [
      [true, false, true, false],
      [false, true, false, true],
      [false, false, false, false],
    ]) {
      const { loss: value, gradients } = await loss.compute(tensorsOf(three), 1, {}, trained);
      assertClose([value], [all.loss], 1e-12, String(trained));
      for (const [tower, gradient] of gradients.entries()) {
        assert.equal(gradient !== null, trained[tower]);
        const values = (await gradient?.values()) as Float64Array | undefined;
        if (values) assertClose(values, all.gradients[tower]!, 1e-12, `${trained.join()}, tower ${tower}`);
      }
    }
  }
});

test('a bias changes nothing, and has a slope of 0', async () => {
  const options = { directions: ALL, hardnessMode: 'all_negatives', hardnessStrength: 2 } as const;
  const loss = infoNCE({ ...options, bias: { initial: -7, learned: true } });
  assertSame(await results(loss, three), await results(infoNCE(options), three), 'bias');
  const [parameter] = loss.parameters();
  assert.equal(parameter!.name, 'loss.bias');
  assert.ok(Math.abs(parameter!.tensor.grad!.item()) < 1e-12);
});

test('float32 is near float64, and finite where exponentials overflow', async () => {
  const single = async (options: InfoNCEOptions) => {
    const tensors = three.map(({ values, shape }) => Tensor.from(Float32Array.from(values), { shape }));
    const { loss, gradients } = await infoNCE(options).compute(tensors, 1, {});
    const all = gradients.map(async (gradient) =>
      Float64Array.from((await gradient!.values()) as Float32Array),
    );
    return { loss, gradients: await Promise.all(all) };
  };
  for (const temperature of [0.001, 0.05, 100]) {
    const options = { directions: ALL, temperature, labelSmoothing: 0.1 };
    const [ours, expected] = [await single(options), await results(infoNCE(options), three)];
    assertClose([ours.loss], [expected.loss], 1e-5, `temperature ${temperature}`);
    for (const [tower, gradient] of ours.gradients.entries())
      assertClose(gradient, expected.gradients[tower]!, temperature < 0.01 ? 1e-3 : 1e-5, `tower ${tower}`);
  }
});

test('values and gradients are those of other libraries', { skip: vectorsAbsent }, async () => {
  const vectors = vectorsOf('MultipleNegativesRankingLoss');
  assert.ok(vectors.length > 50, `there are ${vectors.length}`);
  for (const vector of vectors) {
    const { scale, similarity_fct, directions, partition_mode, hardness_mode, hardness_strength } =
      vector.params;
    const options = {
      scale,
      directions,
      similarity: similarity_fct === 'dot_score' ? 'dot' : 'cosine',
      partitionMode: partition_mode,
      hardnessMode: hardness_mode,
      hardnessStrength: hardness_strength,
    } as MultipleNegativesRankingOptions;
    await assertLikeVector(multipleNegativesRanking(options), vector);
  }
  for (const vector of vectorsOf('ClipLoss')) {
    const temperature = 1 / (vector.params['logit_scale'] as number);
    await assertLikeVector(infoNCE({ temperature, symmetric: true }), vector);
  }
  for (const vector of vectorsOf('SimpleContrastiveLoss')) {
    const { n_hard_negatives: negatives, reduction } = vector.params;
    if (reduction !== 'mean') continue;
    const targets = vector.reps[0]!.map((_, row) => row * (1 + (negatives as number)));
    await assertLikeVector(infoNCE({ temperature: 1, similarity: 'dot' }), vector, { targets });
  }
});

test('settings and options that do not fit are refused, with what would', async () => {
  const settings: [object, RegExp][] = [
    [{ directions: ['doc_to_query'] }, /directions is \["doc_to_query"\]; a list with "query_to_doc"/],
    [{ directions: [] }, /query_to_doc/],
    [{ directions: ['query_to_doc', 'query_to_doc'] }, /query_to_doc/],
    [{ directions: 'query_to_doc' }, /directions/],
    [{ directions: ['query_to_doc', 'sideways'] }, /"doc_to_doc"/],
    [{ directions: ALL, partitionMode: 'per_direction' }, /per_direction/],
    [{ partitionMode: 'jointly' }, /"joint" or "per_direction"/],
    [{ hardnessMode: 'hard' }, /"hard_negatives"/],
    [{ hardnessMode: 'hard_negatives' }, /hardnessStrength is 0; a number above 0/],
    [{ hardnessStrength: 1 }, /hardnessStrength is 1; 0, or a hardnessMode/],
    [{ hardnessMode: 'hard_negatives', hardnessStrength: -1 }, /hardnessStrength is -1/],
    [{ labelSmoothing: 1 }, /labelSmoothing is 1; a finite number from 0 below 1/],
    [{ margin: NaN }, /margin is NaN/],
    [{ symmetric: true, directions: BOTH }, /directions/],
    [{ symmetric: 'no' }, /symmetric is "no"; true or false/],
    [{ bias: { initial: 1 } }, /bias.learned/],
    [{ temperature: { initial: 2, learned: true } }, /temperature is 2; a number from 0.01 to 1/],
    [{ temperature: { initial: 0.001, learned: true } }, /from 0.01 to 1/],
    [{ temperature: { initial: 1, learned: true, bounds: [2, 1] } }, /temperature.bounds is \[2,1\]/],
    [{ temperature: { initial: 1, learned: false, bounds: [1, 2] } }, /learned: true/],
  ];
  for (const [options, message] of settings)
    assert.throws(() => infoNCE(options), { code: 'INPUT', message });
  assert.throws(() => multipleNegativesRanking({ scale: 0 }), { code: 'INPUT', message: /scale is 0/ });

  const options: [LossOptions, string, RegExp][] = [
    [{ targets: [[0], [], 2, 3, 4, 5] }, 'INPUT', /targets\[1\] is \[\]/],
    [{ targets: [[0, 0], 1, 2, 3, 4, 5] }, 'INPUT', /list of different ones/],
    [{ targets: [[0, 13], 1, 2, 3, 4, 5] }, 'SHAPE', /13 is not one of the 13 candidates/],
    [{ targets: [0, 1] }, 'SHAPE', /2 targets for 6 anchors/],
    [{ weights: [1, 2] }, 'SHAPE', /2 weights for 6 anchors/],
    [{ weights: [1, 2, 3, 4, 5, -1] }, 'INPUT', /weights\[5\] is -1/],
    [{ weights: [0, 0, 0, 0, 0, 0] }, 'INPUT', /at least one weight above 0/],
    [{ owners: [0, 1, 2, 3, 4, 5, 6] }, 'INPUT', /owners\[6\] is 6; .* from 0 to 5/],
    [{ owners: [0, 1, 2, 3, 4, 5, 'a'] }, 'INPUT', /owners\[6\] is "a"/],
    [{ owners: [0, 1] }, 'SHAPE', /2 owners/],
    [{}, 'SHAPE', /tower 2 has 4 hard negatives for 6 anchors: say with the option owners/],
  ];
  const hard = infoNCE({ hardnessMode: 'hard_negatives', hardnessStrength: 1 });
  const counts = uneven.map(({ shape }) => shape[0]);
  for (const [given, code, message] of options) {
    await assert.rejects(results(hard, uneven, given), { code, message });
    // A step refuses them before it encodes anything.
    assert.throws(() => hard.checkOptions!(given, counts), { code, message });
  }
  await assert.rejects(results(infoNCE({ directions: ALL }), three, { targets: [0, 1, 2, 3, 4, 5, 6] }), {
    code: 'INPUT',
    message: /doc_to_doc takes no targets/,
  });
});

test('a learned temperature that an update brings beyond its bounds is put back', async () => {
  const loss = infoNCE({ temperature: { initial: 0.5, learned: true } });
  const { tensor } = loss.parameters()[0]!;
  for (const [moved, expected] of [
    [-3, 1],
    [7, 1 / Math.exp(Math.log(100))],
  ] as const) {
    tensor.copyFrom(Tensor.from(Float64Array.of(moved)));
    const { loss: value } = await results(loss, three);
    assert.ok(Math.abs(loss.temperature - expected) < 1e-15);
    assertClose(
      [value],
      [(await results(infoNCE({ temperature: expected }), three)).loss],
      1e-12,
      String(moved),
    );
  }
});
