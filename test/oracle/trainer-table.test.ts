/** README's table beside sentence-transformers' trainer: what it names is there, on both sides. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as library from '../../lib/index.js';
import { gradcache } from '../cli/program.js';
import { pinnedVersions, projectRoot, pythonEnvironment } from './python.js';

const [section = ''] =
  /^### Beside sentence-transformers' trainer\n.*?(?=^## )/ms.exec(
    readFileSync(join(projectRoot, 'README.md'), 'utf8'),
  ) ?? [];
const rows = section
  .split('\n')
  .filter((line) => line.startsWith('| '))
  .map((line) => line.slice(1, -1).split('|'));

/** What stands in backticks in a column. */
function names(column: 1 | 2): string[] {
  return rows.flatMap((cells) => [...cells[column]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
}

test('it is about the versions that the tests compare with', () => {
  const { 'sentence-transformers': peer, transformers } = pinnedVersions();
  const [, peerSaid, transformersSaid] =
    /in sentence-transformers (\d+\.\d+) with transformers (\d+)/.exec(section) ?? [];
  assert.equal(peer?.split('.').slice(0, 2).join('.'), peerSaid);
  assert.equal(transformers?.split('.')[0], transformersSaid);
});

test('every function, flag and command of gradcache in it exists', async () => {
  const [{ stdout: commands }, { stdout: flags }] = await Promise.all([
    gradcache(['--help']),
    gradcache(['train', '--help']),
  ]);
  const own = names(1).filter((name) => name !== 'hf:' && !name.startsWith('kill'));
  assert.ok(own.length > 8, own.join());
  for (const name of own)
    assert.ok(
      name.startsWith('--')
        ? new RegExp(`^  ${name} `, 'm').test(flags)
        : new RegExp(`^  ${name.replace(/^gradcache /, '')} `, 'm').test(commands) ||
            name in library ||
            name === 'onEvent',
      name,
    );
});

test("every name of sentence-transformers' trainer in it stands in its sources", () => {
  const theirs = names(2);
  assert.ok(theirs.length > 10, theirs.join());
  const program = `
import importlib.util, json, pathlib, sys
text = ''
# Of transformers the trainer alone: its models name much.
for package in ['sentence_transformers', 'transformers']:
    folder = pathlib.Path(importlib.util.find_spec(package).origin).parent
    for file in folder.rglob('*.py'):
        if package == 'sentence_transformers' or file.parent == folder: text += file.read_text()
print(json.dumps([name for name in json.loads(sys.argv[1]) if name not in text]))`;
  const { stdout, stderr } = spawnSync(
    process.env.GRADCACHE_PYTHON || 'python3',
    ['-c', program, JSON.stringify(theirs)],
    {
      encoding: 'utf8',
      env: pythonEnvironment(),
    },
  );
  assert.deepEqual(JSON.parse(stdout || '["nothing came back"]'), [], stderr);
});
