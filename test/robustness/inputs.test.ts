import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { GradCache, infoNCE, TextEncoder } from '../../lib/index.js';
import { saveTinyModel, temporaryFolder } from '../training/support.js';
import { fails } from './failures.js';

test('what a tower refuses of its batch says which of the inputs it is', async (t) => {
  using encoder = await TextEncoder.load(await saveTinyModel(join(await temporaryFolder(t), 'model')));
  const gradcache = new GradCache({ encoders: [encoder, encoder], loss: infoNCE() });
  const good = await encoder.tokenize(['a', 'b']);
  const empty = await encoder.tokenize([]);
  await assert.rejects(gradcache.step([good, empty]), fails('INPUT', /^inputs\[1\]: the batch is empty/));
  await assert.rejects(gradcache.step([empty, good]), fails('INPUT', /^inputs\[0\]: the batch is empty/));
  await assert.rejects(gradcache.step([good, 3 as never]), fails('INPUT', /^inputs\[1\]: /));
});
