import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GradCache, infoNCE, Tensor, type Encoder, type TokenBatch } from '../../lib/index.js';
import { architectures, clear, gradients, tenTexts, textEncoder } from '../exactness/support.js';

const batches = [tenTexts(1), tenTexts(2)];

/** The encoder without its passes over rows: a step then takes representations and gradients chunk by chunk. */
function byChunks(encoder: Encoder<TokenBatch>): Encoder<TokenBatch> {
  return new Proxy(encoder, {
    get: (target, name) => {
      if (name === 'rowPasses') return undefined;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

for (const architecture of architectures) {
  test(`passes over rows and passes over chunks give the same bits: ${architecture}`, async () => {
    for (const retain of ['last', { bytes: 0 }, { bytes: 2 ** 40 }] as const) {
      const results = await Promise.all(
        [byChunks, (encoder: Encoder<TokenBatch>) => encoder].map(async (as) => {
          const encoder = await textEncoder('float32', { dropout: 0.2, architecture });
          const towers = [as(encoder), as(encoder)];
          const chunk = { sequences: 3 };
          const gradcache = new GradCache({ encoders: towers, loss: infoNCE(), seed: 7, chunk, retain });
          const { loss } = await gradcache.step(batches);
          return { loss, gradients: await gradients([encoder]) };
        }),
      );
      assert.deepEqual(results[0], results[1]);
    }
  });
}

test('a step makes as many tensors in JavaScript with many chunks as with few', async (t) => {
  const encoder = await textEncoder('float32');
  const disposed = t.mock.method(Tensor.prototype, 'dispose');
  const made = async (sequences: number): Promise<number> => {
    const before = disposed.mock.callCount();
    const chunk = { sequences };
    const gradcache = new GradCache({
      encoders: [encoder, encoder],
      loss: infoNCE(),
      chunk,
      retain: { bytes: 0 },
    });
    await gradcache.step(batches);
    clear([encoder]);
    return disposed.mock.callCount() - before;
  };
  assert.equal(await made(1), await made(10));
});
