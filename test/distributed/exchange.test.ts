/** Representations that go round the ranks in blocks. That gradients are the same is in gradients.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  adaptiveLayer,
  coSENT,
  crossBatchMemory,
  gistEmbed,
  GradCache,
  infoNCE,
  matryoshka,
  sigLIP,
  splade,
  triplet,
  type Loss,
} from '../../lib/index.js';
import { textEncoder } from '../exactness/support.js';
import { runRanks } from './start-ranks.js';

interface Found {
  readonly bytes: Readonly<Record<'ring' | 'gather', number>>;
  readonly twice: boolean;
  readonly different: string;
  readonly widths: string;
  readonly late: string;
  readonly next: string;
}

test('a ring needs less memory, and gives the same bits twice', async () => {
  const all = await runRanks<Found>(4, 'exchange-program.js', [], { limit: 60 });
  for (const [rank, { bytes, twice, different, widths, late, next }] of all.entries()) {
    // Of two towers: all rows and their gradients, against this rank's own, and those of another of one tower.
    const own = 256 * 16_384 * 4;
    assert.ok(bytes.gather > 4 * 4 * own * 0.9, `gathered ${bytes.gather}`);
    assert.ok(bytes.ring < 4 * 4 * own * 0.6, `in a ring ${bytes.ring}`);
    assert.ok(twice);
    assert.match(different, /^INPUT: .*exchange is not the same on all ranks/);
    assert.match(widths, /^SHAPE: /);
    assert.match(late, rank === 3 ? /it fell over$/ : /rank 3: it fell over$/);
    assert.equal(next, 'none');
  }
});

test('a loss that needs the representations of all on each rank is refused', async () => {
  const encoder = await textEncoder('float32');
  const make = (loss: Loss) => (): unknown =>
    new GradCache({ encoders: [encoder, encoder], loss, exchange: 'ring' });
  for (const loss of [
    coSENT(),
    gistEmbed({ guide: 'self' }),
    crossBatchMemory(infoNCE(), { capacity: 4 }),
    splade(infoNCE({ similarity: 'dot' }), { documentRegularizerWeight: 1, queryRegularizerWeight: 1 }),
    matryoshka(coSENT(), { dimensions: [4] }),
    (a) => a.sum(),
  ] satisfies Loss[])
    assert.throws(make(loss), { code: 'INPUT', message: /^exchange is 'ring'; 'gather' is needed: / });
  for (const loss of [infoNCE(), sigLIP(), matryoshka(infoNCE(), { dimensions: [4] }), triplet()])
    make(loss)();
  assert.equal(adaptiveLayer(infoNCE(), { layers: [1, 2] }).takesRing, true);
  encoder.dispose();
});
