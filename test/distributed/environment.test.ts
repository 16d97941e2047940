import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstHost, placeFromLauncher, placeFromSlurm } from '../../lib/distributed/environment.js';

const good = { RANK: '1', WORLD_SIZE: '4', LOCAL_RANK: '0', MASTER_ADDR: 'gpu1', MASTER_PORT: '29500' };

test('without variables of a launcher there is no place', () => {
  assert.equal(placeFromLauncher({}), null);
  // An interactive session of Slurm has such variables, and nobody started other ranks.
  assert.equal(placeFromLauncher({ SLURM_PROCID: '0', SLURM_NTASKS: '4', MASTER_PORT: '1' }), null);
});

test('the place follows from the variables of a launcher', () => {
  assert.deepEqual(placeFromLauncher(good), {
    rank: 1,
    size: 4,
    localRank: 0,
    host: 'gpu1',
    port: 29_500,
    server: false,
    prefix: 'gradcache//0',
  });
  assert.equal(placeFromLauncher({ ...good, RANK: '0' })!.server, true);
  assert.equal(placeFromLauncher({ ...good, LOCAL_RANK: '' })!.localRank, 1);
});

test("torchrun's agent keeps the store, over restarts", () => {
  const place = placeFromLauncher({
    ...good,
    RANK: '0',
    TORCHELASTIC_USE_AGENT_STORE: 'True',
    TORCHELASTIC_RUN_ID: 'run',
    TORCHELASTIC_RESTART_COUNT: '2',
  })!;
  assert.equal(place.server, false);
  assert.equal(place.prefix, 'gradcache/run/2');
});

test('variables that make no sense are refused by name', () => {
  for (const [name, value] of [
    ['RANK', 'x'],
    ['RANK', '4'],
    ['RANK', ''],
    ['WORLD_SIZE', '0'],
    ['WORLD_SIZE', '-1'],
    ['LOCAL_RANK', '1.5'],
    ['MASTER_ADDR', ''],
    ['MASTER_PORT', '0'],
    ['MASTER_PORT', '65536'],
  ] as const)
    assert.throws(
      () => placeFromLauncher({ ...good, [name]: value }),
      (error: { code: string; message: string }) => error.code === 'INPUT' && error.message.includes(name),
      `${name}=${value}`,
    );
});

test('the place follows from the variables of srun', () => {
  const step = {
    SLURM_PROCID: '5',
    SLURM_NTASKS: '8',
    SLURM_LOCALID: '1',
    SLURM_JOB_ID: '1234567',
    SLURM_STEP_ID: '2',
    SLURM_STEP_NODELIST: 'gpu[03-05,11],cpu1',
  };
  assert.deepEqual(placeFromSlurm(step), {
    rank: 5,
    size: 8,
    localRank: 1,
    host: 'gpu03',
    port: 34_567,
    server: false,
    prefix: 'gradcache/1234567/2/0',
  });
  const given = placeFromSlurm({ ...step, MASTER_ADDR: '10.0.0.1', MASTER_PORT: '29500' });
  assert.deepEqual([given.host, given.port], ['10.0.0.1', 29_500]);
  assert.equal(placeFromSlurm({ ...step, MASTER_ADDR: '' }).host, 'gpu03');
  // A job that Slurm has put into its queue again does not meet in what it left.
  assert.equal(placeFromSlurm({ ...step, SLURM_RESTART_COUNT: '1' }).prefix, 'gradcache/1234567/2/1');
  assert.throws(() => placeFromSlurm({}), { code: 'INPUT' });
});

test('the first of a list of machines', () => {
  for (const [list, first] of [
    ['gpu1', 'gpu1'],
    ['gpu1,gpu2', 'gpu1'],
    ['a[7,9-12]', 'a7'],
    ['rack-2-node[001-004]', 'rack-2-node001'],
  ] as const)
    assert.equal(firstHost(list), first);
  assert.throws(() => firstHost(''), { code: 'INPUT' });
});
