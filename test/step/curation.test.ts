import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  GradCache,
  crossBatchMemory,
  infoNCE,
  type AnyEncoder,
  type LossOptions,
  type StepOptions,
  type Tensor,
  type TokenBatch,
  type Verdict,
} from '../../lib/index.js';
import { assertSameGradients, norm } from '../oracle/compare.js';
import { clear, gradients, tenTexts, textEncoder } from '../exactness/support.js';

const encoder = await textEncoder('float64');
const batches = [tenTexts(1), tenTexts(2)];
const encoders: AnyEncoder[] = [encoder, encoder];
const chunk = { sequences: 3 };

/** The rows of a batch, in this order. */
function rowsOf({ ids, offsets }: TokenBatch, rows: readonly number[]): TokenBatch {
  const texts = rows.map((row) => ids.subarray(offsets[row], offsets[row + 1]));
  const ends = texts.reduce((list, text) => [...list, list.at(-1)! + text.length], [0]);
  return {
    ids: Int32Array.from(texts.flatMap((text) => [...text])),
    offsets: Int32Array.from(ends),
    truncated: 0,
  };
}

/** A step with a verdict: what it did, and the gradients, which are zero again then. */
async function step(verdict: Verdict | (() => Verdict) | null, options: StepOptions = {}, given = batches) {
  const curate = typeof verdict === 'function' ? verdict : () => verdict!;
  const gradcache = new GradCache({
    encoders,
    loss: infoNCE({ temperature: 0.2 }),
    chunk,
    ...(verdict === null ? {} : { curate }),
  });
  const result = await gradcache.step(given, options);
  const found = await gradients([encoder]);
  clear([encoder]);
  return { result, found };
}

test('after filtering, loss and gradients are those of a step without the other rows', async () => {
  for (const keep of [[0, 1, 2, 5, 9], [7, 3], Int32Array.of(8, 4, 0, 1)]) {
    const rows = [...keep];
    const expected = await step(
      null,
      {},
      batches.map((batch) => rowsOf(batch, rows)),
    );
    const { result, found } = await step({ keep });
    assert.ok(Math.abs(result.loss - expected.result.loss) < 1e-12);
    assertSameGradients(found, expected.found, 1e-10, rows.join());
    assert.deepEqual([result.pairs, result.leftOut, result.redrawn], [rows.length, 10 - rows.length, 0]);
  }
  const apart = [
    [2, 4],
    [2, 4, 6, 7],
  ];
  const expected = await step(
    null,
    { loss: { targets: [3, 0] } },
    batches.map((batch, tower) => rowsOf(batch, apart[tower]!)),
  );
  const { found } = await step({ keep: apart, loss: { targets: [3, 0] } });
  assertSameGradients(found, expected.found, 1e-10, 'towers apart');
});

test('an accepted batch is as without a judge; a chunk without a row that is kept has no second pass', async () => {
  const expected = await step(null);
  const { result, found } = await step('accept');
  assert.equal(result.loss, expected.result.loss);
  assert.deepEqual(found, expected.found);
  let passes = 0;
  const curate = () => ({ keep: [0] });
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: (a: Tensor, b: Tensor) => a.mul(b).sum(),
    chunk: { sequences: 1 },
    curate,
  });
  await gradcache.step([batches[0]!, batches[1]!], {
    onProgress: ({ phase }) => {
      if (phase === 'backward') passes++;
    },
  });
  assert.equal(passes, 2);
  clear([encoder]);
});

test('a refused batch is drawn again until one is accepted, and counted', async () => {
  const seen: number[][] = [];
  const others = [3, 4, 5].map((seed) => [tenTexts(seed), tenTexts(seed + 10)]);
  const queue = others.map((inputs, place) => ({
    inputs,
    loss: { targets: Array.from({ length: 10 }, () => place) },
  }));
  const gradcache = new GradCache({
    encoders,
    loss: infoNCE({ temperature: 0.2 }),
    chunk,
    curate: async ([anchors], { redrawn }) => {
      seen.push([redrawn, ...((await anchors!.values()) as Float64Array).slice(0, 2)]);
      return redrawn < 3 ? 'redraw' : 'accept';
    },
  });
  const { loss, redrawn, pairs } = await gradcache.step(batches, { redraw: () => queue.shift()! });
  const found = await gradients([encoder]);
  clear([encoder]);
  const expected = await step(null, { loss: { targets: Array.from({ length: 10 }, () => 2) } }, others[2]);
  assert.equal(loss, expected.result.loss);
  assert.deepEqual(found, expected.found);
  assert.deepEqual([redrawn, pairs], [3, 10]);
  assert.deepEqual(
    seen.map(([first]) => first),
    [0, 1, 2, 3],
  );
  assert.equal(new Set(seen.map((each) => each[1])).size, 4);
});

test('a batch with keyword arguments for all rows is not filtered without those for the rows that are kept', async () => {
  const wrong = step({ keep: [0, 1] }, { loss: { targets: Array.from({ length: 10 }, (_, row) => row) } });
  await assert.rejects(wrong, { code: 'INPUT', message: /gives the loss targets for all rows/ });
  assert.ok([...(await gradients([encoder])).values()].every((gradient) => norm(gradient) === 0));
  // A memory keeps the rows that the loss saw.
  const memory = crossBatchMemory(infoNCE(), { capacity: 50 });
  const curate = () => ({ keep: [1, 2, 3], loss: { ids: ['a', 'b', 'c'] } });
  await new GradCache({ encoders, loss: memory, chunk, curate }).step(batches, {
    loss: { ids: [...'0123456789'] },
  });
  assert.equal(memory.size, 3);
  clear([encoder]);
});

test('what is no verdict is refused, with the gradients as they were', async () => {
  const refusals: [unknown, StepOptions, RegExp][] = [
    ['redraw', {}, /give step the option redraw/],
    ['redraw', { redraw: () => 3 as never }, /what redraw returned is 3/],
    ['redraw', { redraw: () => ({ inputs: [batches[0]!] }) }, /1 inputs for 2 towers/],
    ['reject', {}, /the verdict of curate is "reject"/],
    [undefined, {}, /the verdict of curate is undefined/],
    [{ keep: [] }, {}, /leaves no row/],
    [{ keep: [0, 10] }, {}, /a row in keep is 10/],
    [{ keep: [0, 0.5] }, {}, /a row in keep is 0\.5/],
    [{ keep: [0, 0] }, {}, /twice/],
    [{ keep: [[0, 1]] }, {}, /for each of 2 towers/],
    [{ keep: [0, 1], drop: 1 }, {}, /drop/],
    [{ keep: [0, 1], loss: null }, {}, /the loss that curate returned is null/],
    [{ keep: [0, 1], loss: [1] }, {}, /the loss that curate returned is \[1\]/],
  ];
  for (const [verdict, options, message] of refusals) {
    await assert.rejects(step((() => verdict) as () => Verdict, options), { code: 'INPUT', message });
    assert.ok([...(await gradients([encoder])).values()].every((gradient) => norm(gradient) === 0));
  }
  await assert.rejects(
    step(() => {
      throw new RangeError('mine');
    }),
    { message: 'mine' },
  );
  assert.throws(() => new GradCache({ encoders, loss: infoNCE(), curate: 'all' as never }), {
    code: 'INPUT',
  });
  const loose = (...given: (Tensor & LossOptions)[]) => given[0]!.sum();
  const gradcache = new GradCache({
    encoders: [encoder] as AnyEncoder[],
    loss: loose,
    curate: () => 'redraw',
  });
  const controller = new AbortController();
  const endless = gradcache.step([batches[0]!], {
    signal: controller.signal,
    redraw: () => {
      controller.abort();
      return { inputs: [batches[0]!] };
    },
  });
  await assert.rejects(endless, { code: 'ABORTED' });
});
