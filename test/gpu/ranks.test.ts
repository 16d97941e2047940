/** Ranks on several GPUs: over NCCL what test/distributed shows over Gloo. Left out where there are fewer than two. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { devices } from '../../lib/index.js';
import { assertWhole, UPDATES, type Found as Own } from '../distributed/divided-own-found.js';
import { runRanks, startRanks, type StartOptions } from '../distributed/start-ranks.js';

const gpus = devices().filter((name) => name.startsWith('cuda')).length;
const skip = gpus < 2 && `${gpus} of two GPUs`;
const programs = join('..', 'distributed');
const onGpus: StartOptions = {
  limit: 120,
  // Multicast of NVLink needs rights that containers often lack.
  env: { NCCL_NVLS_ENABLE: process.env.NCCL_NVLS_ENABLE ?? '0' },
  envOf: (rank) => ({ DEVICE: `cuda:${rank}`, GRADCACHE_TEST_DEVICE: `cuda:${rank}` }),
};

interface Found {
  readonly gradient: number;
  readonly loss: number;
  readonly digest: string;
  readonly error?: string;
}

for (const [precision, tolerance] of [
  ['float64', 1e-10],
  ['float32', 1e-4],
] as const)
  test(`gradients over two GPUs are those of one: ${precision}`, { skip }, async () => {
    const all = await runRanks<Record<string, Found>>(
      2,
      join(programs, 'gradients-program.js'),
      [precision],
      onGpus,
    );
    const wrong: string[] = [];
    for (const [name, { gradient, loss, error, digest }] of Object.entries(all[0]!)) {
      console.log(
        `${precision} ${name}: ${error ?? `${gradient.toExponential(1)}, loss ${loss.toExponential(1)}`}`,
      );
      if (!(gradient <= tolerance && loss <= tolerance)) wrong.push(`${name}: ${error ?? gradient}`);
      if (all[1]![name]?.digest !== digest) wrong.push(`${name}: other weights on rank 1`);
    }
    assert.deepEqual(wrong, []);
  });

for (const program of ['killed', 'killed in a ring'])
  test(`a rank that is killed in a step ends the others: ${program}`, { skip }, async () => {
    const { children, said, ends } = await startRanks(
      2,
      join(programs, 'failures-program.js'),
      [program],
      onGpus,
    );
    await Promise.all([0, 1].map((rank) => said(rank, 'begins')));
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const killed = performance.now();
    children[1]!.kill('SIGKILL');
    const [first] = await ends;
    console.log(
      `ended after ${((performance.now() - killed) / 1000).toFixed(1)} s: ${first!.stdout.trim().split('\n').at(-1)}`,
    );
    assert.equal(first!.code, 0, first!.stderr.slice(-2000));
    assert.match(first!.stdout, /"code":"DISTRIBUTED"/);
  });

test('errors and memory that runs out on one GPU are told on all', { skip }, async () => {
  for (const name of [
    'memory runs out while encoding',
    'memory runs out in the loss',
    'an error in the backward pass',
  ]) {
    const all = await runRanks<unknown>(2, join(programs, 'failures-program.js'), [name], onGpus);
    console.log(name, JSON.stringify(all));
  }
});

test('a rank has no context on the GPU of another', { skip }, async () => {
  const { children, said, ends } = await startRanks(2, join(programs, 'ranks-program.js'), ['wait'], onGpus);
  await Promise.all([0, 1].map((rank) => said(rank, 'joined')));
  const { stdout } = spawnSync(
    'nvidia-smi',
    ['--query-compute-apps=gpu_uuid,pid,used_memory', '--format=csv,noheader'],
    {
      encoding: 'utf8',
    },
  );
  for (const child of children) child.kill('SIGKILL');
  await ends;
  const contexts = stdout
    .trim()
    .split('\n')
    .filter((line) => line.includes(','));
  console.log(contexts.join('; '));
  assert.ok(contexts.length <= 2, stdout);
});

test('an update that is divided over two GPUs is the whole one, bit for bit', { skip }, async () => {
  interface Trained {
    readonly digests: readonly [alone: string, divided: string];
    readonly apart: number;
  }
  type Divided = Readonly<Record<'float32' | 'bfloat16' | 'accumulated', Trained>>;
  const all = await runRanks<Divided>(2, join(programs, 'divided-program.js'), [], onGpus);
  for (const { float32, bfloat16, accumulated } of all) {
    for (const { digests } of [float32, bfloat16]) assert.equal(digests[1], digests[0]);
    assert.ok(accumulated.apart < 1e-10);
  }
});

test('divided updates of bfloat16 and of rows over two GPUs are the whole ones', { skip }, async (t) => {
  const all = await runRanks<Own>(2, join(programs, 'divided-own-program.js'), [], onGpus);
  for (const name of UPDATES) await t.test(name, () => assertWhole(name, all));
  for (const { training } of all)
    for (const [name, [undivided, divided]] of Object.entries(training))
      assert.equal(divided, undivided, name);
});

test('gradients that are added up early over two GPUs are the same', { skip }, async () => {
  type Reduced = Readonly<Record<'overlap' | 'both' | 'shares' | 'narrow', number>> & {
    readonly parts: readonly number[];
  };
  const all = await runRanks<Reduced>(2, join(programs, 'reduction-program.js'), [], onGpus);
  for (const { overlap, both, shares, narrow, parts } of all) {
    for (const error of [overlap, both, shares, ...parts]) assert.ok(error < 1e-6, `${error}`);
    assert.ok(narrow > 0 && narrow < 2 ** -8, `${narrow}`);
  }
});

test(
  'representations go round two GPUs in a ring: memory, kernels, the same bits twice',
  { skip },
  async () => {
    interface Exchanged {
      readonly bytes: Readonly<Record<'ring' | 'gather', number>>;
      readonly twice: boolean;
      readonly kernels: Readonly<Record<string, readonly number[]>>;
      readonly late: string;
      readonly next: string;
    }
    const all = await runRanks<Exchanged>(2, join(programs, 'exchange-program.js'), [], onGpus);
    for (const [rank, { bytes, twice, kernels, late, next }] of all.entries()) {
      console.log(`rank ${rank}: ${JSON.stringify(bytes)}`);
      assert.ok(bytes.ring < bytes.gather);
      assert.ok(twice);
      for (const [loss, apart] of Object.entries(kernels))
        assert.ok(Math.max(...apart) < (loss.endsWith('fast') ? 2e-3 : 2e-5), `${loss}: ${apart.join()}`);
      assert.match(late, /rank 1: it fell over$|^undefined: it fell over$/);
      assert.equal(next, 'none');
    }
  },
);
