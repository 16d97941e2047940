import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';

const program = join(import.meta.dirname, 'lifecycle-program.js');

interface End {
  readonly name: string;
  readonly code?: number;
  readonly prints?: RegExp;
  readonly complains?: RegExp;
}

const ends: End[] = [
  { name: 'exit in the middle', code: 3 },
  { name: 'exit while work is queued', code: 4 },
  { name: 'an exception that nobody catches', code: 1, complains: /nobody catches this/ },
  { name: 'the end of the program with tensors alive' },
  { name: 'an awaited step keeps the program alive', prints: /^\d+\.\d+$/ },
  { name: 'an idle engine does not keep the program alive', prints: /idle/ },
  { name: 'terminate in the first pass', prints: /\d/ },
  { name: 'terminate in the second pass', prints: /\d/ },
  { name: 'terminate while JavaScript runs inside native code', prints: /\d/ },
  { name: "terminate inside an encoder of one's own", prints: /\d/ },
  { name: 'a worker that exits in the middle', prints: /code 7 \d/ },
  { name: 'a worker that throws in the middle', prints: /in the middle of it \d/ },
  { name: 'exit while workers are in a step', code: 5 },
  { name: 'many workers at once', prints: /8 workers agree/ },
  { name: 'memory comes back', prints: /grew/ },
];

for (const { name, code = 0, prints, complains } of ends) {
  test(name, () => {
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, [program, name], {
      encoding: 'utf8',
      env: { ...process.env, OMP_NUM_THREADS: '1' },
      timeout: 120_000,
    });
    assert.equal(status, code, `${signal ?? status}\n${stdout}\n${stderr.slice(-3000)}`);
    if (prints !== undefined) assert.match(stdout.trim(), prints);
    if (complains !== undefined) assert.match(stderr, complains);
    else assert.equal(stderr, '');
  });
}
