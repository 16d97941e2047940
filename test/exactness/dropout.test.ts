import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GradCache, infoNCE, planChunks, type ChunkSize, type TextEncoder } from '../../lib/index.js';
import { drawSeed } from '../../lib/options/seeds.js';
import { assertSameGradients, largestDifference } from '../oracle/compare.js';
import {
  architectures,
  clear,
  fullBatch,
  gradients,
  plainInfoNCE,
  precisions,
  tenTexts,
  textEncoder,
  whole,
  type Piece,
} from './support.js';

const SEED = 42;
const batches = [tenTexts(1), tenTexts(2)];

/** The chunks that a step with this seed makes, each with the seed that it gives the chunk. */
function piecesOfStep(encoder: TextEncoder, size: Exclude<ChunkSize, 'auto'>): Piece[][] {
  let index = 0;
  return batches.map((batch) =>
    planChunks(encoder.lengths(batch), size).map((chunk) => ({
      batch,
      ...chunk,
      seed: drawSeed('chunk', SEED, index++),
    })),
  );
}

const SIZES = [{ sequences: 3 }, { tokens: 25 }, { sequences: 1 }, { sequences: 100 }] as const;
for (const [architecture, chunk] of architectures.flatMap((each) =>
  SIZES.map((size) => [each, size] as const),
)) {
  test(`${architecture}: with dropout, gradients equal those of kept graphs under the same masks: ${JSON.stringify(chunk)}`, async () => {
    for (const [precision, tolerance] of precisions) {
      const encoder = await textEncoder(precision, { architecture, dropout: 0.3 });
      const expected = await fullBatch(
        [encoder, encoder],
        piecesOfStep(encoder, chunk),
        plainInfoNCE({ temperature: 0.2 }),
      );
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE({ temperature: 0.2 }),
        chunk,
      });
      const { loss } = await gradcache.step(batches, { seed: SEED });
      assert.ok(Math.abs(loss - expected.loss) <= tolerance * loss);
      assertSameGradients(await gradients([encoder]), expected.gradients, tolerance, precision);
    }
  });
}

test('dropout does drop: the loss differs from the one without', async () => {
  for (const architecture of architectures) {
    const all = [];
    for (const dropout of [0, 0.3]) {
      const encoder = await textEncoder('float64', { architecture, dropout });
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE(),
        chunk: { sequences: 3 },
      });
      const { loss } = await gradcache.step(batches, { seed: SEED });
      all.push(loss);
    }
    assert.ok(Math.abs(all[0]! - all[1]!) > 1e-3, architecture);
  }
});

for (const architecture of architectures)
  test(`${architecture}: a chunk encoded twice under one seed gives the same bits, with and without a graph; another seed other ones`, async () => {
    for (const precision of ['float64', 'float32', 'bfloat16'] as const) {
      const encoder = await textEncoder(precision, { architecture, dropout: 0.3 });
      const { seed, ...chunk } = whole(encoder, batches[0])[0]!;
      const values = async (chunkSeed: number, retain: boolean) => {
        const { representations, ticket } = await encoder.forwardChunk(chunk as never, {
          seed: chunkSeed,
          retain,
        });
        assert.equal(ticket.seed, chunkSeed);
        assert.equal(ticket.graph === null, !retain);
        assert.equal(representations.requiresGrad, false);
        return (await representations.values()) as Float32Array;
      };
      const first = await values(seed + 7, false);
      assert.deepEqual(await values(seed + 7, false), first);
      assert.deepEqual(await values(seed + 7, true), first);
      assert.ok(largestDifference(await values(seed + 8, false), first) > 1e-2);
    }
  });

test('representations are the same bits with and without a graph, however they are pooled', async () => {
  for (const precision of ['float64', 'float32', 'bfloat16'] as const) {
    for (const pooling of ['mean', 'cls', 'max', 'last'] as const) {
      for (const normalize of [false, true]) {
        const encoder = await textEncoder(precision, { dropout: 0.3, pooling, normalize });
        const { seed, ...chunk } = whole(encoder, batches[0])[0]!;
        const [without, kept] = await Promise.all(
          [false, true].map(async (retain) => {
            const { representations } = await encoder.forwardChunk(chunk as never, { seed, retain });
            return representations.values();
          }),
        );
        assert.deepEqual(kept, without);
      }
    }
  }
});

for (const precision of ['float32', 'bfloat16'] as const) {
  test(`${precision}: the same seed gives the same step bit for bit, another one another step`, async () => {
    const run = async (seed: number) => {
      const encoder = await textEncoder(precision, { dropout: 0.3 });
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE(),
        chunk: { tokens: 25 },
        seed,
      });
      const losses = [];
      for (let step = 0; step < 2; step++) losses.push((await gradcache.step(batches)).loss);
      return { losses, gradients: await gradients([encoder]) };
    };
    const first = await run(5);
    assert.deepEqual(await run(5), first);
    assert.notEqual(first.losses[0], first.losses[1], 'each step draws its own masks');
    assert.notEqual((await run(6)).losses[0], first.losses[0]);
  });
}

for (const architecture of architectures)
  test(`${architecture}: kept graphs change nothing, bit for bit, whatever share of the chunks they are`, async () => {
    const encoder = await textEncoder('float32', { architecture, dropout: 0.3 });
    const outcomes = [];
    for (const share of [0, 0.3, 0.6, 2, undefined]) {
      clear([encoder]);
      const chunks = piecesOfStep(encoder, { sequences: 3 }).flat();
      const bytes = chunks.reduce((sum, chunk) => sum + encoder.graphBytes(chunk as never), 0);
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE({ temperature: 0.2 }),
        chunk: { sequences: 3 },
        ...(share === undefined ? {} : { retain: { bytes: Math.floor(bytes * share) } }),
      });
      const { loss, retained } = await gradcache.step(batches, { seed: SEED });
      outcomes.push({ retained, loss, gradients: await gradients([encoder]) });
    }
    const [none, few, many, all, last] = outcomes;
    assert.equal(none!.retained, 0);
    assert.ok(
      0 < few!.retained && few!.retained < many!.retained && many!.retained < 8,
      `${few!.retained}, ${many!.retained}`,
    );
    assert.equal(all!.retained, 8);
    assert.equal(last!.retained, 1, 'the last chunk, where nothing is asked for');
    for (const outcome of [few!, many!, all!, last!]) {
      assert.equal(outcome.loss, none!.loss);
      assert.deepEqual(outcome.gradients, none!.gradients);
    }
  });
