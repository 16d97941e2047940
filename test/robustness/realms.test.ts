import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const program = join(import.meta.dirname, 'realm-program.js');

function run(which: string): string {
  const flags = ['--experimental-vm-modules', '--no-warnings'];
  const { status, stdout, stderr } = spawnSync(process.execPath, [...flags, program, which], {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1' },
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr.slice(-3000));
  return stdout.trim();
}

test('in a vm context, as in Jest, errors are typed and values of the other realm are taken', () => {
  assert.equal(run('inside'), 'inside: all as it should be');
});

test('a caller in a vm context can give its arrays, objects and errors to the package outside', () => {
  assert.equal(run('outside'), 'outside: all as it should be');
});
