/*
 * A batch that is packed once: its chunks are lists of its rows, and it is gone with the step.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GradCache, infoNCE, planChunks, type Encoder, type TokenBatch } from '../../lib/index.js';
import { gradients, tenTexts, textEncoder } from '../exactness/support.js';
import { fails } from '../robustness/failures.js';

const batches = [tenTexts(1), tenTexts(2)] as const;

/** The encoder, with a note of what a step packs, of its chunks without it, and of what it frees. */
function watched(encoder: Encoder<TokenBatch>) {
  const notes = { packed: 0, freed: 0, bare: 0 };
  const note = { ...notes };
  const own: Encoder<TokenBatch> = {
    device: encoder.device,
    automaticChunk: { sequences: 3 },
    lengths: (batch) => encoder.lengths(batch),
    truncated: (batch) => encoder.truncated(batch),
    graphBytes: (chunk) => encoder.graphBytes(chunk),
    parameters: () => encoder.parameters(),
    pack: async (batch) => {
      const packed = (await encoder.pack!(batch))!;
      const dispose = packed.dispose.bind(packed);
      note.packed++;
      packed.dispose = () => {
        note.freed++;
        dispose();
      };
      return packed;
    },
    forwardChunk: (chunk, options) => {
      if (chunk.packed === undefined) note.bare++;
      return encoder.forwardChunk(chunk, options);
    },
    backwardChunk: (chunk, ...rest) => {
      if (chunk.packed === undefined) note.bare++;
      return encoder.backwardChunk(chunk, ...rest);
    },
  };
  return { own, note };
}

test('a step packs the batch of each tower once, and its chunks are rows of it', async () => {
  const encoder = await textEncoder('float32', { dropout: 0.1 });
  const { own, note } = watched(encoder);
  const gradcache = new GradCache({ encoders: [own, own], loss: infoNCE({ temperature: 0.1 }) });
  assert.equal((await gradcache.step(batches)).chunks, 8);
  assert.deepEqual(note, { packed: 2, freed: 2, bare: 0 });
});

test('a packed batch is freed where the step fails or is aborted, or the other tower is refused', async () => {
  const encoder = await textEncoder('float32');
  const { own, note } = watched(encoder);
  const step = (loss: () => never, inputs: readonly TokenBatch[] = batches, signal?: AbortSignal) =>
    new GradCache({ encoders: [own, own], loss }).step(inputs, { signal });
  await assert.rejects(
    step(() => {
      throw new Error('no loss');
    }),
    /no loss/,
  );
  assert.deepEqual(note, { packed: 2, freed: 2, bare: 0 });
  const stop = new AbortController();
  await assert.rejects(
    step(
      () => {
        throw new Error('not reached');
      },
      batches,
      (queueMicrotask(() => {
        stop.abort();
      }),
      stop.signal),
    ),
    fails('ABORTED', /./),
  );
  assert.equal(note.freed, note.packed);
  const before = note.packed;
  const foreign = { ids: Int32Array.of(3, 97), offsets: Int32Array.of(0, 1, 2), truncated: 0 };
  await assert.rejects(
    step(() => assert.fail(), [batches[0], foreign]),
    fails('INPUT', /inputs\[1\]: token id 97 of sequence 1 /),
  );
  assert.deepEqual([note.packed - before, note.freed], [1, note.packed]);
});

test('chunks of a packed batch, and chunks that are packed one by one, give the same bits', async () => {
  const results = await Promise.all(
    [true, false].map(async (once) => {
      const encoder = await textEncoder('float32', { dropout: 0.2 });
      const { own } = watched(encoder);
      const bare: Partial<Encoder<TokenBatch>> = { ...own };
      if (!once) delete bare.pack;
      const towers = [bare, bare] as unknown as Encoder<TokenBatch>[];
      const gradcache = new GradCache({ encoders: towers, loss: infoNCE({ temperature: 0.1 }), seed: 7 });
      const { loss } = await gradcache.step(batches);
      return { loss, gradients: await gradients([encoder]) };
    }),
  );
  assert.deepEqual(results[0], results[1]);
});

test('a refusal names the row of the batch, whatever its place in a chunk', async () => {
  const encoder = await textEncoder('float32');
  const ids = Int32Array.from({ length: 50 }, () => 3);
  const long = { ids, offsets: Int32Array.of(0, 2, 4, 50), truncated: 0 };
  const outside = {
    ids: Int32Array.of(1, 2, 97),
    offsets: Int32Array.of(0, 1, 2, 3),
    truncated: 0,
  };
  for (const [batch, message] of [
    [long, /sequence 2 has 46 tokens/],
    [outside, /token id 97 of sequence 2 /],
  ] as const) {
    await assert.rejects(encoder.pack(batch), fails('INPUT', message));
    const chunk = { batch, rows: Int32Array.of(2), tokens: batch === long ? 46 : 1 };
    await assert.rejects(encoder.forwardChunk(chunk, { seed: 1 }), fails('INPUT', message));
  }
});

test('a packed batch of another batch or encoder, or one that is freed, is refused', async () => {
  const encoder = await textEncoder('float32');
  const [batch, other] = batches;
  const packed = await encoder.pack(batch);
  const [{ rows, tokens }] = planChunks(encoder.lengths(batch), { sequences: 4 }) as [
    { rows: Int32Array; tokens: number },
  ];
  const forward = (chunk: object) =>
    encoder.forwardChunk({ batch, packed, rows, tokens, ...chunk }, { seed: 1 });
  await assert.rejects(forward({ batch: other }), fails('INPUT', /packed/));
  for (const odd of [null, 3, {}, { dispose() {} }])
    await assert.rejects(forward({ packed: odd }), fails('INPUT', /packed/));
  await assert.rejects(forward({ rows: Int32Array.of(10) }), fails('SHAPE', /row 10 .* 10 rows/));
  await assert.rejects(forward({ rows: Int32Array.of(-1) }), fails('SHAPE', /row -1/));
  await assert.rejects(forward({ tokens: tokens + 1 }), fails('SHAPE', /says that it has/));
  (await forward({})).representations.dispose();
  packed.dispose();
  await assert.rejects(forward({}), fails('DISPOSED', /packed/));
});
