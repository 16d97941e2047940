/** Ranks meet, tell one another numbers and errors, and end when one of them does. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { freePort } from '../../lib/distributed/launch.js';
import { Ranks } from '../../lib/index.js';
import { runRanks, startRanks, type End, type StartOptions } from './start-ranks.js';

interface Failure {
  readonly code?: string;
  readonly message: string;
}

/** What each program told each rank; the ranks run these one after the other, and go on after each. */
let together: Promise<Readonly<Record<string, unknown>>[]> | undefined;

async function inTurn<T>(name: string): Promise<T[]> {
  together ??= meetingAnew();
  return (await together).map((told) => told[name] as T);
}

async function meetingAnew(): Promise<Readonly<Record<string, unknown>>[]> {
  const ports = await Promise.all(Array.from({ length: 5 }, () => freePort()));
  return runRanks(2, 'ranks-program.js', ['all'], { env: { PORTS: ports.join() } });
}

const run = <T>(size: number, name: string, options?: StartOptions): Promise<T[]> =>
  runRanks<T>(size, 'ranks-program.js', [name], options);

/** Three ranks that tell each other numbers and then wait, until the second one is killed. */
let three: Promise<{ ends: End[]; milliseconds: number }> | undefined;

async function killed(): Promise<{ ends: End[]; milliseconds: number }> {
  const { children, said, ends } = await startRanks(3, 'ranks-program.js', ['wait'], {
    env: { TIMEOUT: '100' },
  });
  await Promise.all([0, 1, 2].map((rank) => said(rank, 'joined')));
  const begin = performance.now();
  children[1]!.kill('SIGKILL');
  return { ends: await ends, milliseconds: performance.now() - begin };
}

test('a process without a place trains alone', async () => {
  for (const name of ['RANK', 'WORLD_SIZE']) delete process.env[name];
  assert.equal(await Ranks.join(), null);
});

test('ranks know their places and exchange numbers and bytes of any length', async () => {
  const { ends } = await (three ??= killed());
  const all = ends.map(({ stdout }) => JSON.parse(stdout.split('\n')[0]!) as unknown);
  const long = ['NaN', ...Array.from({ length: 39 }, (_, k) => 1 + (k + 1) / 3)].join();
  for (const [rank, each] of all.entries())
    assert.deepEqual(each, {
      rank,
      size: 3,
      localRank: rank,
      device: 'cpu',
      all: [`NaN,${1 / 3}`, long, `NaN,${2 + 1 / 3}`],
      bytes: [0, 100, 200],
    });
});

test('all ranks get the parameters of rank 0, whatever their layout and type', async () => {
  const all = await inTurn('broadcast');
  assert.deepEqual(all[1], all[0]);
  assert.deepEqual(all[0], ['0,1,2,3,4,5', '0,3,1,4,2,5']);
  for (const each of await inTurn<Failure>('other parameters')) {
    assert.equal(each.code, 'SHAPE');
    assert.match(each.message, /rank 1 has other parameters than rank 0/);
  }
});

test('work that fails on one rank fails on all with its code, and all go on', async () => {
  assert.deepEqual(await inTurn('agree'), [0, 1]);
  const [other, own] = await inTurn<Failure>('one fails');
  assert.deepEqual(own, { code: 'CHECKPOINT', message: 'model.safetensors is cut off' });
  assert.deepEqual(other, { code: 'CHECKPOINT', message: 'rank 1: model.safetensors is cut off' });
  const [first, second] = await inTurn('one fails, then all go on');
  assert.deepEqual(first, ['GradCacheError: rank 1: no function', [[0], [1]]]);
  assert.deepEqual(second, ['TypeError: no function', [[0], [1]]]);
});

test('a search is shared out: the ranking of one process, and the error of one rank on all', async () => {
  const all = await inTurn<{ equal: boolean[]; failure: Failure; after: number[][] }>('search');
  for (const [rank, { equal, failure, after }] of all.entries()) {
    assert.deepEqual(equal, [true, true]);
    assert.equal(failure.code, 'NON_FINITE');
    assert.match(
      failure.message,
      rank === 0 ? /^rank 1: The score of query 1 and/ : /^The score of query 1 and/,
    );
    assert.deepEqual(after, [[0], [1]]);
  }
});

test('ranks that lose each other end, and name the places where they are', async () => {
  const [left, right] = await inTurn<Failure>('unequal numbers of steps');
  assert.equal(left!.code, 'DISTRIBUTED');
  assert.match(left!.message, /not at the same place, rank 0: exchanging numbers; rank 1: close\(\)/);
  assert.equal(right, 'fine');
  for (const each of await inTurn<Failure>('other calls')) {
    assert.equal(each.code, 'DISTRIBUTED');
    assert.match(each.message, /rank 0: exchanging numbers; rank 1: saving\. Every rank/);
  }
});

test('a mistake of one rank is named on the others', async () => {
  const [other] = await inTurn<Failure>('a mistake outside');
  assert.equal(other!.code, 'DISTRIBUTED');
  assert.match(other!.message, /rank 1: .*data\.jsonl, line 77: no JSON/);
});

test('ranks are not used inside agree() or after close()', async () => {
  for (const each of await inTurn<Failure>('used in agree')) assert.equal(each.code, 'INPUT');
  for (const each of await inTurn<Failure>('used after close')) assert.equal(each.code, 'DISPOSED');
});

test('a rank that does not find the others says so within the timeout', async () => {
  const [missing, nobody] = await inTurn<Failure>('nobody');
  for (const { code } of [missing!, nobody!]) assert.equal(code, 'DISTRIBUTED');
  assert.match(missing!.message, /rank 0 of 2 did not meet the others within 2 s/);
  assert.match(nobody!.message, /rank 1 of 2 did not reach the ranks' store at 127\.0\.0\.1:\d+/);
});

// They wait for timeouts more than they compute.
describe('time limits', { concurrency: true }, () => {
  test('work may take longer than the timeout', async () => {
    assert.deepEqual(await run(2, 'a long work of one', { env: { TIMEOUT: '5' } }), ['fine', 'fine']);
  });

  test('a rank that is killed ends the others at once, and not after the timeout', async () => {
    const { ends, milliseconds } = await (three ??= killed());
    const [first, , last] = ends;
    assert.ok(milliseconds < 60_000);
    for (const each of [first!, last!]) {
      const { code, message } = JSON.parse(each.stdout.trim().split('\n').at(-1)!) as Failure;
      assert.equal(code, 'DISTRIBUTED', message);
      assert.equal(each.code, 0, each.stderr);
    }
  });

  test('a rank that never answers ends the others after the timeout', async () => {
    const { children, ends } = await startRanks(2, 'ranks-program.js', ['wait'], { env: { TIMEOUT: '2' } });
    await new Promise((resolve) => children[0]!.once('exit', resolve));
    assert.equal(children[1]!.exitCode, null); // it sleeps as long as it can
    children[1]!.kill('SIGKILL');
    const [first] = await ends;
    assert.match(first!.stdout, /"code":"DISTRIBUTED"/);
  });

  test('a rank that waits can exit', async () => {
    const { children, ends } = await startRanks(2, 'ranks-program.js', ['exit while it waits']);
    const [code] = await new Promise<[number | null]>((resolve) =>
      children[0]!.once('exit', (code) => {
        resolve([code]);
      }),
    );
    assert.equal(code, 7);
    const [first] = await ends;
    assert.equal(first!.stderr, '');
  });
});
