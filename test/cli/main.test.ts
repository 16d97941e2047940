import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { root, temporaryFolder } from '../training/support.js';
import { gradcache, gradcacheEach } from './program.js';

const COMMANDS = [
  'train',
  'report',
  'embed',
  'evaluate',
  'mine',
  'serve',
  'language train',
  'language evaluate',
  'language sample',
  'export',
  'pull',
  'push',
  'completion',
  'doctor',
  'setup',
];

test('help lists the commands, and every command has its own', async () => {
  const { code, stdout } = await gradcache(['--help']);
  assert.equal(code, 0);
  const helps = await gradcacheEach(COMMANDS.map((command) => [command, '--help']));
  for (const [place, command] of COMMANDS.entries()) {
    assert.match(stdout, new RegExp(`^ {2}${command} `, 'm'));
    const help = helps[place]!;
    assert.equal(help.code, 0, help.stderr);
    assert.match(help.stdout, new RegExp(`^Usage: gradcache ${command}`));
    assert.match(help.stdout, /--json/);
    assert.match(help.stdout, /Examples:/);
    assert.ok(
      help.stdout.split('\n').every((line) => line.length <= 130),
      'a line of the help is too long',
    );
  }
});

test('-h and help show the help too', async () => {
  const { stdout } = await gradcache(['pull', '--help']);
  for (const args of [
    ['pull', 'a/b', '-h'],
    ['help', 'pull'],
  ])
    assert.deepEqual(await gradcache(args), { code: 0, signal: null, stdout, stderr: '' }, args.join(' '));
});

test('the version is that of the package', async () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  assert.equal((await gradcache(['--version'])).stdout, `${version}\n`);
});

test('a wrong call exits with 2 and says what is wrong and where the help is', async () => {
  const calls: [string[], RegExp][] = [
    [[], /^$/],
    [
      ['trian'],
      new RegExp(
        `INPUT: trian is not a command; did you mean train\\? There are ${COMMANDS.join(', ')}\\.\nSee: gradcache --help\n$`,
      ),
    ],
    [
      ['fly'],
      new RegExp(
        `INPUT: fly is not a command; there are ${COMMANDS.join(', ')}\\.\nSee: gradcache --help\n$`,
      ),
    ],
    [
      ['train'],
      /INPUT: --model, --data, --output and --batch are needed, or a --config FILE that has them\.\nSee: gradcache train --help\n$/,
    ],
    [['train', '--lerning-rate', '1'], /INPUT: --lerning-rate is not a flag\.\n/],
    [['train', '--bach', '8'], /INPUT: --bach is not a flag; did you mean --batch\?\n/],
    [['train', '--no-suffle'], /INPUT: --no-suffle is not a flag; did you mean --no-shuffle\?\n/],
    [['embed', '--ouput', 'x'], /INPUT: --ouput is not a flag; did you mean --output\?\n/],
    [['train', '--epochs', '1', '--steps', '2'], /INPUT: --epochs and --steps exclude each other/],
    [['train', '--batch', 'many'], /INPUT: --batch is "many", not a number\.\n/],
    [
      ['train', '--retain', '2 apples'],
      /INPUT: --retain is "2 apples"; write bytes as 1073741824, 512MiB or 2GiB, or last, or auto\.\n/,
    ],
    [['train', 'pairs.jsonl'], /INPUT: "pairs\.jsonl" belongs to no flag\.\n/],
    [['push'], /INPUT: FOLDER and OWNER\/NAME are needed\.\nSee: gradcache push --help\n$/],
    [['push', 'model', 'name'], /INPUT: OWNER\/NAME is "name"; a name of the hub/],
    [['pull', 'a/b/c'], /INPUT: NAME is "a\/b\/c"; hf:OWNER\/NAME or/],
    [['pull', 'a/b', 'c/d'], /INPUT: "c\/d" belongs to no flag\.\n/],
    [['setup', '--from', 'x', '--version', '2.13.0'], /INPUT: --from takes what is here already/],
    [['setup', '--from', 'x', '--', '-q'], /INPUT: --from takes what is here already/],
    [['train', '--', 'x'], /INPUT: train takes nothing after --, and "x" is there\.\n/],
    [['embed', '--model', 'm', '--input', 'x'], /INPUT: --output FILE is needed/],
    [['embed', '--model', 'm', '--input', 'x', '--output', 'y.doc'], /format of y\.doc cannot be told/],
    [['evaluate', '--model', 'm', '--data', 'd', '--task', 'speed'], /--task is speed/],
    [
      ['evaluate', '--model', 'm', '--queries', 'q'],
      /INPUT: --corpus FILE and --judgements FILE are needed\.\n/,
    ],
  ];
  const all = await gradcacheEach(calls.map(([args]) => args));
  for (const [place, [args, message]] of calls.entries()) {
    const { code, stderr } = all[place]!;
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
  }
  const [[args]] = calls.slice(1) as [(typeof calls)[0]];
  assert.deepEqual(await gradcache(args), all[1]); // as a program of its own
});

test('an error is one line with its code, and has a stack only where asked', async (t) => {
  const folder = await temporaryFolder(t);
  const args = ['evaluate', '--model', join(folder, 'nowhere'), '--data', join(folder, 'nothing.jsonl')];
  const plain = await gradcache(args);
  assert.equal(plain.code, 1);
  assert.match(plain.stderr, /^INPUT: .*nothing\.jsonl cannot be read.*\n$/);
  const debug = await gradcache([...args, '--debug']);
  assert.match(debug.stderr, /\n\s+at /);
});

test('doctor reports as text and as JSON, and its exit code says whether a training would start', async (t) => {
  const text = await gradcache(['doctor']);
  assert.equal(text.code, 0, text.stdout);
  assert.match(text.stdout, /libtorch/);
  const json = await gradcache(['doctor', '--json']);
  assert.equal((JSON.parse(json.stdout) as { ok: boolean }).ok, true);
  const broken = await gradcache(['doctor', '--json', '--libtorch', await temporaryFolder(t)]);
  assert.equal(broken.code, 1);
  const report = JSON.parse(broken.stdout) as { ok: boolean; problems: { code: string }[] };
  assert.equal(report.ok, false);
  assert.ok(report.problems.length > 0);
  const wrong = await gradcache(['doctor', '--device', 'foo']);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^INPUT: --device is foo; auto, cpu, cuda or cuda:N is needed\./);
});

test('setup refuses what it cannot install', async (t) => {
  const missing = await gradcache(['setup', '--from', join(await temporaryFolder(t), 'libtorch.zip')]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^SETUP: .*libtorch\.zip does not exist/);
  const old = await gradcache(['setup', '--version', '1.0.0']);
  assert.equal(old.code, 1);
  assert.match(old.stderr, /^LIBTORCH_VERSION: /);
});
