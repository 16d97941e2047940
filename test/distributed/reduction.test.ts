/** Gradients are added up under the backward pass, and in bfloat16, as they are else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runRanks } from './start-ranks.js';

/** What each rank found (reduction-program.ts): how far gradients or weights are apart, relative. */
interface Found {
  readonly overlap: number;
  readonly narrow: number;
  readonly both: number;
  readonly shares: number;
  /** The same with parts under the last chunk's backward: own, bfloat16, shares, tied. */
  readonly parts: readonly number[];
  readonly otherParts: string;
  readonly modules: number;
  readonly different: string;
  readonly retried: Failed;
  readonly failed: Failed;
  readonly fine: Failed;
  readonly first: Failed;
  readonly inParts: Failed;
  readonly failedInParts: Failed;
  readonly lost: Failed;
}

interface Failed {
  readonly failure: { readonly code?: string; readonly message?: string; readonly retries?: number };
  readonly zero: boolean;
  /** Of the gradients of the next step. */
  readonly norm: number;
}

test('gradients that are added up early are the same bits, and in bfloat16 they are off by its rounding', async () => {
  const all = await runRanks<Found>(2, 'reduction-program.js', []);
  for (const [rank, found] of all.entries()) {
    const {
      overlap,
      narrow,
      both,
      shares,
      parts,
      modules,
      different,
      otherParts,
      retried,
      failed,
      fine,
      first,
      inParts,
      failedInParts,
      lost,
    } = found;
    assert.deepEqual([overlap, both, shares, ...parts], [0, 0, 0, 0, 0, 0, 0]);
    for (const error of [narrow, modules]) assert.ok(error > 0 && error < 2 ** -8, `${error}`);
    for (const refused of [different, otherParts])
      assert.match(refused, /^INPUT: the ranks add up gradients in different ways/);
    assert.deepEqual([retried.failure, retried.zero], [{ retries: 1 }, false]);
    const message = rank === 1 ? 'it is NaN' : 'rank 1: it is NaN';
    assert.deepEqual(failed.failure, { code: 'NON_FINITE', message });
    assert.ok(failed.zero && failedInParts.zero);
    assert.deepEqual(failedInParts.failure, failed.failure);
    for (const each of [first, inParts]) assert.deepEqual(each.failure, { retries: 1 });
    assert.deepEqual(lost.failure, {
      code: 'DISPOSED',
      message: rank === 1 ? 'it is gone' : 'rank 1: it is gone',
    });
    assert.ok(lost.zero);
    for (const { norm } of [retried, failed, inParts, failedInParts, lost])
      assert.ok(Math.abs(norm / fine.norm - 1) < 1e-6);
  }
});
