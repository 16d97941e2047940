/** A step over ranks that goes wrong on one of them: what each is told, and that the gradients are as they were. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { runRanks, startRanks } from './start-ranks.js';

interface Failure {
  readonly code?: string;
  readonly message: string;
}

interface Step {
  readonly retries: number;
  readonly norm: number;
  readonly chunks?: readonly { readonly sequences: number }[];
}

/** What each program told each rank; the ranks run all of them, one after the other. */
let together: Promise<Readonly<Record<string, unknown>>[]> | undefined;

async function run<T>(name: string): Promise<T[]> {
  together ??= runRanks(2, 'failures-program.js', ['all']);
  return (await together).map((told) => told[name] as T);
}

test('where memory runs out on one rank all try again, and it alone takes smaller chunks', async () => {
  const [fine] = await run<Step>('fine');
  for (const name of ['memory runs out while encoding', 'memory runs out in the backward pass']) {
    const [other, full] = await run<Step>(name);
    assert.equal(other!.retries, 1, name);
    assert.equal(full!.retries, 1, name);
    assert.deepEqual(other!.chunks, fine!.chunks);
    assert.deepEqual(full!.chunks, [{ sequences: 2 }, { sequences: 2 }]);
    for (const { norm } of [other!, full!]) assert.ok(Math.abs(norm / fine!.norm - 1) < 1e-9, name);
  }
  for (const name of ['memory runs out in the loss', 'memory runs out in the loss, in a ring'])
    for (const { retries } of await run<Step>(name)) assert.equal(retries, 1, name);
});

const FAILURES: Readonly<Record<string, readonly [code: string, own: RegExp, other: RegExp]>> = {
  'memory cannot suffice': ['OUT_OF_MEMORY', /^memory does not suffice for chunks of one row/, /^rank 1: /],
  'an error while encoding': ['DISTRIBUTED', /^no function$/, /^rank 1: no function$/],
  'an error in the backward pass': ['NON_FINITE', /^it is NaN$/, /^rank 1: it is NaN$/],
  // The same as of one process.
  'keyword arguments that do not fit': [
    'SHAPE',
    /^1 targets for 8 anchors$/,
    /^rank 1: 1 targets for 8 anchors$/,
  ],
};

for (const [name, [code, own, other]] of Object.entries(FAILURES))
  test(`the gradients stay as they were, all ranks are told, and the next step works: ${name}`, async () => {
    const all = await run<{ error: Failure; kept: boolean; next: boolean }>(name);
    for (const [rank, { error, kept, next }] of all.entries()) {
      assert.match(error.message, rank === 1 ? own : other);
      if (rank === 0) assert.equal(error.code, code);
      assert.ok(kept && next);
    }
  });

test('an error of one rank has the same code on all', async () => {
  for (const [name, code, message] of [
    ['an error in the loss', 'DTYPE', /wrong type$/],
    ['an error in the loss, in a ring', 'DTYPE', /wrong type$/],
    ['an error in a loss in TypeScript', 'DTYPE', /wrong type$/],
    ['stopped on one rank', 'ABORTED', /stopped by the AbortSignal$/],
    ['a step with wrong inputs on one rank', 'DISTRIBUTED', /no such file$/],
  ] as const) {
    const [other, own] = await run<Failure>(name);
    assert.equal(other!.code, code, name);
    assert.match(other!.message, message);
    assert.match(own!.message, message);
  }
});

test('a loss that adds up other types on each rank is refused on all, which go on', async () => {
  for (const { code, message } of await run<Failure>('a loss that adds up other types on each rank')) {
    assert.equal(code, 'DISTRIBUTED');
    assert.match(message, /adds up 2 numbers of int64 on rank 1, and 2 numbers of int32 on rank 0/);
  }
});

test('a rank that makes fewer steps is missed at once', async () => {
  const [other] = await run<Failure>('an unequal number of steps');
  assert.equal(other!.code, 'DISTRIBUTED');
  assert.match(other!.message, /rank 0: beginning a step; rank 1: close\(\)/);
});

// They wait more than they compute.
describe('ranks that end or are late', { concurrency: true }, () => {
  for (const program of ['killed', 'killed in a ring'])
    test(`a rank that is killed in a step ends the others: ${program}`, async () => {
      const env = { TIMEOUT: '100' };
      const { children, said, ends } = await startRanks(3, 'failures-program.js', [program], { env });
      await Promise.all([0, 1, 2].map((rank) => said(rank, 'begins')));
      await new Promise((resolve) => setTimeout(resolve, 300));
      const killed = performance.now();
      children[2]!.kill('SIGKILL');
      const all = await ends;
      assert.ok(performance.now() - killed < 60_000); // and not after the timeout
      for (const { code, stdout } of all.slice(0, 2)) {
        assert.equal(code, 0);
        assert.match(stdout, /"code":"DISTRIBUTED"/);
        assert.doesNotMatch(stdout, /failed on rank [01]/); // it was rank 2
        assert.match(stdout, /over 3 ranks failed: .*rank [01] heard no reason from the others, and sees: /);
      }
    });

  test('a rank that is late ends the others after the timeout', async () => {
    const { children, ends } = await startRanks(2, 'failures-program.js', ['late'], {
      env: { TIMEOUT: '6' },
    });
    await new Promise((resolve) => children[0]!.once('exit', resolve));
    children[1]!.kill('SIGKILL');
    const [first] = await ends;
    assert.match(first!.stdout, /"code":"DISTRIBUTED"/);
  });
});
