import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../data/temporary-folder.js';

test('a process survives broken tokenizers and odd texts', async (t) => {
  const folder = await temporaryFolder(t);
  const program = join(import.meta.dirname, 'tokenizer-fuzz.js');
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [program, folder, '1', '1000'], {
    encoding: 'utf8',
    timeout: 120_000,
    maxBuffer: 2 ** 26,
  });
  const last = stdout.trimEnd().split('\n').at(-1)!;
  assert.equal(status, 0, `${signal ?? status} after ${last}\n${stderr.slice(-2000)}`);
  const { opened, refused } = JSON.parse(last) as { opened: number; refused: number };
  assert.ok(opened > 200, `${opened} tokenizers opened`);
  assert.ok(refused > 200, `${refused} tokenizers were refused`);
});
