/** An update that is divided over ranks is that of one process, and takes a share of the memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runRanks } from './start-ranks.js';

/** What each rank found (divided-program.ts). */
interface Found {
  /** What updates of a large parameter take in memory, divided and not. */
  readonly bytes: readonly [number, number];
  readonly adamw: Updates;
  readonly clipped: Updates;
  readonly radam: Updates;
  readonly float32: Trained;
  readonly bfloat16: Trained;
  readonly accumulated: Trained;
  readonly reloaded: readonly [string, string];
  readonly refusals: Readonly<Record<string, string>>;
  readonly torn: Readonly<Record<'put' | 'gather', Torn>>;
}

/** What an update that failed when some ranks had made their part left. */
interface Torn {
  readonly update: string;
  /** What the next update, and the state, then say. */
  readonly again: readonly string[];
  /** After weights and state were loaded anew. */
  readonly next: string;
  readonly same: boolean;
  /** Whether all gradients were zero. */
  readonly zero: boolean;
}

/** Digests of the weights and of the state. */
interface Updates {
  readonly alone: readonly string[];
  readonly divided: readonly string[];
  readonly norms: readonly number[];
}

/** Digests of the weights, and how far they are apart. */
interface Trained {
  readonly digests: readonly [alone: string, divided: string];
  readonly apart: number;
}

for (const size of [2, 3])
  test(`updates divided over ${size} ranks`, async (t) => {
    const all = await runRanks<Found>(size, 'divided-program.js', []);

    await t.test('are the whole ones, bit for bit', () => {
      for (const [rank, found] of all.entries())
        for (const name of ['adamw', 'clipped', 'radam'] as const) {
          const { alone, divided, norms } = found[name];
          for (const [step, norm] of norms.slice(7).entries())
            assert.ok(Math.abs(norm / norms[step]! - 1) < 1e-12);
          assert.deepEqual(divided, [alone[0], rank === 0 ? alone[1] : '0'], name);
        }
    });

    await t.test('train what whole ones do', () => {
      for (const [rank, found] of all.entries()) {
        for (const name of ['float32', 'bfloat16'] as const) {
          const { digests, apart } = found[name];
          // A sum over two ranks is the same in either order.
          if (size === 2) assert.equal(digests[1], digests[0], name);
          assert.ok(apart < (name === 'float32' ? 1e-3 : 0.05), `${name}: ${apart}`);
          assert.equal(digests[1], all[0]![name].digests[1], `${name}: weights of rank ${rank}`);
        }
        assert.ok(found.accumulated.apart < 1e-10, `${found.accumulated.apart}`);
      }
    });

    await t.test('go on from a state that was put together', () => {
      for (const { reloaded } of all) assert.equal(reloaded[1], reloaded[0]);
    });

    await t.test('take a share of the memory', () => {
      const expected = 12e6 * 4 * 2;
      for (const { bytes } of all) {
        const [divided, whole] = bytes;
        assert.ok(Math.abs(whole - expected) < expected / 4, `${whole} bytes`);
        assert.ok(Math.abs(divided - expected / size) < expected / 4, `${divided} bytes`);
      }
    });

    await t.test(
      'that fail when a part is made say on all ranks that weights differ, until they are loaded anew',
      () => {
        for (const [rank, { torn }] of all.entries())
          for (const { update, again, next, same, zero } of Object.values(torn)) {
            const said = of(
              'OUT_OF_MEMORY',
              rank,
              size - 1,
              'no room. The update was made in part: weights differ',
            );
            assert.match(update, said);
            for (const each of again)
              assert.match(
                each,
                /^OUT_OF_MEMORY: An earlier update failed: .*no room\. The update was made in part/,
              );
            assert.deepEqual({ next, same, zero }, { next: 'none', same: true, zero: true });
          }
      },
    );

    await t.test('refuse divided gradients where whole ones are needed, and fail on all ranks alike', () => {
      for (const [rank, { refusals }] of all.entries()) {
        const { clip, undivided, 'not finite': notFinite, failing, ...others } = refusals;
        assert.match(clip!, /^INPUT: clipGradNorm needs whole gradients/);
        assert.match(undivided!, /^INPUT: AdamW needs whole gradients/);
        const faulty = size - 1;
        assert.match(notFinite!, of('NON_FINITE', rank, faulty, 'The norm .*LayerNorm\\.bias\\)'));
        assert.match(failing!, of('OUT_OF_MEMORY', rank, 1, 'no room'));
        assert.deepEqual(others, {
          unchanged: 'true',
          next: 'none',
          changed: 'true',
          state: 'none',
          whole: 'none',
        });
      }
    });
  });

/** How an error of one rank reads on it, and on others. */
function of(code: string, rank: number, faulty: number, message: string): RegExp {
  return new RegExp(`^${code}: ${rank === faulty ? '' : `rank ${faulty}: `}${message}`);
}
