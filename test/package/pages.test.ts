/** What the README, the guides and the documentation of the exports show is what there is. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { gradcache } from '../cli/program.js';
import { root } from '../training/support.js';
import { asModule, documentedExports } from './docstrings.js';
import { blocks, consumer, node, PAGES, textOf } from './pages.js';

test('every function and class has an example, and the types of all TypeScript are right', async (t) => {
  const folder = await consumer(t);
  const exported = documentedExports();
  assert.deepEqual(
    exported.filter(({ examples }) => examples.length === 0).map(({ name }) => name),
    [],
  );
  const code = [
    ...PAGES.flatMap((page) => blocks(page, 'ts').map((text) => ({ page, text }))),
    ...exported.flatMap(({ name, examples }) =>
      examples.map((example) => ({ page: name, text: asModule(example) })),
    ),
  ];
  const files = code.map(({ page }, place) => `${page.replaceAll(/\W/g, '-')}-${place}.mts`);
  // A block without an import is a module too.
  await Promise.all(
    code.map(({ text }, place) => writeFile(join(folder, files[place]!), `${text}\nexport {};\n`)),
  );
  const compilerOptions = {
    module: 'nodenext',
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    strict: true,
    noUncheckedIndexedAccess: true,
    noEmit: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules', '@types')],
  };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  node(folder, join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.');
});

test('every configuration is one that train accepts', () => {
  for (const page of PAGES)
    for (const block of blocks(page, 'json'))
      assert.equal(readTrainConfig(JSON.parse(block)).output, 'runs/a');
});

const COMMANDS = [
  'train',
  'embed',
  'evaluate',
  'export',
  'mine',
  'push',
  'pull',
  'report',
  'serve',
  'doctor',
  'setup',
];

test('every flag belongs to its command', async () => {
  const help = new Map<string, string>();
  await Promise.all(
    COMMANDS.map(async (command) => help.set(command, (await gradcache([command, '--help'])).stdout)),
  );
  let flags = 0;
  const pattern = new RegExp(`gradcache (${COMMANDS.join('|')})(?= )(.*?)(?: -- |#|$)`, 'gm');
  for (const page of PAGES) {
    const calls = blocks(page, 'sh').join('').replaceAll('\\\n', ' ').matchAll(pattern);
    for (const [call, command, rest] of calls)
      for (const [flag] of rest!.matchAll(/--[a-zA-Z.-]+/g)) {
        assert.match(help.get(command!)!, new RegExp(`^  ${flag} `, 'm'), `${page}: ${call}`);
        flags++;
      }
  }
  assert.ok(flags > 60, `${flags} flags`);
});

/** The anchor that a heading has on GitHub and on the site. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');

test('every file and heading that is linked to is there', () => {
  const headings = (page: string): string[] =>
    [...textOf(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => anchorOf(heading!));
  for (const page of PAGES)
    for (const [, target] of textOf(page).matchAll(/\]\((?!https?:)(.+?)\)/g)) {
      const [path, anchor] = target!.split('#');
      const file = path === '' ? page : join(dirname(page), path!);
      assert.ok(existsSync(join(root, file)), `${page}: ${target}`);
      if (anchor !== undefined) assert.ok(headings(file).includes(anchor), `${page}: ${target}`);
    }
});
