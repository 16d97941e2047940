import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GradCache, infoNCE } from '../../lib/index.js';
import { tenTexts, textEncoder } from '../exactness/support.js';
import { fails } from './failures.js';

const good = [tenTexts(1), tenTexts(2)] as const;

test('a step refuses what is not a list of inputs, and options of the wrong kind', async () => {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  for (const inputs of [undefined, null, 3, {}, 'text', new Map()]) {
    await assert.rejects(gradcache.step(inputs as never), fails(['INPUT', 'SHAPE']));
  }
  for (const seed of [-1, 1.5, NaN, Infinity, '1', 2 ** 60, null]) {
    await assert.rejects(gradcache.step(good, { seed: seed as number }), fails('INPUT', /seed/));
  }
  await assert.rejects(gradcache.step(good, { signal: 3 as never }), fails('INPUT', /signal/));
  await assert.rejects(gradcache.step(good, { onProgress: 3 as never }), fails('INPUT', /onProgress/));
  assert.ok((await gradcache.step(good)).loss > 0);
});

test('GradCache refuses options that do not fit', async () => {
  const encoder = await textEncoder('float32');
  const base = { encoders: [encoder, encoder], loss: infoNCE() };
  const refused: object[] = [
    { encoders: [] },
    { encoders: 'model' },
    { encoders: [encoder, null] },
    { encoders: [encoder, {}] },
    { chunk: { sequences: 0 } },
    { chunk: { sequences: -1 } },
    { chunk: { sequences: 1.5 } },
    { chunk: { tokens: NaN } },
    { chunk: {} },
    { chunk: 'small' },
    { chunk: 32 },
    { chunk: [{ sequences: 3 }] },
    { chunk: null },
    { retain: { bytes: -1 } },
    { retain: { bytes: 'many' } },
    { retain: 3 },
    { accumulate: 0 },
    { chunks: 3 },
    { accumulate: 1.5 },
    { loss: undefined },
    { loss: 'infoNCE' },
    { loss: {} },
    { loss: null },
    { seed: -1 },
    { seed: 0.5 },
    { seed: 'x' },
  ];
  for (const options of refused) {
    const make = () => new GradCache({ ...base, ...options });
    // Sizes are looked at together with the batch at the latest.
    let error: unknown;
    try {
      await make().step(good);
    } catch (thrown) {
      error = thrown;
    }
    assert.ok(error !== undefined, `accepted ${JSON.stringify(options)}`);
    fails('INPUT')(error);
  }
  for (const options of [undefined, null, 3])
    assert.throws(() => new GradCache(options as never), fails('INPUT'));
});

test('infoNCE refuses options that do not fit', () => {
  for (const options of [
    { temperature: 0 },
    { temperature: -1 },
    { temperature: NaN },
    { temperature: Infinity },
    { temperature: '0.1' },
    { temperature: { initial: 0, learned: true } },
    { temperature: { initial: 0.05 } },
    { temperature: { initial: 0.005, learned: true } },
    { temprature: 1 },
    { temperature: null },
    { temperature: {} },
    { similarity: 'euclidean' },
  ]) {
    assert.throws(() => infoNCE(options as never), fails('INPUT'), JSON.stringify(options));
  }
});
