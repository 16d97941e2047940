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
  /** Of a loss: how far it, the slope of its scale and its gradients are apart. */
  readonly kernels: Readonly<Record<string, readonly number[]>>;
  readonly different: string;
  readonly widths: string;
  readonly rows: string;
  readonly late: string;
  readonly next: string;
}

test('a ring needs less memory, gives the same bits twice, and takes kernels', async () => {
  const all = await runRanks<Found>(3, 'exchange-program.js', [], {
    env: { MALLOC_MMAP_THRESHOLD_: '65536' }, // what is freed goes back to the system at once
  });
  for (const [rank, { bytes, twice, kernels, different, widths, rows, late, next }] of all.entries()) {
    // Of two towers: all rows and their gradients, against this rank's own, and those of another of one tower.
    const own = 32 * 65_536 * 4;
    assert.ok(bytes.gather > 4 * 3 * own * 0.9, `gathered ${bytes.gather}`);
    assert.ok(bytes.ring < bytes.gather * 0.7, `in a ring ${bytes.ring}, gathered ${bytes.gather}`);
    assert.ok(twice);
    for (const [loss, apart] of Object.entries(kernels))
      assert.ok(Math.max(...apart) < 2e-5, `${loss}: ${apart.join()}`);
    assert.equal(Object.keys(kernels).length, 10);
    assert.match(different, /^INPUT: .*exchange is not the same on all ranks/);
    assert.match(widths, /^SHAPE: /);
    assert.match(rows, /^INPUT: rank 1 has no row of tower 0, whose rows this loss compares with all others/);
    assert.match(late, rank === 2 ? /it fell over$/ : /rank 2: it fell over$/);
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
  for (const loss of [
    infoNCE(),
    sigLIP(),
    matryoshka(infoNCE(), { dimensions: [4] }),
    triplet(),
    splade(triplet(), { documentRegularizerWeight: 1 }),
  ])
    make(loss)();
  assert.equal(adaptiveLayer(infoNCE(), { layers: [2, 1] }).takesRing, true);
  encoder.dispose();
});
