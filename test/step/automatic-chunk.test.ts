import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AutomaticChunk } from '../../lib/step/automatic-chunk.js';
import type { Chunk, Encoder } from '../../lib/index.js';

const GIB = 2 ** 30;

/** What the chunk size is chosen from, of an encoder whose graph takes 100 kB a token. */
function encoder(device = 'cuda:0', bytesPerToken: number | null = 1e5): Encoder {
  return {
    device,
    automaticChunk: { tokens: 32_768 },
    graphBytes: ({ tokens }: Chunk<unknown>) => (bytesPerToken === null ? null : tokens * bytesPerToken),
  } as unknown as Encoder;
}

function step(of: Encoder, tokens: number, peak: number) {
  const chunk = { batch: null as never, rows: Int32Array.of(0), tokens };
  return { jobs: [{ encoder: of, chunk, retain: false }], before: GIB, peak: GIB + peak, divisor: 1 };
}

test('the first step has the encoder’s own size, the next fills a share of what is free', () => {
  const of = encoder();
  const chunk = new AutomaticChunk('last', () => 60 * GIB);
  assert.deepEqual(chunk.sizeFor(of), { tokens: 32_768 });
  chunk.learn(step(of, 32_000, 32_000 * 1.5e5));
  // 60 % of 60 GiB at 150 kB a token, in whole grains.
  const tokens = Math.floor((0.6 * 60 * GIB) / 1.5e5 / 4096) * 4096;
  assert.deepEqual(chunk.sizeFor(of), { tokens });
  chunk.learn(step(of, 32_000, 32_000 * 9e5));
  assert.deepEqual(chunk.sizeFor(of), { tokens }, 'and stays');
});

test('a small card gets a small chunk, a large one no more than is of use', () => {
  for (const [gib, expected] of [
    [4, 16_384],
    [0.1, 4096],
    [1000, 262_144],
  ] as const) {
    const of = encoder();
    const chunk = new AutomaticChunk('last', () => gib * GIB);
    chunk.sizeFor(of);
    chunk.learn(step(of, 32_000, 32_000 * 1.5e5));
    assert.deepEqual(chunk.sizeFor(of), { tokens: expected });
  }
});

test('memory that graphs were promised is left to them, as far as they can use it', () => {
  for (const [bytes, expected] of [
    [56 * GIB, 16_384], // 4 GiB are left
    [1e15, 32_768], // every graph is kept: the size does not matter
  ] as const) {
    const of = encoder();
    const chunk = new AutomaticChunk({ bytes }, () => 60 * GIB);
    chunk.sizeFor(of);
    const { jobs, ...rest } = step(of, 32_000, 32_000 * 1.5e5);
    chunk.learn({ ...rest, jobs: Array.from({ length: 40 }, () => jobs[0]!) });
    assert.deepEqual(chunk.sizeFor(of), { tokens: expected });
  }
});

test('a tower that cannot be measured does not keep the others from it', () => {
  const [of, other] = [encoder(), encoder('cuda:0', null)];
  const chunk = new AutomaticChunk('last', () => 4 * GIB);
  for (const each of [of, other]) chunk.sizeFor(each);
  const { jobs, ...rest } = step(of, 32_000, 32_000 * 1.5e5);
  chunk.learn({ ...rest, jobs: [...jobs, ...step(other, 32_000, 0).jobs] });
  assert.deepEqual(chunk.sizeFor(of), { tokens: 16_384 });
  assert.deepEqual(chunk.sizeFor(other), { tokens: 32_768 });
});

test('after memory ran out, what was measured is measured in the divided size', () => {
  const of = encoder();
  const chunk = new AutomaticChunk('last', () => 4 * GIB);
  chunk.sizeFor(of);
  chunk.learn({ ...step(of, 8000, 8000 * 1.5e5), divisor: 4 });
  assert.deepEqual(chunk.sizeFor(of), { tokens: 4 * 16_384 });
});

test('nothing is learnt from a batch too small to tell, on the CPU, without a known graph, or where graphs take all', () => {
  for (const [of, retain, tokens] of [
    [encoder(), 'last', 4000],
    [encoder('cpu'), 'last', 32_000],
    [encoder('cuda:0', null), 'last', 32_000],
    [encoder('cuda:0', 0), 'last', 32_000],
    [encoder(), 'auto', 32_000],
  ] as const) {
    const chunk = new AutomaticChunk(retain, () => 60 * GIB);
    chunk.sizeFor(of);
    chunk.learn(step(of, tokens, tokens * 1.5e5));
    assert.deepEqual(chunk.sizeFor(of), { tokens: 32_768 });
  }
});
