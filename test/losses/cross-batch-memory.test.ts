import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  call,
  crossBatchMemory,
  gistEmbed,
  GradCache,
  infoNCE,
  matryoshka,
  ModuleEncoder,
  MomentumEncoder,
  multipleNegativesRanking,
  ntXent,
  RepresentationCache,
  sigLIP,
  Tensor,
  type AnyEncoder,
  type CrossBatchMemory,
  type LossOptions,
  type LossWithGradients,
  type Parameter,
} from '../../lib/index.js';
import { withGradients } from '../../lib/losses/loss.js';
import { assertClose } from '../oracle/compare.js';

function rows(count: number, seed: number, dimension = 4): Tensor {
  const values = Float64Array.from({ length: count * dimension }, (_, i) =>
    Math.sin(i * 1.7 + seed * 3.1 + i * i),
  );
  return Tensor.from(values, { shape: [count, dimension] });
}

const list = async (tensor: Tensor | null): Promise<number[]> =>
  tensor === null ? [] : [...((await tensor.values()) as Float64Array)];

/** Gives a memory a batch of two towers whose kept rows hold these numbers. */
async function keep(memory: LossWithGradients, numbers: readonly number[], options: LossOptions = {}) {
  const kept = Tensor.from(Float64Array.from(numbers.flatMap((number) => [number, 1])), {
    shape: [numbers.length, 2],
  });
  return memory.compute([rows(numbers.length, 1, 2), kept], 1, options);
}

const firsts = async (memory: CrossBatchMemory) =>
  (await list(memory.rows())).filter((_, place) => place % 2 === 0);

test('rows leave one by one in the order in which they came, whatever the capacity', async () => {
  for (const capacity of [1, 2, 3, 4, 5, 6, 7, 9, 40]) {
    const memory = crossBatchMemory(infoNCE(), { capacity });
    const all: number[] = [];
    for (let step = 0; step < 6; step++) {
      const batch = Array.from({ length: step === 3 ? 5 : 3 }, (_, row) => 10 * step + row);
      await keep(memory, batch);
      all.push(...batch);
      assert.deepEqual(await firsts(memory), all.slice(-capacity), `capacity ${capacity}, step ${step}`);
      assert.equal(memory.size, Math.min(capacity, all.length));
    }
  }
});

test('the rows are candidates like hard negatives, without a gradient of their own', async () => {
  for (const make of [() => infoNCE({ symmetric: true }), () => sigLIP(), () => ntXent()]) {
    const memory = crossBatchMemory(make(), { capacity: 10 });
    const first = [rows(4, 1), rows(4, 2)];
    const second = [rows(3, 3), rows(3, 4)];
    await memory.compute(first, 1, {});
    const ours = await memory.compute(second, 0.5, {});
    const expected = await make().compute([...second, first[1]!], 0.5, {});
    assert.equal(ours.loss, expected.loss);
    assert.equal(ours.gradients.length, 2);
    for (const tower of [0, 1])
      assert.deepEqual(await list(ours.gradients[tower]!), await list(expected.gradients[tower]!));
  }
});

test("the rows are nobody's hard negatives, however many there are", async () => {
  const make: Record<string, () => LossWithGradients> = {
    hard: () => infoNCE({ hardnessMode: 'hard_negatives', hardnessStrength: 2 }),
    inBatch: () => infoNCE({ hardnessMode: 'in_batch_negatives', hardnessStrength: 2 }),
    documents: () =>
      multipleNegativesRanking({ directions: ['query_to_doc', 'doc_to_doc'], partitionMode: 'joint' }),
    plain: () => infoNCE(),
    shorter: () =>
      matryoshka(infoNCE({ hardnessMode: 'hard_negatives', hardnessStrength: 2 }), { dimensions: [4, 2] }),
  };
  for (const [name, loss] of Object.entries(make)) {
    for (const negatives of [0, 1]) {
      const towers = (seed: number) => [1, 2, ...(negatives > 0 ? [3] : [])].map((k) => rows(3, seed + k));
      for (const kept of [3, 2]) {
        for (const given of [undefined, [2, -1, 0]]) {
          if (given !== undefined && negatives === 0) continue;
          const memory = crossBatchMemory(loss(), { capacity: kept });
          await memory.compute(towers(10), 1, {});
          const owners = [
            ...(given ?? [0, 1, 2].slice(0, 3 * negatives)),
            ...new Array<number>(kept).fill(-1),
          ];
          const expected = await loss().compute([...towers(20), memory.rows()!], 1, { owners });
          const ours = await memory.compute(towers(20), 1, given === undefined ? {} : { owners: given });
          const title = `${name}, ${negatives} hard negatives, ${kept} rows`;
          assert.equal(ours.loss, expected.loss, title);
          for (const tower of towers(0).keys())
            assert.deepEqual(
              await list(ours.gradients[tower]!),
              await list(expected.gradients[tower]!),
              title,
            );
        }
      }
    }
  }
});

test("a loss function gets them as one more tensor in every step; learned numbers are the optimizer's", async () => {
  const seen: number[][] = [];
  const own = (...given: (Tensor & LossOptions)[]) => {
    const [a, b, memory, options] = given as unknown as [Tensor, Tensor, Tensor, LossOptions];
    seen.push([memory.shape[0]!, options.margin as number]);
    return a.mul(b).sum().add(memory.sum());
  };
  const memory = crossBatchMemory(own, { capacity: 4, start: 1 });
  for (let step = 0; step < 4; step++) await memory.compute([rows(3, 1), rows(3, 2)], 1, { margin: step });
  assert.deepEqual(seen, [
    [0, 0],
    [0, 1],
    [3, 2],
    [4, 3],
  ]);
  const learned = infoNCE({ temperature: { initial: 0.1, learned: true } });
  assert.deepEqual(crossBatchMemory(learned, { capacity: 4 }).parameters(), learned.parameters());
});

test('a memory that holds the batch itself changes nothing: rows are told apart by identity', async () => {
  const batch = [rows(5, 1), rows(5, 2)];
  const ids = ['a', 'b', 'c', ['d', 'the text of d'], 7];
  const expected = await infoNCE().compute(batch, 1, {});
  const memory = crossBatchMemory(infoNCE(), { capacity: 50 });
  for (let step = 0; step < 3; step++) {
    const ours = await memory.compute(batch, 1, { ids });
    assert.equal(ours.loss, expected.loss, `step ${step}`);
    assert.deepEqual(await list(ours.gradients[0]!), await list(expected.gradients[0]!));
  }
  // Rows with the same numbers and other identities are others, however near they are; so are rows without identity.
  const others = await memory.compute(batch, 1, { ids: ['v', 'w', 'x', 'y', 'z'] });
  assert.ok(others.loss > expected.loss + 0.1);
  // One shared identity of several is enough: the copies of d go, and those of the four others stay.
  const left = crossBatchMemory(infoNCE(), { capacity: 50 });
  await left.compute(batch, 1, { ids });
  const partly = await left.compute(batch, 1, { ids: [1, 2, 3, 'the text of d', 4] });
  const four = batch[1]!.indexSelect(0, Tensor.from([0, 1, 2, 4], { dtype: 'int64' }));
  assert.equal(partly.loss, (await infoNCE().compute([...batch, four], 1, {})).loss);
});

const GIST = { threshold: 2, temperature: 0.1, contrastAnchors: false, contrastPositives: false };

test('identities go on to a loss that takes them, and are none of rows of the memory', async () => {
  const ids = ['a', ['b', 'a'], 'c'];
  const first = ['x', 'y', 'z'];
  const make: Record<string, () => LossWithGradients> = {
    infoNCE: () => infoNCE({ symmetric: true }),
    shorter: () => matryoshka(infoNCE(), { dimensions: [4, 2] }),
    gistEmbed: () => gistEmbed({ ...GIST, guide: 'self' }),
  };
  for (const [name, loss] of Object.entries(make))
    for (const negatives of [0, 1])
      for (const kept of [2, 3]) {
        const towers = (seed: number) => [1, 2, ...(negatives > 0 ? [3] : [])].map((k) => rows(3, seed + k));
        const memory = crossBatchMemory(loss(), { capacity: kept });
        await memory.compute(towers(10), 1, { ids: first });
        memory.checkOptions!(
          { ids },
          towers(20).map(() => 3),
        );
        const owners = [...[0, 1, 2].slice(0, 3 * negatives), ...new Array<number>(memory.size).fill(-1)];
        const whole = await loss().compute([...towers(20), memory.rows()!], 1, { ids, owners });
        const without = await loss().compute([...towers(20), memory.rows()!], 1, {});
        const ours = await memory.compute(towers(20), 1, { ids });
        const title = `${name}, ${negatives} hard negatives, ${kept} rows`;
        assert.equal(ours.loss, whole.loss, title);
        assert.ok(ours.loss < without.loss - 1e-3, `${title}: ${ours.loss}, ${without.loss}`);
        for (const tower of towers(0).keys())
          assert.deepEqual(await list(ours.gradients[tower]!), await list(whole.gradients[tower]!), title);
      }
  // Where they are for the memory alone, and where the loss takes none.
  for (const loss of [() => infoNCE(), () => sigLIP(), () => ntXent()]) {
    const memory = crossBatchMemory(loss(), { capacity: 4, passIds: false });
    const result = await memory.compute([rows(3, 1), rows(3, 2)], 1, { ids });
    assert.equal(result.loss, (await loss().compute([rows(3, 1), rows(3, 2)], 1, {})).loss);
  }
});

test('rows that are to join a batch are counted before its step', async () => {
  const memory = crossBatchMemory(infoNCE(), { capacity: 4 });
  assert.equal(memory.joining(['a', 'b']), 0);
  await memory.compute([rows(3, 1), rows(3, 2)], 1, { ids: ['a', ['b', 'c'], 'd'] });
  assert.deepEqual(
    [memory.joining(['e', 'f']), memory.joining(['a', 'e']), memory.joining([['c', 'a'], 'd'])],
    [3, 2, 0],
  );
  assert.equal(memory.size, 3);
  assert.throws(() => memory.joining('a' as never), { code: 'INPUT', message: /ids is "a"; a list/ });
  assert.throws(() => memory.joining([-1]), { code: 'INPUT', message: /an identity of row 0 is -1/ });
});

test('keyword arguments are refused before a batch is encoded', async () => {
  let encoded = 0;
  const encoder = new ModuleEncoder({
    forward: (input: Tensor) => {
      encoded++;
      return input.mul(1);
    },
    parameters: (): Parameter[] => [],
  });
  const memory = crossBatchMemory(infoNCE({ hardnessMode: 'hard_negatives', hardnessStrength: 1 }), {
    capacity: 4,
  });
  const gradcache = new GradCache({
    encoders: [encoder, encoder] as AnyEncoder[],
    loss: memory,
    chunk: { sequences: 2 },
  });
  const batch = [rows(3, 1), rows(3, 2)];
  await keepWide(memory, batch);
  const wrong: [LossOptions, object][] = [
    [{ ids: ['a'] }, { code: 'SHAPE', message: /1 ids for 3 rows/ }],
    [{ ids: [1, 2, 0.5] }, { code: 'INPUT', message: /identity of row 2 is 0\.5/ }],
    [{ labels: [1, 2, 3] }, { code: 'INPUT', message: /no labels/ }],
    [{ weights: [1, 2] }, { code: 'SHAPE', message: /2 weights for 3 anchors/ }],
    [{ target: [0, 1, 2] }, { code: 'INPUT', message: /target/ }],
    [{ owners: [0] }, { code: 'SHAPE', message: /owners/ }],
  ];
  for (const [loss, error] of wrong) {
    await assert.rejects(gradcache.step(batch, { loss }), error);
    assert.equal(encoded, 0, JSON.stringify(loss));
  }
  const far = new GradCache({
    encoders: [encoder, encoder] as AnyEncoder[],
    loss: crossBatchMemory(infoNCE(), { capacity: 4, tower: 2 }),
    chunk: { sequences: 2 },
  });
  await assert.rejects(far.step(batch), { code: 'INPUT', message: /keeps tower 2.*given 2/ });
  assert.equal(encoded, 0);
  assert.throws(() => memory.checkOptions!(null as never, [3, 3]), { code: 'INPUT' });
  assert.throws(() => memory.checkOptions!({}, 3 as never), { code: 'INPUT' });
});

const keepWide = (memory: LossWithGradients, batch: Tensor[]) => memory.compute(batch, 1, {});

test('a step that fails after the loss leaves the memory as it was, a step that succeeds keeps its batch', async () => {
  const memory = crossBatchMemory(infoNCE(), { capacity: 4 });
  await keep(memory, [1, 2, 3]);
  for (const fails of [true, false]) {
    const cache = new RepresentationCache([2, 2]);
    for (const tower of [0, 1]) cache.put(tower, Int32Array.of(0, 1), rows(2, tower, 2));
    const before = await firsts(memory);
    await cache.compute(memory);
    const after = await firsts(memory);
    assert.deepEqual(after.slice(0, 2), [2, 3]);
    if (fails) cache.restore();
    cache.dispose();
    assert.deepEqual(await firsts(memory), fails ? before : after);
  }
  // The first batch of all can fail too.
  const empty = crossBatchMemory(infoNCE(), { capacity: 4 });
  const result = await keep(empty, [1, 2]);
  result.undo!.restore();
  result.undo!.dispose();
  assert.equal(empty.rows(), null);
});

test('a state goes on as the memory that it was taken from', async () => {
  const make = () => crossBatchMemory(infoNCE(), { capacity: 5, start: 1 });
  const memory = make();
  const again = make();
  const losses: number[][] = [];
  for (let step = 0; step < 5; step++) {
    again.loadState(await memory.state());
    const ids = [step, `text ${step}`, [step + 1, step + 2]];
    const both = [memory, again].map((each) => keep(each, [step, step + 0.25, step + 0.5], { ids }));
    losses.push((await Promise.all(both)).map(({ loss }) => loss));
    assert.deepEqual(await firsts(again), await firsts(memory));
  }
  for (const [one, other] of losses) assert.equal(one, other);
  assert.notEqual(losses[0]![0], losses[4]![0]);
  const state = await memory.state();
  assert.throws(() => crossBatchMemory(infoNCE(), { capacity: 4 }).loadState(state), { code: 'CHECKPOINT' });
  assert.throws(() => make().loadState(new Map()), {
    code: 'CHECKPOINT',
    message: /memory.steps is missing/,
  });
  for (const [name, tensor] of state)
    for (const odd of [{ ...tensor, bytes: tensor.bytes.subarray(1) }, {}, null])
      assert.throws(() => make().loadState(new Map(state).set(name, odd as never)), {
        code: 'CHECKPOINT',
        message: new RegExp(name),
      });
  assert.throws(() => make().loadState(undefined as never), {
    code: 'INPUT',
    message: /the state of the memory/,
  });
  state.delete('memory.ids');
  assert.throws(() => make().loadState(state), { code: 'CHECKPOINT', message: /memory.ids/ });
});

test('what does not fit is refused, with the memory as it was', async () => {
  for (const options of [
    {},
    { capacity: 0 },
    { capacity: 2, start: -1 },
    { capacity: 2, joins: 1 },
    { capacity: 2, passIds: 'no' },
    { size: 1 },
  ])
    assert.throws(() => crossBatchMemory(infoNCE(), options as never), { code: 'INPUT' });
  assert.throws(() => crossBatchMemory(3 as never, { capacity: 1 }), { code: 'INPUT' });
  const memory = crossBatchMemory(infoNCE(), { capacity: 4 });
  await keep(memory, [1, 2], { ids: ['a', 'b'] });
  const refusals: [Tensor[], LossOptions, object][] = [
    [[rows(2, 1, 2), rows(2, 1, 2)], { ids: ['a'] }, { code: 'SHAPE', message: /1 ids for 2 rows/ }],
    [
      [rows(2, 1, 2), rows(2, 1, 2)],
      { ids: [0.5, 1] },
      { code: 'INPUT', message: /identity of row 0 is 0\.5/ },
    ],
    [[rows(2, 1, 2), rows(2, 1, 2)], { labels: [1, 2] }, { code: 'INPUT', message: /no labels/ }],
    [[rows(2, 1, 3), rows(2, 1, 3)], {}, { code: 'SHAPE', message: /dimension 2.*dimension 3/ }],
    [[rows(2, 1, 2), rows(2, 1, 2)].map((each) => each.to({ dtype: 'float32' })), {}, { code: 'DTYPE' }],
    [[rows(2, 1, 2), rows(2, 1, 2)], { target: [0, 1] }, { code: 'INPUT' }],
    [
      [Tensor.from(Float64Array.of(NaN, 1, 1, 1), { shape: [2, 2] }), rows(2, 1, 2)],
      {},
      { code: 'NON_FINITE' },
    ],
  ];
  for (const [towers, options, error] of refusals) {
    await assert.rejects(memory.compute(towers, 1, options), error);
    assert.deepEqual(await firsts(memory), [1, 2]);
  }
  const far = crossBatchMemory(infoNCE(), { capacity: 4, tower: 3 });
  await assert.rejects(keep(far, [1]), { code: 'INPUT', message: /keeps tower 3.*given 2/ });
  const apart = crossBatchMemory(infoNCE(), { capacity: 4, tower: 1, joins: false });
  await assert.rejects(keep(apart, [1]), { code: 'INPUT', message: /MomentumEncoder/ });
});

/** A linear map in float64. */
function linear(seed: number) {
  const weight = rows(5, seed, 3);
  weight.requiresGrad = true;
  const parameters: Parameter[] = [{ name: 'weight', tensor: weight, decay: true }];
  return { forward: (input: Tensor) => input.linear(weight), parameters: () => parameters };
}

test('steps with a momentum encoder have the gradients of one graph, and its rows are those of the slow weights', async () => {
  const module = linear(1);
  const model = new ModuleEncoder(module);
  const slow = linear(2);
  const momentum = new MomentumEncoder(model, new ModuleEncoder(slow), { momentum: 0.9 });
  const weights = async () => list(slow.parameters()[0]!.tensor.detach());
  assert.deepEqual(await weights(), await list(module.parameters()[0]!.tensor.detach()));

  const memory = crossBatchMemory(infoNCE({ temperature: 0.3 }), { capacity: 7, tower: 2, joins: false });
  const gradcache = new GradCache({
    encoders: [model, model, momentum],
    loss: memory,
    chunk: { sequences: 2 },
  });
  const { tensor } = module.parameters()[0]!;
  let kept: Tensor[] = [];
  for (let step = 0; step < 4; step++) {
    const [a, b] = [rows(5, 10 + step, 3), rows(5, 20 + step, 3)];
    const constants = kept.length === 0 ? [] : [call<Tensor>('aten::cat', kept, 0)];
    const plain = (...given: (Tensor & LossOptions)[]) => {
      const [anchors, ...others] = given.slice(0, -1).map((tower) => tower.normalize());
      const candidates: Tensor = call(
        'aten::cat',
        [...others, ...constants.map((tower) => tower.normalize())],
        0,
      );
      const targets = Tensor.from([0, 1, 2, 3, 4], { dtype: 'int64' });
      return call<Tensor>('aten::cross_entropy_loss', anchors!.matmul(candidates.t()).div(0.3), targets);
    };
    tensor.grad = null;
    const whole = new GradCache({
      encoders: [model, model] as AnyEncoder[],
      loss: plain,
      chunk: { sequences: 100 },
    });
    const { loss: expected } = await whole.step([a, b]);
    const gradient = await list(tensor.grad);
    tensor.grad = null;
    const { loss, chunks } = await gradcache.step([a, b, b]);
    assert.equal(chunks, 9);
    assertClose([loss], [expected], 1e-12, `step ${step}`);
    assertClose(await list(tensor.grad), gradient, 1e-10, `step ${step}`);

    const encoded = b.linear(slow.parameters()[0]!.tensor.detach());
    kept = [...kept, encoded];
    const all = await list(call('aten::cat', kept, 0));
    assertClose(await list(memory.rows()), all.slice(-7 * 5), 1e-14, 'rows');
    kept = [Tensor.from(Float64Array.from(all.slice(-7 * 5)), { shape: [Math.min(7, all.length / 5), 5] })];

    // An update of the model, and a tenth of the way after it.
    const before = await weights();
    tensor.copyFrom(tensor.detach().mul(1.1));
    await momentum.update();
    const now = await list(tensor.detach());
    const expectedWeights = before.map((value, k) => value + 0.1 * (now[k]! - value));
    assertClose(await weights(), expectedWeights, 1e-14, 'weights');
  }
  assert.deepEqual(momentum.parameters(), []);
  assert.deepEqual(withGradients(memory).parameters(), []);
});

test('a momentum encoder refuses what is no copy', () => {
  const model = new ModuleEncoder(linear(1));
  assert.throws(() => new MomentumEncoder(model, model), { code: 'INPUT', message: /is the model itself/ });
  for (const momentum of [-0.1, 1.1, NaN])
    assert.throws(() => new MomentumEncoder(model, new ModuleEncoder(linear(1)), { momentum }), {
      code: 'INPUT',
    });
  const other = { forward: (input: Tensor) => input, parameters: (): Parameter[] => [] };
  assert.throws(() => new MomentumEncoder(model, new ModuleEncoder(other)), {
    message: /no parameter weight/,
  });
});
