import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  GradCache,
  infoNCE,
  type ChunkSize,
  type InfoNCEOptions,
  type TextEncoder,
} from '../../lib/index.js';
import { assertSameGradients, cosine } from '../oracle/compare.js';
import {
  architectures,
  clear,
  fullBatch,
  gradients,
  plainInfoNCE,
  precisions,
  tenTexts,
  textEncoder,
  tokens,
  whole,
  type Architecture,
} from './support.js';

interface Case {
  readonly title: string;
  /** Number of the encoder of each tower; default: one encoder for two towers. */
  readonly towers?: readonly number[];
  readonly loss?: InfoNCEOptions & { temperature?: number };
  readonly targets?: readonly number[];
  readonly chunk: ChunkSize | readonly ChunkSize[];
  readonly chunks?: number;
}

const cases: Case[] = [
  { title: 'tied towers, the last chunk uneven', chunk: { sequences: 3 }, chunks: 8 },
  { title: 'untied towers', towers: [0, 1], chunk: { sequences: 4 }, chunks: 6 },
  { title: 'hard negatives, tied', towers: [0, 0, 0, 0], chunk: { sequences: 4 }, chunks: 12 },
  { title: 'hard negatives, anchors with an encoder of their own', towers: [0, 1, 1], chunk: { tokens: 30 } },
  { title: 'both directions', loss: { symmetric: true }, chunk: { sequences: 3 } },
  {
    title: 'both directions with hard negatives',
    towers: [0, 1, 1],
    loss: { symmetric: true },
    chunk: { sequences: 3 },
  },
  { title: 'dot product', loss: { similarity: 'dot', temperature: 5 }, chunk: { sequences: 3 } },
  {
    title: 'explicit targets, some shared',
    towers: [0, 0, 0],
    targets: [1, 0, 12, 12, 19, 3, 4, 3, 8, 9],
    chunk: { sequences: 3 },
  },
  {
    title: 'explicit targets in both directions',
    loss: { symmetric: true },
    targets: [9, 0, 1, 2, 2, 2, 6, 7, 4, 3],
    chunk: { sequences: 3 },
  },
  { title: 'chunks of one sequence', chunk: { sequences: 1 }, chunks: 20 },
  { title: 'one chunk a tower', chunk: { sequences: 1000 }, chunks: 2 },
  { title: 'chunks by tokens', chunk: { tokens: 25 } },
  { title: 'a token budget that single texts exceed', chunk: { tokens: 4 } },
  { title: 'a chunk size for each tower', towers: [0, 1], chunk: [{ sequences: 2 }, { tokens: 40 }] },
  { title: 'automatic chunks', chunk: 'auto' },
];

async function compare(
  { title, towers = [0, 0], loss = {}, targets, chunk, chunks }: Case,
  architecture: Architecture = 'bert',
): Promise<void> {
  const { temperature = 0.2 } = loss;
  for (const [precision, tolerance] of precisions) {
    const encoders: TextEncoder[] = [
      await textEncoder(precision, { architecture, seed: 1 }),
      await textEncoder(precision, { architecture, seed: 2 }),
    ];
    const used = towers.map((number) => encoders[number]!);
    const batches = towers.map((_, tower) => tenTexts(tower + 1));
    const expected = await fullBatch(
      used,
      used.map((encoder, tower) => whole(encoder, batches[tower])),
      plainInfoNCE({ ...loss, temperature, targets }),
    );
    const gradcache = new GradCache({ encoders: used, loss: infoNCE({ ...loss, temperature }), chunk });
    const result = await gradcache.step(batches, { loss: targets === undefined ? {} : { targets } });
    assert.ok(
      Math.abs(result.loss - expected.loss) <= tolerance * expected.loss,
      `${precision}: ${result.loss} for ${expected.loss}`,
    );
    assertSameGradients(await gradients(used), expected.gradients, tolerance, `${title}, ${precision}`);
    if (chunks !== undefined) assert.equal(result.chunks, chunks);
    assert.equal(result.pairs, 10);
    assert.equal(result.sequences, 10 * towers.length);
    assert.equal(
      result.tokens,
      batches.reduce((sum, { ids }) => sum + ids.length, 0),
    );
    for (const encoder of encoders) encoder.dispose();
  }
}

for (const item of cases) {
  test(`gradients equal those of the full batch: ${item.title}`, () => compare(item));
}

/** The cases in which an encoder meets chunks of other shapes; what the loss makes of representations is its own matter. */
const ofChunks = cases.filter(({ loss, targets }) => loss === undefined && targets === undefined);
for (const architecture of architectures.filter((name) => name !== 'bert')) {
  for (const item of ofChunks) {
    test(`${architecture}: gradients equal those of the full batch: ${item.title}`, () =>
      compare(item, architecture));
  }
}

test('towers of different numbers of rows, with explicit targets', async () => {
  const encoder = await textEncoder('float64');
  const batches = [tokens([3, 9, 1], 5), tokens([4, 2, 11, 6, 6, 8, 1], 6)];
  const targets = [6, 0, 3];
  const pieces = batches.map((batch) => whole(encoder, batch));
  const expected = await fullBatch([encoder, encoder], pieces, plainInfoNCE({ temperature: 0.1, targets }));
  const gradcache = new GradCache({
    encoders: [encoder, encoder],
    loss: infoNCE({ temperature: 0.1 }),
    chunk: { sequences: 2 },
  });
  await gradcache.step(batches, { loss: { targets } });
  assertSameGradients(await gradients([encoder]), expected.gradients, 1e-10, 'gradients');
});

test('a step adds to the gradients that are there', async () => {
  const encoder = await textEncoder('float64');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE(), chunk: { sequences: 3 } });
  await gradcache.step([tenTexts(1), tenTexts(2)]);
  const first = await gradients([encoder]);
  clear([encoder]);
  await gradcache.step([tenTexts(3), tenTexts(4)]);
  const second = await gradients([encoder]);
  await gradcache.step([tenTexts(1), tenTexts(2)]);
  const sum = new Map(
    [...first].map(([name, a]) => [name, Float64Array.from(a, (x, k) => x + second.get(name)![k]!)]),
  );
  assertSameGradients(await gradients([encoder]), sum, 1e-12, 'sum of two steps');
});

test('two steps of accumulate: 2 give the mean of their gradients', async () => {
  for (const [precision, tolerance] of precisions) {
    const encoder = await textEncoder(precision);
    const batches = [
      [tenTexts(1), tenTexts(2)],
      [tenTexts(3), tenTexts(4)],
    ];
    const means = new Map<string, Float64Array>();
    const losses: number[] = [];
    for (const inputs of batches) {
      const expected = await fullBatch(
        [encoder, encoder],
        inputs.map((batch) => whole(encoder, batch)),
        plainInfoNCE({ temperature: 0.2 }),
      );
      losses.push(expected.loss);
      for (const [name, gradient] of expected.gradients) {
        const mean = means.get(name) ?? new Float64Array(gradient.length);
        means.set(
          name,
          mean.map((sum, k) => sum + gradient[k]! / 2),
        );
      }
    }
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE({ temperature: 0.2 }),
      chunk: { sequences: 3 },
      accumulate: 2,
    });
    for (const [k, inputs] of batches.entries()) {
      const { loss } = await gradcache.step(inputs);
      assert.ok(
        Math.abs(loss - losses[k]!) <= tolerance * loss,
        'the loss reported is the one of its own step',
      );
    }
    assertSameGradients(await gradients([encoder]), means, tolerance, precision);
  }
});

for (const architecture of architectures)
  test(`${architecture}: bfloat16 gives nearly the direction of float32`, async () => {
    const all: number[][] = [];
    for (const precision of ['float32', 'bfloat16'] as const) {
      const encoder = await textEncoder(precision, { architecture });
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE({ temperature: 0.2 }),
        chunk: { sequences: 3 },
      });
      await gradcache.step([tenTexts(1), tenTexts(2)]);
      assert.ok(encoder.parameters().every(({ tensor }) => tensor.grad!.dtype === 'float32'));
      all.push([...(await gradients([encoder])).values()].flatMap((gradient) => Array.from(gradient)));
    }
    const [a, b] = all as [number[], number[]];
    assert.ok(cosine(a, b) >= 0.999, `cosine ${cosine(a, b)}`);
  });
