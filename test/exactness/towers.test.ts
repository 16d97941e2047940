import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  coSENT,
  GradCache,
  infoNCE,
  ModuleEncoder,
  Tensor,
  type Loss,
  type LossOptions,
  TextEncoder,
} from '../../lib/index.js';
import { LOSSES as KINDS } from '../../lib/losses/loss-kinds.js';
import { withGradients } from '../../lib/losses/loss.js';
import { givenFor } from '../losses/every-loss.js';
import { assertSameGradients, type Numbers } from '../oracle/compare.js';
import { temporaryFolder } from '../training/support.js';
import { device, gradients, tenTexts, textEncoder } from './support.js';

// What sentence-transformers' cached losses do with the towers of a step: every loss does it here.

const scores = Array.from({ length: 10 }, (_, row) => (row % 4) / 3);
/** Of the representations of `textEncoder`. */
const DIMENSION = 24;

/** A loss, how many towers it takes, and its keyword arguments. */
const LOSSES: readonly [string, (dimension: number) => Loss, number, LossOptions][] = [
  ['a learned temperature', () => infoNCE({ temperature: { initial: 0.1, learned: true } }), 3, {}],
  ['a function', () => (a, b) => a.sub(b).mul(a).sum(), 2, {}],
  ...Object.keys(KINDS).flatMap((name): (typeof LOSSES)[number][] => {
    const of = (dimension: number) => givenFor(name, { rows: 10, dimension, device });
    const { kind, rows, options } = of(DIMENSION);
    if (kind.pairs !== undefined || kind.perToken === true || kind.sparse === true) return [];
    return [[name, (dimension) => of(dimension).loss, rows.length, options]];
  }),
];

const chunk = { sequences: 3 };
const texts = (towers: number, from = 1) =>
  Array.from({ length: towers }, (_, tower) => tenTexts(from + tower));

function make(encoder: TextEncoder, loss: Loss, towers: number, accumulate = 1): GradCache {
  const encoders = Array<TextEncoder>(towers).fill(encoder);
  return new GradCache<readonly TextEncoder[]>({
    encoders,
    loss,
    chunk,
    accumulate,
    seed: 4,
  });
}

/** Gradients of the parameters of the loss itself. */
async function ofLoss(loss: Loss): Promise<Map<string, Numbers>> {
  const found = new Map<string, Numbers>();
  for (const { name, tensor } of withGradients(loss).parameters())
    found.set(name, (await tensor.grad!.values()) as Float64Array);
  return found;
}

const times = (of: ReadonlyMap<string, Numbers>, factor: number): Map<string, Numbers> =>
  new Map([...of].map(([name, values]) => [name, Array.from(values, (value) => factor * value)]));

for (const [name, lossOf, towers, given] of LOSSES) {
  test(`${name}: an outer scale reaches every chunk, and the loss's own parameters`, async () => {
    const found = [];
    for (const accumulate of [1, 4]) {
      const encoder = await textEncoder('float64');
      const loss = lossOf(encoder.trainedDimension);
      await make(encoder, loss, towers, accumulate).step(texts(towers), { loss: given });
      found.push(new Map([...(await gradients([encoder])), ...(await ofLoss(loss))]));
    }
    assertSameGradients(times(found[1]!, 4), found[0]!, 1e-10, name);
  });

  test(`${name}: two steps at the same time add what they add one after the other`, async () => {
    const found = [];
    for (const together of [false, true]) {
      const encoder = await textEncoder('float64');
      const stepFrom = (from: number): Promise<{ loss: number }> =>
        make(encoder, lossOf(encoder.trainedDimension), towers).step(texts(towers, from), {
          loss: given,
        });
      const losses = together
        ? await Promise.all([stepFrom(3), stepFrom(6)])
        : [await stepFrom(3), await stepFrom(6)];
      found.push({ losses: losses.map(({ loss }) => loss), gradients: await gradients([encoder]) });
    }
    assert.deepEqual(found[1]!.losses, found[0]!.losses);
    assertSameGradients(found[1]!.gradients, found[0]!.gradients, 1e-10, name);
  });

  if (towers < 2) continue;

  test(`${name}: a tower without anything to train is encoded once, and the others train`, async (t) => {
    const folder = join(await temporaryFolder(t), 'fixed');
    await (await textEncoder('float64', { seed: 5 })).save(folder);
    const found = [];
    for (const frozen of [false, true]) {
      const trained = await textEncoder('float64');
      const fixed = await TextEncoder.load(folder, {
        precision: 'float64',
        dropout: 0,
        device,
        frozen: frozen ? ['embeddings', 'encoder'] : [],
      });
      const encoders = [trained, fixed, ...Array<TextEncoder>(towers - 2).fill(trained)];
      const loss = lossOf(trained.trainedDimension);
      const gradcache = new GradCache<readonly TextEncoder[]>({ encoders, loss, chunk, seed: 4 });
      let backward = 0;
      await gradcache.step(texts(towers), {
        loss: given,
        onProgress: ({ phase }) => void (backward += Number(phase === 'backward')),
      });
      assert.equal(backward, 4 * (frozen ? towers - 1 : towers), 'chunks of the second pass');
      found.push(await gradients([trained]));
    }
    assertSameGradients(found[1]!, found[0]!, 1e-10, name);
  });
}

test('a tower that the loss does not use is named before the second pass, and no gradient is added', async () => {
  const encoder = await textEncoder('float64');
  for (const [tower, loss] of [
    [1, (first: Tensor) => first.mul(first).sum()],
    [0, (_: Tensor, second: Tensor) => second.sum()],
    [1, (first: Tensor, second: Tensor) => first.mul(second.detach()).sum()],
  ] as const) {
    const phases = new Set<string>();
    const gradcache = new GradCache({ encoders: [encoder, encoder], loss: loss, chunk });
    await assert.rejects(
      gradcache.step([tenTexts(1), tenTexts(2)], { onProgress: ({ phase }) => void phases.add(phase) }),
      { code: 'INPUT', message: `the loss does not depend on the representations of tower ${tower}` },
    );
    assert.deepEqual([...phases], ['forward']);
  }
  for (const values of (await gradients([encoder])).values())
    assert.ok(Array.from(values).every((value) => value === 0));
});

test('an encoder of your own without parameters is a tower that is only encoded', async () => {
  const encoder = await textEncoder('float64');
  const fixed = new ModuleEncoder({ forward: (rows: Tensor) => rows, parameters: () => [] });
  const rows = Tensor.from(
    Float64Array.from({ length: 10 * encoder.trainedDimension }, (_, k) => Math.sin(k)),
    { shape: [10, encoder.trainedDimension], device },
  );
  const gradcache = new GradCache({ encoders: [encoder, fixed], loss: coSENT(), chunk });
  const { loss } = await gradcache.step([tenTexts(1), rows], { loss: { labels: scores } });
  assert.ok(Number.isFinite(loss));
  const found = await gradients([encoder]);
  assert.ok([...found.values()].some((values) => Array.from(values).some((value) => value !== 0)));
});
