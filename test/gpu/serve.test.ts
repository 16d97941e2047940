import assert from 'node:assert/strict';
import { test } from 'node:test';
import { embeddingsOf, rowsOf, started, tinyModel } from '../serve/support.js';
import { device } from './support.js';

test('requests that come together get the representations of their own texts', async (t) => {
  const model = tinyModel(device);
  const client = await started(t, model, { batchTokens: 64 }); // so that batches are under way at the same time
  const requests = Array.from({ length: 24 }, (_, request) =>
    Array.from({ length: 1 + (request % 7) }, (_, text) => `the text ${text} of the request ${request}`),
  );
  const replies = await Promise.all(
    requests.map((input) => client.post('/v1/embeddings', { model: 'model', input })),
  );
  for (const [request, texts] of requests.entries()) {
    const found = embeddingsOf(replies[request]!);
    const expected = await rowsOf(model, texts);
    assert.equal(found.length, texts.length);
    for (const [row, values] of expected.entries())
      for (const [place, value] of values.entries())
        assert.ok(Math.abs(found[row]![place]! - value) < 1e-4, `request ${request}, text ${row}`);
  }
  assert.ok((await client.metric('gradcache_batch_tokens_count')) > 5);
});
