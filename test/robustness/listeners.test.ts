/** Nothing waits for a listener: one that returns a promise is refused, and its failure is not left to the process. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { GradCache, infoNCE, mineHardNegatives, readPairs, train } from '../../lib/index.js';
import { textEncoder, tokens } from '../exactness/support.js';
import { shortRun, temporaryFolder } from '../training/support.js';
import { fails } from './failures.js';

const asynchronous = (name: string) =>
  fails('INPUT', new RegExp(`${name} is asynchronous: it returned a promise`));
const late = (async () => {
  await Promise.resolve();
  throw new Error('nobody hears this');
}) as () => void;

test('an asynchronous listener is refused, and the gradients stay as they were', async () => {
  const encoder = await textEncoder('float32');
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  const inputs = [tokens([3, 4], 1), tokens([3, 4], 2)];
  await assert.rejects(gradcache.step(inputs, { onProgress: late }), asynchronous('onProgress'));
  for (const { tensor } of encoder.parameters())
    assert.ok(((await tensor.grad!.values()) as Float32Array).every((value) => value === 0));
  await gradcache.step(inputs);
  const pairs = [{ anchor: 'a', positive: 'b' }];
  await assert.rejects(mineHardNegatives(encoder, pairs, { onProgress: late }), asynchronous('onProgress'));
});

test('an asynchronous listener of a run or of lines passed over is refused', async (t) => {
  const { config } = await shortRun(t);
  await assert.rejects(train(config, { onEvent: late }), asynchronous('onEvent'));
  const file = join(await temporaryFolder(t), 'rows.jsonl');
  await writeFile(file, 'no JSON\n{"anchor": "a", "positive": "b"}\n');
  const rows = readPairs(file, { onBadLine: 'skip', onSkip: late });
  await assert.rejects(rows[Symbol.asyncIterator]().next(), asynchronous('onSkip'));
});
