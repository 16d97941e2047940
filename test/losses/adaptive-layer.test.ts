import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  adaptiveLayer,
  backward,
  call,
  GradCache,
  infoNCE,
  matryoshka2d,
  mse,
  ModuleEncoder,
  Tensor,
  TextEncoder,
  withGrad,
  type LossOptions,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { plainInfoNCE, tenTexts, textEncoder } from '../exactness/support.js';
import { assertClose } from '../oracle/compare.js';

const LAYERS = [3, 0, 1, 2];
const WIDTH = 5;

function rows(count: number, seed: number): Tensor {
  const values = Float64Array.from({ length: count * LAYERS.length * WIDTH }, (_, i) =>
    Math.sin(1 + i * 1.7 + seed * i * i),
  );
  return Tensor.from(values, { shape: [count, LAYERS.length * WIDTH] });
}

const at = (tower: Tensor, place: number): Tensor => tower.narrow(1, place * WIDTH, WIDTH);

/** Kullback-Leibler divergence of rows from those of the last layer, summed. */
function divergence(last: Tensor, inner: Tensor, temperature: number): Tensor {
  const logs = (tensor: Tensor): Tensor => call('aten::log_softmax.int', tensor.div(temperature), -1);
  const target = logs(last.detach());
  return target
    .exp()
    .mul(target.sub(logs(inner)))
    .sum();
}

const numbersOf = async (tensors: readonly (Tensor | null)[]): Promise<number[][]> =>
  Promise.all(tensors.map(async (each) => [...(await each!.values())].map(Number)));

test('the loss and its gradients are those of the plain sum over layers', async () => {
  const towers = [rows(6, 1), rows(6, 2), rows(4, 3)];
  const [last, prior, kl, temperature] = [0.75, 1.5, 2, 0.4] as const;
  const loss = adaptiveLayer(infoNCE({ temperature: 0.3 }), {
    layers: LAYERS,
    layersPerStep: 3,
    lastLayerWeight: last,
    priorLayersWeight: prior,
    klWeight: kl,
    klTemperature: temperature,
    layerWeighting: (layer) => 1 / (layer + 2),
  });
  const computed = await loss.compute(towers, 0.5, {});
  const leaves = towers.map((tower) => {
    const leaf = tower.clone();
    leaf.requiresGrad = true;
    return leaf;
  });
  const expected = withGrad(() => {
    const ranking = plainInfoNCE({ temperature: 0.3 });
    const plain = (place: number): Tensor => ranking(...leaves.map((leaf) => at(leaf, place)));
    const parts = [1, 2, 3].map((place) => {
      const weighed = plain(place).mul(prior / 3 / (LAYERS[place]! + 2));
      const apart = leaves
        .map((leaf) => divergence(at(leaf, 0), at(leaf, place), temperature))
        .reduce((sum, part) => sum.add(part));
      return weighed.add(apart.mul((kl * temperature) / 16));
    });
    return parts.reduce((sum, part) => sum.add(part), plain(0).mul(last));
  });
  await backward([expected], [null]);
  assert.ok(Math.abs(computed.loss - Number(expected.item())) < 1e-12 * computed.loss);
  const ours = await numbersOf(computed.gradients);
  const theirs = await numbersOf(leaves.map(({ grad }) => grad!.mul(0.5)));
  for (const [tower, numbers] of ours.entries())
    assertClose(numbers, theirs[tower]!, 1e-11, `tower ${tower}`);

  // A tower that is not trained gets no gradient, and changes none of the others'.
  const alone = await loss.compute(towers, 0.5, {}, [true, false, true]);
  assert.equal(alone.gradients[1], null);
  assert.equal(alone.loss, computed.loss);
  assert.deepEqual(await numbersOf([alone.gradients[0]!]), [ours[0]]);
});

/** A loss that tells which layer it gets, by the first number of its first row. */
function watching(towers: readonly Tensor[]) {
  const seen: number[] = [];
  const first = LAYERS.map((_, place) =>
    Number(at(towers[0]!, place).narrow(0, 0, 1).narrow(1, 0, 1).item()),
  );
  let failures = 0;
  const loss = (a: Tensor, b: Tensor): Tensor => {
    seen.push(LAYERS[first.indexOf(Number(a.narrow(0, 0, 1).narrow(1, 0, 1).item()))]!);
    if (failures > 0 && failures-- === 1) throw new Error('as asked');
    return a.mul(b).sum();
  };
  return { loss: withGradients(loss as never), seen, failAt: (call: number) => (failures = call) };
}

test('a step takes a drawn part of the layers: by the seed, by its number, every one in time', async () => {
  const towers = [rows(3, 1), rows(3, 2)];
  const drawn = async (seed: number, keyword?: number): Promise<number[]> => {
    const { loss, seen } = watching(towers);
    const wrapped = adaptiveLayer(loss, { layers: LAYERS, seed, layersPerStep: 2 });
    for (let step = 0; step < 12; step++)
      await wrapped.compute(towers, 1, keyword === undefined ? {} : { seed: keyword + step });
    return seen;
  };
  const first = await drawn(1);
  assert.equal(first.length, 36);
  for (let step = 0; step < 12; step++) {
    const [last, one, other] = first.slice(3 * step);
    assert.ok(last === 3 && one! < other!, 'the last layer, then others, none twice');
  }
  assert.deepEqual(await drawn(1), first);
  assert.notDeepEqual(await drawn(2), first);
  assert.deepEqual(new Set(first), new Set(LAYERS));
  assert.deepEqual(await drawn(2, 100), await drawn(1, 100), 'the keyword argument seed decides alone');
});

test('a step that fails counts for nothing', async () => {
  const towers = [rows(3, 1), rows(3, 2)];
  const { loss, seen, failAt } = watching(towers);
  const wrapped = adaptiveLayer(loss, { layers: LAYERS });
  failAt(2);
  await assert.rejects(wrapped.compute(towers, 1, {}), /as asked/);
  await wrapped.compute(towers, 1, {});
  assert.deepEqual(seen.slice(2), seen.slice(0, 2));
});

test('at each layer lengths are drawn anew, by the one keyword argument seed', async () => {
  const towers = [rows(3, 1), rows(3, 2)];
  const lengths: number[] = [];
  const loss = (a: Tensor, b: Tensor): Tensor => {
    lengths.push(a.shape[1]!);
    return a.mul(b).sum();
  };
  const make = () => matryoshka2d(loss, { layers: LAYERS, layersPerStep: 3, dimensions: [5, 4, 3, 2, 1] });
  for (let seed = 0; seed < 5; seed++) await make().compute(towers, 1, { seed });
  const first = lengths.splice(0);
  assert.equal(first.length, 20);
  for (let seed = 0; seed < 5; seed++) await make().compute(towers, 1, { seed });
  assert.deepEqual(lengths, first);
  const [one] = Array.from({ length: 5 }, (_, step) => new Set(first.slice(4 * step, 4 * step + 4)).size);
  assert.ok(one! > 1, 'not the same length at all layers');
});

test('what does not fit is refused', async () => {
  const refusals: [object, RegExp][] = [
    [{}, /layers is undefined/],
    [{ layers: 'all' }, /layers is "all"; the layers of an encoder/],
    [{ layers: [3] }, /layers is \[3\]/],
    [{ layers: [0, 3] }, /layers is \[0,3\]/],
    [{ layers: [3, 1, 1] }, /layers is \[3,1,1\]/],
    [{ layers: [3, 2, 1] }, /layers is \[3,2,1\]/],
    [{ layers: [3, 0.5] }, /layers\[1\] is 0.5/],
    [{ layers: LAYERS, layersPerStep: 4 }, /layersPerStep is 4; a whole number from 1 to 3/],
    [{ layers: LAYERS, layersPerStep: 0 }, /layersPerStep is 0/],
    [{ layers: LAYERS, lastLayerWeight: -1 }, /lastLayerWeight is -1/],
    [{ layers: LAYERS, klWeight: NaN }, /klWeight is NaN/],
    [{ layers: LAYERS, klTemperature: -0.3 }, /klTemperature is -0.3/],
    [{ layers: LAYERS, layerWeighting: 'cubic' }, /layerWeighting is "cubic"; 'uniform', 'log', 'linear'/],
    [{ layers: LAYERS, layerWeighting: () => 'much' }, /layerWeighting\(0\) is "much"/],
    [{ layers: LAYERS, seed: -1 }, /seed is -1/],
    [{ layer: LAYERS }, /did you mean layers/],
  ];
  for (const [options, message] of refusals)
    assert.throws(() => adaptiveLayer(infoNCE(), options as never), { code: 'INPUT', message });
  const odd = Tensor.from(new Float64Array(6), { shape: [2, 3] });
  await assert.rejects(adaptiveLayer(infoNCE(), { layers: LAYERS }).compute([odd, odd], 1, {}), {
    code: 'SHAPE',
    message: /tower 0 have 3 numbers, which are not those of 4 layers/,
  });
  const taught = adaptiveLayer(mse(), { layers: LAYERS });
  const labels = (length: number): LossOptions => ({ labels: [new Float64Array(length)] });
  taught.checkOptions!(labels(WIDTH), [1, 1], [20, 20]);
  assert.throws(
    () => {
      taught.checkOptions!(labels(20), [1, 1], [20, 20]);
    },
    { code: 'SHAPE', message: /have 20 numbers, the model's 5/ },
  );
  const silent = { parameters: () => [], compute: async () => ({ loss: 1, gradients: [null, null] }) };
  await assert.rejects(adaptiveLayer(silent, { layers: LAYERS }).compute([rows(2, 1), rows(2, 2)], 1, {}), {
    code: 'INPUT',
    message: /gave no gradient for the representations of tower 0/,
  });
});

test('an encoder and a loss of other layers are refused together', async () => {
  const config = {
    ...{ model_type: 'bert', vocab_size: 97, hidden_size: 24, num_hidden_layers: 3, num_attention_heads: 3 },
    ...{ intermediate_size: 20, max_position_embeddings: 40 },
  };
  const tokenizer = await smallTokenizer(97);
  const make = (layers?: 'all' | number[]) =>
    TextEncoder.create(config, tokenizer, { ...(layers && { layers }) });
  const plain = await textEncoder('float32');
  const some = make([2, 0, 3]);
  assert.deepEqual([some.layers, some.dimension, some.trainedDimension], [[3, 0, 2], 24, 72]);
  assert.deepEqual([plain.layers, plain.trainedDimension], [[2], 24]);
  for (const [encoder, loss, message] of [
    [
      some,
      infoNCE(),
      /encoders\[0\] gives the representations of the layers 3, 0, 2, and .* of its last layer/,
    ],
    [
      plain,
      adaptiveLayer(infoNCE(), { layers: some.layers }),
      /of its last layer, and .* the layers 3, 0, 2/,
    ],
    [make('all'), adaptiveLayer(infoNCE(), { layers: some.layers }), /the layers 3, 0, 1, 2, and/],
  ] as const)
    assert.throws(() => new GradCache({ encoders: [encoder, encoder], loss }), { code: 'INPUT', message });
  for (const [layers, message] of [
    [[4], /layers\[0\] is 4; a whole number from 0 to 3, the last layer/],
    [[], /layers is \[\]; 'all', or a list/],
    [[1, 1], /layers is \[1,1\]/],
    [[-1], /layers\[0\] is -1/],
    ['none', /layers is "none"/],
  ] as const)
    assert.throws(() => TextEncoder.create(config, tokenizer, { layers: layers as never }), {
      code: 'INPUT',
      message,
    });
  assert.throws(() => TextEncoder.create(config, tokenizer, { pooling: 'splade', layers: 'all' }), {
    code: 'INPUT',
    message: /layers is "all"; no such option/,
  });
  const loss = adaptiveLayer(infoNCE(), { layers: some.layers });
  const before = await new GradCache({ encoders: [some, some], loss }).step([tenTexts(1), tenTexts(2)]);
  assert.ok(Number.isFinite(before.loss));
  for (const encoder of [plain, some]) encoder.dispose();
});

test('a module may give layers of its own', async () => {
  const weight = Tensor.from(
    Float64Array.from({ length: 12 }, (_, k) => Math.cos(k)),
    { shape: [3, 4] },
  );
  weight.requiresGrad = true;
  const encoder = new ModuleEncoder({
    layers: [1, 0],
    forward: (input: Tensor): Tensor => input.matmul(weight),
    parameters: () => [{ name: 'weight', tensor: weight, decay: true }],
  });
  const loss = adaptiveLayer((a: Tensor, b: Tensor, _: LossOptions) => a.sub(b).mul(a.sub(b)).sum(), {
    layers: encoder.layers!,
  });
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss });
  const inputs = [1, 2].map((seed) =>
    Tensor.from(
      Float64Array.from({ length: 12 }, (_, k) => Math.sin(k * seed)),
      { shape: [4, 3] },
    ),
  );
  const { loss: value } = await gradcache.step(inputs);
  assert.ok(value > 0);
  assert.ok((await weight.grad!.values()).some((number) => number !== 0));
});
