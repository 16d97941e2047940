import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../training/support.js';
import { gradcache } from './program.js';

test('bash completes commands, flags, and the names that a flag takes', async (t) => {
  const { stdout, code } = await gradcache(['completion', 'bash']);
  assert.equal(code, 0);
  const script = join(await temporaryFolder(t), 'completion.bash');
  await writeFile(script, stdout);
  const complete = (...words: string[]): string[] => {
    const program =
      'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _gradcache; printf "%s\\n" "${COMPREPLY[@]}"';
    const { stdout: out, stderr } = spawnSync('bash', ['-c', program, script, 'gradcache', ...words], {
      encoding: 'utf8',
    });
    assert.equal(stderr, '');
    return out.trim().split('\n');
  };
  assert.deepEqual(complete('tr'), ['train']);
  assert.deepEqual(complete('language', 'sa'), ['sample']);
  assert.deepEqual(complete('train', '--checkpoint-m'), ['--checkpoint-minutes']);
  assert.deepEqual(complete('train', '--no-uni'), ['--no-unique-texts']);
  assert.deepEqual(complete('language', 'train', '--jit'), ['--jitter']);
  assert.deepEqual(complete('train', '--loss', 'siglip'), ['siglip']);
  assert.deepEqual(complete('language', 'train', '--optimizer', 'rad'), ['radam']);
  assert.deepEqual(complete('train', '--model', 'x'), [''], 'left to the names of files');
});

test('scripts for zsh and fish have every command and flag', async () => {
  const help = (await gradcache(['train', '--help'])).stdout;
  const flags = [...help.matchAll(/^ {2}--([\w.-]+)/gm)].map(([, flag]) => flag!);
  assert.ok(flags.length > 50);
  for (const [shell, of] of [
    ['zsh', (flag: string) => `--${flag}`],
    ['fish', (flag: string) => ` -l ${flag} `],
  ] as const) {
    const { stdout } = await gradcache(['completion', shell]);
    for (const flag of flags) assert.ok(stdout.includes(of(flag)), `${shell}: ${flag}`);
  }
});

test('another shell is refused', async () => {
  const { code, stderr } = await gradcache(['completion', 'bas']);
  assert.equal(code, 2);
  assert.match(stderr, /^INPUT: SHELL is bas; bash, zsh or fish is needed\. Did you mean bash\?/);
});
