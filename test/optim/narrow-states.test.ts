/** Weights that are kept in bfloat16: float32 copies on the host, or rounding by chance. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AdamW,
  GradCache,
  infoNCE,
  RAdam,
  Tensor,
  TextEncoder,
  type AdamWOptions,
  type CreateOptions,
} from '../../lib/index.js';
import { Rounding } from '../../lib/optim/rounding.js';
import { TensorList } from '../../lib/tensor/tensor-list.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { device, tenTexts } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

const tokenizer = await smallTokenizer(97);

const create = (options: CreateOptions): TextEncoder =>
  TextEncoder.create(
    {
      ...{ model_type: 'bert', vocab_size: 97, hidden_size: 24, max_position_embeddings: 40 },
      ...{ num_hidden_layers: 1, num_attention_heads: 3, intermediate_size: 40 },
    },
    tokenizer,
    { seed: 4, device, precision: 'bfloat16', dropout: 0, ...options },
  );

async function steps(
  encoder: TextEncoder,
  optimizer: AdamW,
  from: number,
  to: number,
): Promise<{ losses: number[] }> {
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE(),
    chunk: { sequences: 4 },
    seed: 2,
  });
  const losses: number[] = [];
  for (let index = from; index < to; index++) {
    losses.push((await gradcache.step([tenTexts(1 + (index % 3)), tenTexts(4 + (index % 3))])).loss);
    await optimizer.step();
  }
  return { losses };
}

/** The weights as bfloat16 has them. */
async function weightsOf(encoder: TextEncoder): Promise<unknown[]> {
  return Promise.all(encoder.parameters().map(({ tensor }) => tensor.to({ dtype: 'bfloat16' }).values()));
}

async function rounded(values: Float32Array, seed: number, updates = 1): Promise<Float32Array> {
  using wide = Tensor.from(values, { device });
  using narrow = wide.to({ dtype: 'bfloat16' });
  const [from, into] = [TensorList.of([wide]), TensorList.of([narrow])];
  const rounding = new Rounding(seed);
  for (let k = 0; k < updates; k++) rounding.begin();
  await rounding.round(into, from);
  for (const list of [from, into]) list.dispose();
  return (await narrow.values()) as Float32Array;
}

test('rounding by chance goes to one of the two neighbours, the nearer the likelier, and follows from the seed', async () => {
  const count = 40_000;
  // 1 and 1.0078125 are neighbours in bfloat16, and so are their negatives.
  for (const [value, up] of [
    [1 + 0.0078125 / 4, 0.25],
    [-(1 + 0.0078125 * 0.625), 0.625],
  ] as const) {
    const found = await rounded(new Float32Array(count).fill(value), 7);
    const sign = Math.sign(value);
    const far = found.filter((each) => each === sign * 1.0078125).length;
    assert.equal(far + found.filter((each) => each === sign).length, count);
    // Five standard deviations.
    assert.ok(Math.abs(far / count - up) < 5 * Math.sqrt((up * (1 - up)) / count), `${far} of ${count}`);
    assert.deepEqual(await rounded(new Float32Array(count).fill(value), 7), found);
    assert.notDeepEqual(await rounded(new Float32Array(count).fill(value), 8), found);
    assert.notDeepEqual(await rounded(new Float32Array(count).fill(value), 7, 2), found);
  }
  const exact = Float32Array.of(0, 1, -1.0078125, Infinity, -Infinity, 2 ** -133);
  assert.deepEqual(await rounded(exact, 1), exact);
  assert.ok(Number.isNaN((await rounded(Float32Array.of(NaN), 1))[0]));
});

test('gradients of weights in bfloat16 are float32, and those of float32 weights that are rounded when they are used', async () => {
  using narrow = create({ weights: 'bfloat16' });
  using wide = create({});
  using high = create({ precision: 'float32' });
  const gradients = async (encoder: TextEncoder): Promise<Float32Array[]> => {
    const loss = infoNCE();
    await new GradCache({ encoders: [encoder, encoder], loss }).step([tenTexts(1), tenTexts(2)]);
    const all = await Promise.all(encoder.parameters().map(({ tensor }) => tensor.grad!.values()));
    return all as Float32Array[];
  };
  const found = await gradients(narrow);
  assert.deepEqual(found, await gradients(wide));
  const product = (one: Float32Array[], other: Float32Array[]): number =>
    one.reduce(
      (sum, values, k) => values.reduce((all, value, place) => all + value * other[k]![place]!, sum),
      0,
    );
  const exact = await gradients(high);
  const cosine = product(found, exact) / Math.sqrt(product(found, found) * product(exact, exact));
  assert.ok(cosine > 0.999, String(cosine));
  for (const { tensor } of narrow.parameters())
    assert.deepEqual([tensor.dtype, tensor.grad!.dtype], ['bfloat16', 'float32']);
});

for (const Optimizer of [AdamW, RAdam])
  test(`copies on the host train as float32 weights on the device, bit for bit (${Optimizer.name})`, async () => {
    using narrow = create({ weights: 'bfloat16' });
    using wide = create({});
    for (const [place, { tensor }] of wide.parameters().entries())
      tensor.copyFrom(narrow.parameters()[place]!.tensor);
    using onHost = new Optimizer(narrow.parameters(), { lr: 1e-4, masterWeights: 'host', maxGradNorm: 1 });
    using onDevice = new Optimizer(wide.parameters(), { lr: 1e-4, maxGradNorm: 1 });
    const found = await steps(narrow, onHost, 0, 5);
    const expected = await steps(wide, onDevice, 0, 5);
    if (device === 'cpu') {
      assert.deepEqual(found, expected);
      assert.deepEqual(await weightsOf(narrow), await weightsOf(wide));
    }
    const state = await onHost.state();
    for (const { name, tensor } of wide.parameters()) {
      const { dtype, bytes } = state.get(`master.${name}`)!;
      assert.equal(dtype, 'float32');
      if (device === 'cpu') assert.deepEqual(bytes, await tensor.bytes(), name);
    }
  });

for (const options of [
  { masterWeights: 'host' },
  { masterWeights: 'none', seed: 3 },
  { masterWeights: 'none', rows: true },
] as const)
  test(`training goes on from a state bit for bit (${JSON.stringify(options)})`, async () => {
    const { masterWeights } = options;
    const how: CreateOptions = {
      weights: 'bfloat16',
      ...('rows' in options && { embeddingGradients: 'rows' }),
    };
    const settings: AdamWOptions = {
      lr: 1e-3,
      masterWeights,
      ...('seed' in options && { seed: options.seed }),
    };
    using encoder = create(how);
    using optimizer = new AdamW(encoder.parameters(), settings);
    await steps(encoder, optimizer, 0, 3);
    using other = create(how);
    using again = new AdamW(other.parameters(), settings);
    for (const [place, { tensor }] of other.parameters().entries())
      tensor.copyFrom(encoder.parameters()[place]!.tensor);
    again.loadState(await optimizer.state());
    for (const [model, updates] of [
      [encoder, optimizer],
      [other, again],
    ] as const)
      await steps(model, updates, 3, 6);
    assert.deepEqual(await weightsOf(other), await weightsOf(encoder));
    assert.deepEqual(await again.state(), await optimizer.state());
  });

test('updates that are lost in bfloat16 are not where they are rounded by chance', async () => {
  const losses = async (how: CreateOptions, options: Partial<AdamWOptions>): Promise<number[]> => {
    using encoder = create(how);
    using optimizer = new AdamW(encoder.parameters(), { lr: 2e-4, weightDecay: 0, ...options });
    const { losses } = await steps(encoder, optimizer, 0, 60);
    return losses;
  };
  const wide = await losses({}, {});
  const chance = await losses({ weights: 'bfloat16' }, { masterWeights: 'none' });
  const fallen = (all: number[]): number => all[0]! - all.slice(-6).reduce((sum, each) => sum + each / 6, 0);
  assert.ok(fallen(wide) > 0.1, String(fallen(wide)));
  assert.ok(Math.abs(fallen(chance) / fallen(wide) - 1) < 0.25, `${fallen(chance)}, ${fallen(wide)}`);
});

test('settings that do not go together are refused, each by its name', async () => {
  using narrow = create({ weights: 'bfloat16' });
  using wide = create({});
  using rows = create({ weights: 'bfloat16', embeddingGradients: 'rows' });
  const make = (encoder: TextEncoder, options: object) => () => {
    new AdamW(encoder.parameters(), { lr: 1e-3, ...options }).dispose();
  };
  const wrong: [() => unknown, RegExp][] = [
    [make(narrow, {}), /masterWeights of AdamW is undefined; 'host' or 'none' for weights/],
    [make(wide, { masterWeights: 'none' }), /masterWeights of AdamW is "none"; weights of bfloat16/],
    [make(narrow, { masterWeights: 'device' }), /masterWeights of AdamW is "device"/],
    [make(narrow, { masterWeights: 'none', seed: -1 }), /seed is -1/],
    [
      make(narrow, { masterWeights: 'host', seed: 3 }),
      /seed of AdamW is 3; none unless masterWeights is 'none'/,
    ],
    [make(wide, { seed: 0 }), /seed of AdamW is 0; none unless/],
    [make(rows, { masterWeights: 'host' }), /'none' beside gradients of rows/],
    [
      () => create({ weights: 'bfloat16', precision: 'float32' }),
      /weights is "bfloat16"; precision 'bfloat16'/,
    ],
    [() => create({ weights: 'float16' as 'bfloat16' }), /weights is "float16"/],
  ];
  for (const [run, message] of wrong) assert.throws(run, fails('INPUT', message));
  using chance = new AdamW(narrow.parameters(), { lr: 1e-3, masterWeights: 'none' });
  await steps(narrow, chance, 0, 1);
  const state = await chance.state();
  using host = new AdamW(narrow.parameters(), { lr: 1e-3, masterWeights: 'host' });
  assert.throws(() => host.loadState(state), fails('CHECKPOINT', /master\.\S+ is missing/));
  // What is of weights with copies, or of tables by rows, is not passed over.
  const [name, tensor] = [...state].find(([key]) => key.startsWith('exp_avg.'))!;
  for (const other of ['master', 'rows']) {
    const key = name.replace('exp_avg', other);
    assert.throws(
      () => chance.loadState(new Map([...state, [key, tensor]])),
      fails('CHECKPOINT', /(master|rows)\.\S+ belongs to no parameter/),
    );
  }
  const updates = state.get('updates')!;
  for (const bytes of [updates.bytes.subarray(4), undefined as never])
    assert.throws(
      () => chance.loadState(new Map([...state, ['updates', { ...updates, bytes }]])),
      fails('CHECKPOINT', /updates (has shape|is no)/),
    );
  state.delete('updates');
  assert.throws(() => chance.loadState(state), fails('CHECKPOINT', /updates is missing/));
});
