/** Updates divided over ranks of weights that are kept in bfloat16, and of tables whose gradients are of rows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertWhole, UPDATES, type Found } from './divided-own-found.js';
import { runRanks } from './start-ranks.js';

for (const size of [2, 3])
  test(`updates of bfloat16 and of rows divided over ${size} ranks`, async (t) => {
    const all = await runRanks<Found>(size, 'divided-own-program.js', []);

    for (const name of UPDATES)
      await t.test(`are the whole ones, bit for bit, and go on from a state of any ranks (${name})`, () => {
        assertWhole(name, all);
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
