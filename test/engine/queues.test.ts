import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const root = join(import.meta.dirname, '..', '..', '..');
const compiler = [process.env.CXX, 'c++', 'g++', 'clang++'].find(
  (command) => command && spawnSync(command, ['--version']).status === 0,
);

test(
  'queues run beside each other, and a job of several waits for each of them',
  { skip: compiler === undefined && 'there is no C++ compiler here' },
  async (context) => {
    const folder = await mkdtemp(join(tmpdir(), 'gradcache-queues-'));
    context.after(() => rm(folder, { recursive: true }));
    const program = join(folder, 'queues');
    const run = (command: string, ...args: string[]): void => {
      const { status, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8', timeout: 120_000 });
      assert.equal(status, 0, stderr);
    };
    const sources = ['test/engine/queues.cc', 'native/engine/queues.cc'];
    run(
      compiler!,
      '-std=c++20',
      '-g',
      '-pthread',
      '-fsanitize=thread',
      '-Inative',
      ...sources,
      '-o',
      program,
    );
    run(program);
  },
);
