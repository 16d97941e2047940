import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  backward,
  call,
  GradCache,
  infoNCE,
  ModuleEncoder,
  RepresentationCache,
  Tensor,
  withGrad,
  withSeed,
  type LossOptions,
  type Module,
  type PackedRepresentations,
  type Parameter,
  type Verdict,
} from '../../lib/index.js';
import { clear, device, gradients } from '../exactness/support.js';
import { assertSameGradients } from '../oracle/compare.js';
import { fails } from '../robustness/failures.js';

const random = (shape: number[], seed: number): Tensor =>
  withSeed(seed, () => call('aten::randn', shape, { dtype: 'float32' })).to({ dtype: 'float64', device });

type Tokens = { tokens: Tensor; lengths: Tensor };

/** Texts of up to five tokens, given as features: a representation for each token that there is. */
class TokenLevel implements Module<Tokens> {
  readonly #weight: Parameter;

  constructor(seed: number) {
    const tensor = random([3, 4], seed);
    tensor.requiresGrad = true;
    this.#weight = { name: 'weight', tensor, decay: true };
  }

  forward({ tokens, lengths }: Tokens): PackedRepresentations {
    const counts = Int32Array.from(lengths.valuesSync() as BigInt64Array, Number);
    const parts = Array.from(counts, (count, row) =>
      tokens.narrow(0, row, 1).reshape([5, 4]).narrow(0, 0, count),
    );
    const packed: Tensor = call('aten::cat', parts, 0);
    return { representations: packed.linear(this.#weight.tensor).tanh(), counts };
  }

  parameters(): Parameter[] {
    return [this.#weight];
  }
}

const batchOf = (lengths: readonly number[], seed: number): Tokens => ({
  tokens: random([lengths.length, 5, 4], seed),
  lengths: Tensor.from(lengths, { dtype: 'int64', device }),
});

/** ColBERT's: each token of an anchor against the best of a candidate's, summed; then which candidate is the anchor's. */
function maxSim(a: Tensor, b: Tensor, options: LossOptions): Tensor {
  const [ofA, ofB] = options.offsets as readonly Int32Array[];
  const similarities = a.matmul(b.t());
  const spans = (offsets: Int32Array) =>
    Array.from(offsets.subarray(1), (end, row) => [offsets[row]!, end - offsets[row]!] as const);
  const scores: Tensor[] = spans(ofA!).map(([first, count]) => {
    const ofRow = similarities.narrow(0, first, count);
    const best = spans(ofB!).map(([start, width]): Tensor =>
      call('aten::amax', ofRow.narrow(1, start, width), [1]),
    );
    return call<Tensor>('aten::stack', best, 1).sum(0);
  });
  const wanted = Tensor.from(
    scores.map((_, row) => row),
    { dtype: 'int64', device },
  );
  return call('aten::cross_entropy_loss', call('aten::stack', scores), wanted);
}

const offsetsOf = (counts: readonly number[]): Int32Array =>
  Int32Array.from(
    [0, ...counts].map((_, row) => counts.slice(0, row).reduce((sum, count) => sum + count, 0)),
  );

for (const tied of [true, false]) {
  test(`rows of several representations have the gradient of the full batch: ${tied ? 'tied' : 'untied'} towers`, async () => {
    const modules = tied ? [new TokenLevel(1)] : [new TokenLevel(1), new TokenLevel(2)];
    const lengths = [
      [3, 1, 5, 2, 2, 4, 1],
      [2, 5, 1, 1, 4, 3, 5],
    ];
    const batches = lengths.map((counts, tower) => batchOf(counts, 10 + tower));
    const expected = await (async () => {
      const root = withGrad(() => {
        const [a, b] = batches.map(
          (batch, tower) => modules[tied ? 0 : tower]!.forward(batch).representations,
        );
        return maxSim(a!, b!, { offsets: lengths.map(offsetsOf) });
      });
      await backward([root], [null]);
      const result = { loss: root.item(), gradients: await gradients(modules) };
      clear(modules);
      return result;
    })();
    const encoders = modules.map((module) => new ModuleEncoder(module));
    for (const retain of ['last', { bytes: 0 }] as const) {
      for (const sequences of [1, 3, 7]) {
        const gradcache = new GradCache({
          encoders: [encoders[0]!, encoders.at(-1)!],
          loss: maxSim,
          chunk: [{ sequences }, { sequences: 2 }],
          retain,
        });
        const { loss, pairs } = await gradcache.step(batches);
        assert.equal(pairs, 7);
        assert.ok(Math.abs(loss - expected.loss) < 1e-12, `${loss} for ${expected.loss}`);
        assertSameGradients(await gradients(modules), expected.gradients, 1e-12, `chunks of ${sequences}`);
        clear(modules);
      }
    }
    const refusing = new GradCache({ encoders: [encoders[0]!, encoders.at(-1)!], loss: infoNCE() });
    await assert.rejects(refusing.step(batches), fails('INPUT', /several representations a row/));
  });
}

test('a batch whose rows have several representations is judged as a whole', async () => {
  const module = new TokenLevel(1);
  const encoder = new ModuleEncoder(module);
  const batches = [batchOf([3, 1], 10), batchOf([2, 5], 11)];
  const judged = (verdict: Verdict) =>
    new GradCache({ encoders: [encoder, encoder], loss: maxSim, curate: () => verdict }).step(batches);
  assert.equal((await judged('accept')).pairs, 2);
  clear([module]);
  // The fourth representation is there, the fourth row is not.
  for (const keep of [[1], [3]])
    await assert.rejects(judged({ keep }), fails('INPUT', /several representations a row: curate accepts/));
});

/** Two rows of three and one with one representation, each element telling where it belongs. */
async function filled(): Promise<RepresentationCache> {
  const cache = new RepresentationCache([4]);
  cache.put(0, Int32Array.of(2, 0), Tensor.from([20, 21, 22, 0], { shape: [4, 1] }), Int32Array.of(3, 1));
  assert.equal(cache.offsets(0), null);
  assert.throws(() => cache.representations(0), fails('INPUT', /2 of 4/));
  cache.put(0, Int32Array.of(3, 1), Tensor.from([30, 10, 11], { shape: [3, 1] }), Int32Array.of(1, 2));
  return cache;
}

test('representations lie in the order of their rows, whatever the order of the chunks', async () => {
  const cache = await filled();
  assert.deepEqual(Array.from(cache.offsets(0)!), [0, 1, 3, 6, 7]);
  const order = [0, 10, 11, 20, 21, 22, 30];
  assert.deepEqual(Array.from((await cache.representations(0).values()) as Float32Array), order);
  // The gradient of half the square is the value itself.
  const loss = (a: Tensor): Tensor => a.mul(a).sum().div(2);
  await cache.compute(loss);
  cache.releaseRepresentations();
  for (const rows of [[0, 1, 2, 3], [3, 1], [2]]) {
    const gradient = cache.gradients(0, Int32Array.from(rows));
    assert.deepEqual(
      Array.from((await gradient.values()) as Float32Array),
      rows.flatMap((row) => order.filter((value) => Math.floor(value / 10) === row)),
    );
  }
  cache.dispose();
});

test('what the loss is told of rows with several representations', async () => {
  const told: unknown[] = [];
  const loss = (...args: unknown[]): Tensor => {
    told.push(args.at(-1));
    return (args as Tensor[]).slice(0, -1).reduce((sum, tensor) => sum.add(tensor.sum()), Tensor.from(0));
  };
  const cache = new RepresentationCache([2, 1]);
  cache.put(0, Int32Array.of(0, 1), Tensor.from([1, 2, 3], { shape: [3, 1] }), Int32Array.of(2, 1));
  cache.put(1, Int32Array.of(0), Tensor.from([1], { shape: [1, 1] }));
  await cache.compute(loss, { own: 1 });
  assert.deepEqual(told, [{ own: 1, offsets: [Int32Array.of(0, 2, 3), null] }]);
  await assert.rejects(cache.compute(loss, { offsets: [] }), fails('INPUT', /offsets/));
  const ones = new RepresentationCache([1]);
  ones.put(0, Int32Array.of(0), Tensor.from([1], { shape: [1, 1] }));
  await ones.compute(loss, { offsets: 'of its own' });
  assert.deepEqual(told[1], { offsets: 'of its own' });
  assert.equal(ones.offsets(0), null);
});

test('numbers of representations that do not fit are refused, and nothing of the chunk is kept', () => {
  const three = Tensor.from([1, 2, 3], { shape: [3, 1] });
  const rows = Int32Array.of(0, 1);
  const cache = new RepresentationCache([4]);
  for (const [counts, code] of [
    [[2, 1], 'INPUT'],
    [Int32Array.of(3), 'SHAPE'],
    [Int32Array.of(2, 2), 'SHAPE'],
    [Int32Array.of(3, 0), 'INPUT'],
    [Int32Array.of(4, -1), 'INPUT'],
  ] as const)
    assert.throws(() => cache.put(0, rows, three, counts as Int32Array), fails(code));
  assert.throws(() => cache.put(0, Int32Array.of(1, 1), three, Int32Array.of(2, 1)), fails('INPUT', /row 1/));
  cache.put(0, rows, three, Int32Array.of(2, 1));
  assert.throws(() => cache.put(0, rows, three, Int32Array.of(2, 1)), fails('INPUT', /row 0/));
  const others = Int32Array.of(2, 3);
  const wide = three.to({ dtype: 'float64' });
  assert.throws(() => cache.put(0, others, three.reshape([1, 3])), fails('INPUT', /all must, or none/));
  assert.throws(() => cache.put(0, others, wide, Int32Array.of(2, 1)), fails('DTYPE'));
  assert.throws(
    () => cache.put(0, others, Tensor.from([1, 2, 3, 4], { shape: [2, 2] }), Int32Array.of(1, 1)),
    fails('SHAPE'),
  );
  cache.put(0, others, three, Int32Array.of(1, 2));
  assert.deepEqual(Array.from(cache.offsets(0)!), [0, 2, 3, 4, 6]);
  cache.dispose();
});

test("an encoder of one's own whose numbers of representations do not fit", async () => {
  const weight = random([2, 2], 5);
  weight.requiresGrad = true;
  const batch = random([4, 2], 6);
  for (const [wrong, code] of [
    [(x: Tensor) => ({ representations: x }), 'INPUT'],
    [(x: Tensor) => ({ representations: x, counts: [1, 1] }), 'INPUT'],
    [(x: Tensor) => ({ representations: x, counts: Int32Array.of(1) }), 'SHAPE'],
    [(x: Tensor) => ({ representations: x, counts: Int32Array.of(2, 1) }), 'SHAPE'],
    [() => ({ representations: 1, counts: Int32Array.of(1, 1) }), 'INPUT'],
    [() => null, 'INPUT'],
  ] as const) {
    const encoder = new ModuleEncoder({
      forward: (x: Tensor) => wrong(x.linear(weight)) as PackedRepresentations,
      parameters: () => [{ name: 'weight', tensor: weight, decay: true }],
    });
    const gradcache = new GradCache({
      encoders: [encoder],
      loss: (a: Tensor) => a.sum(),
      chunk: { sequences: 2 },
    });
    await assert.rejects(gradcache.step([batch]), fails(code));
    assert.equal(weight.grad, null);
  }
});

test('a module may give its numbers of representations in one list for all chunks', async () => {
  const weight = random([2, 2], 5);
  weight.requiresGrad = true;
  const several = [3, 1, 2, 4];
  const batch = { x: random([10, 2], 6), row: Tensor.from([0, 1, 2, 3], { device }) };
  const counts = new Int32Array(1);
  let offsets: unknown;
  const encoder = new ModuleEncoder({
    forward: ({ row }: { x: Tensor; row: Tensor }) => {
      const number = row.item();
      counts[0] = several[number]!;
      return {
        representations: batch.x.narrow(0, offsetsOf(several)[number]!, counts[0]).linear(weight),
        counts,
      };
    },
    parameters: () => [{ name: 'weight', tensor: weight, decay: true }],
  });
  const gradcache = new GradCache({
    encoders: [encoder],
    loss: (a: Tensor, options: LossOptions) => {
      [offsets] = options.offsets as Int32Array[];
      return a.sum();
    },
    chunk: { sequences: 1 },
  });
  await gradcache.step([{ row: batch.row, x: batch.x.narrow(0, 0, 4) }]);
  assert.deepEqual(offsets, offsetsOf(several));
});
