/** Updates divided over ranks of weights that are kept in bfloat16, and of tables whose gradients are of rows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runRanks } from './start-ranks.js';

/** Of updates: a digest of the weights, of the state or how many tensors it has, the norms, and whether gradients are zero. */
type Updates = readonly (readonly [weights: string, state: string, norms: string, zero: string])[];

const UPDATES = [
  'host',
  'host, learned',
  'host, radam',
  'none',
  'rows',
  'rows, radam',
  'rows alone',
  'none, rows',
  'host, callers',
  'none, callers',
] as const;

/** What each rank found (divided-own-program.ts). */
type Found = Readonly<Record<(typeof UPDATES)[number], Updates>> & {
  readonly bytes: number;
  readonly training: Readonly<Record<string, readonly [undivided: string, divided: string]>>;
  readonly otherRows: string;
};

for (const size of [2, 3])
  test(`updates of bfloat16 and of rows divided over ${size} ranks`, async (t) => {
    const all = await runRanks<Found>(size, 'divided-own-program.js', []);

    for (const name of UPDATES)
      await t.test(`are the whole ones, bit for bit, and go on from a state of any ranks (${name})`, () => {
        const [weights, state, norms] = all[0]![name][0]!;
        for (const [rank, found] of all.entries()) {
          const [alone, divided, undivided, joined] = found[name];
          const ofRank = rank === 0 ? state : '0';
          assert.deepEqual(alone, [weights, state, norms, 'true']);
          assert.deepEqual(divided, [weights, ofRank, norms, 'true']);
          assert.deepEqual(undivided, [weights, state, norms, 'true']);
          assert.deepEqual(joined, [weights, ofRank, norms, 'true']);
        }
      });

    await t.test('train what whole ones do', () => {
      for (const { training } of all)
        for (const [name, [undivided, divided]] of Object.entries(training)) {
          // A sum over two ranks is the same in either order.
          if (size === 2) assert.equal(divided, undivided, name);
          assert.equal(divided, all[0]!.training[name]![1], name);
        }
    });

    await t.test('take a share of the memory', () => {
      const whole = 26e6 * 4 * 3;
      for (const { bytes } of all) assert.ok(Math.abs(bytes - whole / size) < whole / 8, `${bytes} bytes`);
    });

    await t.test('refuse gradients that are of other rows on each rank', () => {
      const counts = Array.from({ length: size }, (_, rank) => 2 + rank).join(', ');
      for (const { otherRows } of all)
        assert.ok(otherRows.startsWith(`INPUT: Ranks have gradients of ${counts} rows of `), otherRows);
    });
  });
