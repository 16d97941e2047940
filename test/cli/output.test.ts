import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { saveTinyModel, temporaryFolder } from '../training/support.js';

const PROGRAM = join(import.meta.dirname, '..', '..', 'lib', 'cli', 'main.js');

/** Runs the program with standard output or error on a disk that is full. */
function onFullDisk(args: readonly string[], full: readonly number[]) {
  const disk = openSync('/dev/full', 'w');
  try {
    const stdio = [0, 1, 2].map((place) => (full.includes(place) ? disk : 'pipe'));
    return spawnSync(process.execPath, [PROGRAM, ...args], {
      stdio,
      encoding: 'utf8',
    });
  } finally {
    closeSync(disk);
  }
}

test('standard output on a full disk: told on standard error in one line, and an exit code of its own', () => {
  const { status, stderr } = onFullDisk(['--help'], [1]);
  assert.equal(status, 74);
  assert.match(stderr, /^INPUT: standard output cannot be written: ENOSPC: .*The disk is full: .*\n$/);
});

test('vectors for standard output on a full disk are told once, with the same exit code', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const input = join(folder, 'texts.txt');
  await writeFile(input, 'a cat\n');
  const args = ['embed', '--model', model, '--device', 'cpu', '--input', input, '--format', 'jsonl'];
  const { status, stderr } = onFullDisk([...args, '--output', '/dev/stdout'], [1]);
  assert.equal(status, 74);
  assert.equal(stderr.match(/ENOSPC/g)?.length, 1, stderr);
  assert.match(stderr, /INPUT: standard output cannot be written: ENOSPC/);
});

test('standard error on a full disk: told on standard output, and what went wrong besides has its own exit code', () => {
  const { status, stdout } = onFullDisk(['no-such-command'], [2]);
  assert.equal(status, 2);
  assert.match(stdout, /^INPUT: standard error cannot be written: ENOSPC/);
  assert.equal(onFullDisk(['--version'], [1, 2]).status, 74);
});

test('a Node.js outside of what the package states is refused by name, but doctor and help are there', () => {
  const old = `Object.defineProperty(process.versions, 'node', { value: '22.5.1' })`;
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', `data:text/javascript,${old}`, PROGRAM, ...args], {
      encoding: 'utf8',
    });
  const train = run('train', '--model', 'm');
  assert.equal(train.status, 1);
  assert.match(train.stderr, /^SETUP: gradcache runs on Node\.js 20\.19 .*; this is 22\.5\.1\. .*\n$/);
  assert.equal(run('--help').status, 0);
});
