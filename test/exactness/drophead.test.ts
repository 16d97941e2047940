import assert from 'node:assert/strict';
import { test } from 'node:test';
import { call, GradCache, infoNCE, noGrad, Tensor, type TextEncoder } from '../../lib/index.js';
import { assertSameGradients, largestDifference, norm, type Numbers } from '../oracle/compare.js';
import { clear, device, gradients, precisions, tenTexts, textEncoder, tokens, whole } from './support.js';

const HEADS = 3;
const batches = [tenTexts(1), tenTexts(2)];

/** Representations of some texts, row by row, in training with this seed. */
async function representations(
  encoder: TextEncoder,
  lengths: readonly number[],
  seed: number,
): Promise<Float64Array[]> {
  const [chunk] = whole(encoder, tokens(lengths, 5));
  const encoded = await encoder.forwardChunk(chunk as never, { seed });
  const values = (await encoded.representations.values()) as Float64Array;
  const width = values.length / lengths.length;
  return lengths.map((_, row) => values.slice(row * width, (row + 1) * width));
}

test('it drops whole heads of a text, others in another text, and divides the rest by their share', async () => {
  const drophead = 0.25;
  const encoder = await textEncoder('float64', { layers: 1, drophead });
  const plain = await textEncoder('float64', { layers: 1 });
  const { tensor: output } = plain
    .parameters()
    .find(({ name }) => name.endsWith('attention.output.dense.weight'))!;
  const weight = output.detach().clone();
  const lengths = [7, 3, 12];
  // What each choice of heads gives, by way of the columns of the output projection.
  const choices: Float64Array[][] = [];
  for (let choice = 0; choice < 2 ** HEADS; choice++) {
    const factors = Array.from({ length: 24 }, (_, column) =>
      (choice >> Math.floor(column / (24 / HEADS))) & 1 ? 1 / (1 - drophead) : 0,
    );
    output.copyFrom(weight.mul(Tensor.from(Float64Array.from(factors), { device })));
    choices.push(await representations(plain, lengths, 0));
  }
  const counts = new Map<number, number>();
  let differently = 0;
  for (let seed = 0; seed < 60; seed++) {
    const rows = await representations(encoder, lengths, seed);
    const chosen = rows.map((values, row) =>
      choices.findIndex((choice) => largestDifference(values, choice[row]!) < 1e-6),
    );
    assert.ok(!chosen.includes(-1), `seed ${seed}: ${chosen.join()}`);
    for (const choice of chosen) counts.set(choice, (counts.get(choice) ?? 0) + 1);
    if (new Set(chosen).size > 1) differently++;
  }
  assert.ok(differently > 30, `${differently} of 60 chunks`);
  const kept = [...counts].reduce(
    (sum, [choice, count]) => sum + count * [0, 1, 2].filter((head) => (choice >> head) & 1).length,
    0,
  );
  assert.ok(Math.abs(kept / (60 * 3 * HEADS) - (1 - drophead)) < 0.06, `${kept} heads of ${60 * 9}`);
});

test('gradients are the slopes of the loss under the same masks, in one chunk and in many', async () => {
  for (const chunk of [{ sequences: 100 }, { sequences: 3 }]) {
    const encoder = await textEncoder('float64', { drophead: 0.4, dropout: 0.1 });
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE({ temperature: 0.3 }),
      chunk,
    });
    const lossAt = async () => (await gradcache.step(batches, { seed: 11 })).loss;
    await lossAt();
    const found = await gradients([encoder]);
    for (const part of ['attention.self', 'attention.output.dense', 'embeddings.word']) {
      // A direction in some of the parameters, and the slope of the loss along it.
      const moved = encoder.parameters().filter(({ name }) => name.includes(part));
      const directions = moved.map(({ tensor }, place) =>
        Float64Array.from({ length: tensor.size }, (_, k) => Math.sin(1.1 * k + place)),
      );
      const slope = moved.reduce((sum, { name }, place) => {
        const gradient = found.get(`0:${name}`)!;
        return sum + directions[place]!.reduce((total, value, k) => total + value * gradient[k]!, 0);
      }, 0);
      const move = (by: number) => {
        noGrad(() => {
          for (const [place, { tensor }] of moved.entries()) {
            const direction = Tensor.from(directions[place]!, { shape: tensor.shape, device });
            call('aten::add_.Tensor', tensor, direction, { alpha: by }).dispose();
          }
        });
      };
      const step = 1e-6;
      move(step);
      const above = await lossAt();
      move(-2 * step);
      const below = await lossAt();
      move(step);
      const difference = (above - below) / (2 * step);
      assert.ok(
        Math.abs(difference - slope) < 1e-6 * Math.abs(slope) + 1e-8,
        `${part}: ${slope}, ${difference}`,
      );
    }
  }
});

test('a step in chunks has the gradients of kept graphs, in every precision; without it nothing changes', async () => {
  for (const [precision, tolerance] of precisions) {
    const all: Map<string, Numbers>[] = [];
    for (const retain of [{ bytes: 0 }, { bytes: 1e9 }]) {
      const encoder = await textEncoder(precision, { drophead: 0.4 });
      const gradcache = new GradCache({
        encoders: [encoder, encoder],
        loss: infoNCE(),
        chunk: { sequences: 3 },
        retain,
      });
      await gradcache.step(batches, { seed: 3 });
      all.push(await gradients([encoder]));
    }
    assertSameGradients(all[0]!, all[1]!, tolerance, precision);
    assert.ok(norm([...all[0]!.values()][0]!) > 0);
  }
  const losses = await Promise.all(
    [0, undefined].map(async (drophead) => {
      const encoder = await textEncoder('float64', { dropout: 0.2, ...(drophead === 0 ? { drophead } : {}) });
      const { loss } = await new GradCache({ encoders: [encoder, encoder], loss: infoNCE() }).step(batches);
      clear([encoder]);
      return loss;
    }),
  );
  assert.equal(losses[0], losses[1]);
});

test('a probability that is none is refused, and so is an architecture without such heads', async () => {
  await assert.rejects(textEncoder('float32', { architecture: 'sru', drophead: 0.1 }), {
    code: 'INPUT',
    message: /no setting 'drophead'/,
  });
  for (const drophead of [-0.1, 1, NaN, '0.1'])
    await assert.rejects(textEncoder('float32', { drophead: drophead as number }), {
      code: 'INPUT',
      message: /drophead/,
    });
});
