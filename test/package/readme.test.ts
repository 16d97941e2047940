import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { filesOf, HubServer } from '../hub/hub-server.js';
import { miniLM } from '../oracle/python.js';
import { pairs, root, saveTinyModel, writeRows } from '../training/support.js';
import { blocks, consumer, node, textOf } from './pages.js';

// What the README shows first is what works. pages.test.ts has what holds for guides too.
const readme = textOf('README.md');

test('the first lines fetch a model and data, and measure, train and measure again', async (t) => {
  const folder = await consumer(t);
  const hub = await HubServer.start(t);
  hub.commit(
    'models/sentence-transformers/all-MiniLM-L6-v2',
    await filesOf(await saveTinyModel(join(folder, 'tiny'))),
  );
  const rows = pairs().map(({ anchor, positive }, row) =>
    JSON.stringify({ sentence1: anchor, sentence2: positive, score: (row % 6) / 5 }),
  );
  const some = (count: number): string => `${rows.slice(0, count).join('\n')}\n`;
  hub.commit('datasets/sentence-transformers/stsb', {
    'data/train.jsonl': some(60),
    'data/test.jsonl': some(9),
  });
  const [install, ...commands] = blocks('README.md', 'sh')[0]!.trim().split('\n');
  assert.match(install!, /^npm install gradcache && npx gradcache setup$/);
  const program = JSON.stringify(join(root, 'dist', 'lib', 'cli', 'main.js'));
  const npx = `npx() { shift; ${JSON.stringify(process.execPath)} ${program} "$@"; }`;
  const lines = [npx, ...commands].join('\n').replace('--batch 256', '--batch 20');
  // The hub answers in this process.
  const { stdout } = await promisify(execFile)('sh', ['-euc', lines], {
    cwd: folder,
    env: { ...process.env, ...hub.environment(join(folder, 'home')) },
  });
  assert.equal(stdout.match(/spearman/gi)?.length, 2, stdout);
});

test('the training script trains the real model, whole batches of it alone', async (t) => {
  const folder = await consumer(t);
  await symlink(miniLM, join(folder, 'all-MiniLM-L6-v2'));
  // Twice a text: what would be left of an epoch are several batches of a few rows.
  await writeRows(join(folder, 'pairs.jsonl'), [...pairs(), pairs()[0]!, pairs()[0]!]);
  const script = blocks('README.md', 'ts')[0]!.replace('hf:sentence-transformers/', './');
  await writeFile(join(folder, 'too-large.mjs'), script);
  const { stderr } = spawnSync(process.execPath, ['too-large.mjs'], { cwd: folder, encoding: 'utf8' });
  assert.match(stderr, /fewer than a batch of 256, which dropLast leaves out: choose a smaller size/);
  assert.match(script, /size: 256/);
  await writeFile(join(folder, 'train.mjs'), script.replace('256', '25'));
  const losses = node(folder, 'train.mjs').trim().split('\n').map(Number);
  assert.equal(losses.length, 2);
  assert.ok(
    losses.every((loss) => loss > 0 && loss < 5),
    losses.join(),
  );
  assert.ok(existsSync(join(folder, 'fine-tuned', 'modules.json')));
});

test('every script that it names is there, and every error code is explained', () => {
  const manifest = readFileSync(join(root, 'package.json'), 'utf8');
  const { scripts } = JSON.parse(manifest) as { scripts: Record<string, string> };
  for (const [, script] of readme.matchAll(/npm run ([\w:]+)/g)) assert.ok(scripts[script!], script);
  const codes = readFileSync(join(root, 'lib', 'errors.ts'), 'utf8').matchAll(/^ {2}\| '(\w+)'/gm);
  const table = readme.slice(readme.indexOf('## Troubleshooting'));
  for (const [, code] of codes) assert.ok(table.includes(`\`${code}\``), code);
});
