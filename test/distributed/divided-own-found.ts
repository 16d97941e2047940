import assert from 'node:assert/strict';

/** Of updates: a digest of the weights, of the state or how many tensors it has, the norms, and whether gradients are zero. */
type Updates = readonly (readonly [weights: string, state: string, norms: string, zero: string])[];

export const UPDATES = [
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
export type Found = Readonly<Record<(typeof UPDATES)[number], Updates>> & {
  readonly bytes: number;
  readonly training: Readonly<Record<string, readonly [undivided: string, divided: string]>>;
  readonly otherRows: string;
};

/** Updates that were divided, from their beginning or from a state on, are those of one that was not. */
export function assertWhole(name: (typeof UPDATES)[number], all: readonly Found[]): void {
  const [weights, state, norms] = all[0]![name][0]!;
  for (const [rank, found] of all.entries()) {
    const [alone, divided, undivided, joined] = found[name];
    const ofRank = rank === 0 ? state : '0';
    assert.deepEqual(alone, [weights, state, norms, 'true']);
    assert.deepEqual(divided, [weights, ofRank, norms, 'true']);
    assert.deepEqual(undivided, [weights, state, norms, 'true']);
    assert.deepEqual(joined, [weights, ofRank, norms, 'true']);
  }
}
