import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Command } from '../../lib/cli/command.js';
import { doctorCommand } from '../../lib/cli/doctor.js';
import { embedCommand } from '../../lib/cli/embed.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { exportCommand } from '../../lib/cli/export.js';
import { COMMON_FLAGS, formatHelp, UsageError, type Flag, type Flags } from '../../lib/cli/flags.js';
import { languageEvaluateCommand } from '../../lib/cli/language-evaluate.js';
import { languageSampleCommand } from '../../lib/cli/language-sample.js';
import { languageTrainCommand } from '../../lib/cli/language-train.js';
import { mineCommand } from '../../lib/cli/mine.js';
import { parseFlags } from '../../lib/cli/parse-flags.js';
import { pullCommand } from '../../lib/cli/pull.js';
import { pushCommand } from '../../lib/cli/push.js';
import { reportCommand } from '../../lib/cli/report.js';
import { serveCommand } from '../../lib/cli/serve.js';
import { setupCommand } from '../../lib/cli/setup.js';
import { trainCommand } from '../../lib/cli/train.js';

const flags: Flags = {
  bias: { kind: 'number', help: '' },
  betas: { kind: 'numbers', help: '' },
  name: { kind: 'text', help: '' },
};

test('a number below 0 may follow its flag', () => {
  for (const [text, value] of [
    ['-10', -10],
    ['-.5', -0.5],
    ['-1e-3', -1e-3],
  ] as const) {
    assert.equal(parseFlags(flags, ['--bias', text, '--name', 'x']).get('bias'), value);
    assert.equal(parseFlags(flags, [`--bias=${text}`]).get('bias'), value);
  }
  assert.deepEqual(parseFlags(flags, ['--betas', '-1,0.5']).get('betas'), [-1, 0.5]);
  for (const args of [
    ['--bias'],
    ['--bias', '--name', 'x'],
    ['--bias', '-x'],
    ['--bias', '1,2'],
    ['--betas', '1,'],
  ])
    assert.throws(() => parseFlags(flags, args), { code: 'INPUT' }, args.join(' '));
});

const COMMANDS: Readonly<Record<string, Command>> = {
  train: trainCommand,
  report: reportCommand,
  embed: embedCommand,
  evaluate: evaluateCommand,
  mine: mineCommand,
  serve: serveCommand,
  'language train': languageTrainCommand,
  'language evaluate': languageEvaluateCommand,
  'language sample': languageSampleCommand,
  export: exportCommand,
  pull: pullCommand,
  push: pushCommand,
  doctor: doctorCommand,
  setup: setupCommand,
};

const flagsOf = ({ sections }: Pick<Command, 'sections'>): [string, Flag][] =>
  [...Object.values(sections), COMMON_FLAGS].flatMap((section) => Object.entries<Flag>(section));

/** What is said of a wrong call; empty for one that is right so far. */
function saidOf(command: Command, args: readonly string[]): string {
  try {
    parseFlags(Object.fromEntries(flagsOf(command)), args, command);
    return '';
  } catch (error) {
    assert.ok(error instanceof UsageError, String(error));
    return error.message;
  }
}

test('a call that lacks several things is told all of them', () => {
  const calls: [string, string, string][] = [
    ['report', '', 'RUN and --output FILE are needed.'],
    ['report', 'runs/a', '--output FILE is needed: the page to write.'],
    ['report', '-o x.html', 'RUN is needed.'],
    ['serve', '--port 80', '--model FOLDER|NAME is needed: '],
    ['evaluate', '', '--model FOLDER|NAME and --data FILE are needed.'],
    ['evaluate', '--corpus c', '--model FOLDER|NAME, --queries FILE and --judgements FILE are needed.'],
    ['evaluate', '--corpus c --task sts', '--model FOLDER|NAME and --data FILE are needed.'],
    ['mine', '--data d', '--model FOLDER|NAME and --output FILE are needed.'],
    ['language evaluate', '', '--model FOLDER and --data FILE are needed.'],
    ['language sample', '', '--model FOLDER and --prompt TEXT are needed.'],
    ['export', '', 'FOLDER, OUT and --onnx are needed.'],
    ['export', 'model', 'OUT and --onnx are needed.'],
    ['export', 'model out --no-onnx', '--onnx is needed: '],
    ['push', '--private', 'FOLDER and OWNER/NAME are needed.'],
    ['pull', '--data', 'NAME is needed.'],
  ];
  for (const [command, args, said] of calls) {
    const message = saidOf(COMMANDS[command]!, args.split(' ').filter(Boolean));
    assert.ok(message.startsWith(said) && (said.endsWith(' ') || message === said), message);
  }
  assert.equal(saidOf(serveCommand, ['--model', '']), '--model is ""; FOLDER|NAME is needed.');
  assert.equal(saidOf(exportCommand, ['', 'o']), 'FOLDER is ""; a name that is not empty is needed.');
});

test('every flag of every command is refused where it is misspelt, given twice, or has no value', () => {
  for (const [name, command] of Object.entries(COMMANDS))
    for (const [flag, { kind, optional = false, repeat = false, words }] of flagsOf(command)) {
      const takes = kind !== 'switch';
      const call = takes ? [`--${flag}`, words?.[0] ?? '1'] : [`--${flag}`];
      const of = `${name} --${flag}`;
      assert.match(saidOf(command, [`--${flag}zq`]), new RegExp(`^--${flag}zq is not a flag[.;]`), of);
      const twice = saidOf(command, [...call, ...call]);
      if (repeat) assert.doesNotMatch(twice, /twice/, of);
      else assert.match(twice, new RegExp(`^--${flag} is given twice.*: give it once\\.$`), of);
      if (takes && !optional)
        for (const next of [[], ['--json']])
          assert.match(
            saidOf(command, [`--${flag}`, ...next]),
            new RegExp(`^--${flag} has no value; .+ is needed\\.`),
            of,
          );
      if (!takes) {
        assert.equal(saidOf(command, [`--${flag}=yes`]), `--${flag} is "yes"; it takes no value.`);
        const both = saidOf(command, [`--${flag}`, `--no-${flag}`]);
        assert.equal(both, `--${flag} and --no-${flag} exclude each other: give one of them.`);
      }
    }
});

test('a name that is empty is refused', () => {
  const title = parseFlags({ title: { kind: 'text', help: '' } }, ['--title=']);
  assert.throws(() => title.words('title'), {
    message: '--title is ""; a text that is not empty is needed.',
  });
});

test('a flag is told as it was typed, and all that are misspelt', () => {
  assert.equal(saidOf(reportCommand, ['r', '-o']), '-o has no value; FILE is needed.');
  assert.equal(
    saidOf(reportCommand, ['r', '-ox', '-o', 'y']),
    '-o is given twice, as "x" and "y": give it once.',
  );
  assert.equal(saidOf(reportCommand, ['r', '-o=x.html']), '');
  assert.equal(
    saidOf(reportCommand, ['r', '--title', '-x']),
    '--title has no value; TEXT is needed. One that begins with - is joined to it: --title=-x.',
  );
  assert.equal(
    saidOf(trainCommand, ['--mdoel', 'm', '--bach=8', '-q', '--constructor']),
    '--mdoel is not a flag; did you mean --model? --bach is not a flag; did you mean --batch? -q is not a flag. --constructor is not a flag.',
  );
});

test('the nearest flag is meant, and one that another command has is told where it is here', () => {
  for (const [command, typed, near] of [
    ['mine', '--judge-max-len', '--judge-max-length'],
    ['mine', '--judges', '--judge'],
    ['mine', '--judgemaxlegnht', '--judge-max-length'],
    ['train', '--eval', '--eval-at'],
    ['train', '--checkpoints-every', '--checkpoint-every'],
  ] as const)
    assert.equal(saidOf(COMMANDS[command]!, [typed]), `${typed} is not a flag; did you mean ${near}?`);
  assert.equal(
    saidOf(evaluateCommand, ['--label', 'score']),
    '--label is not a flag: the column of labels is the last of --columns, as in --columns sentence1,sentence2,label.',
  );
});

test('a flag that can be turned off has a value where it is not', () => {
  const ids = (...args: string[]) =>
    parseFlags(Object.fromEntries(flagsOf(trainCommand)), args).get('eval-ids');
  assert.deepEqual([ids('--eval-ids', 'a,b'), ids('--no-eval-ids'), ids()], [['a', 'b'], false, undefined]);
  assert.equal(saidOf(trainCommand, ['--eval-ids', '--json']), '--eval-ids has no value; A,B is needed.');
  assert.match(formatHelp(trainCommand), /\n {2}--eval-ids A,B {3,}of --eval-loss/);
  assert.match(formatHelp(trainCommand), /\n {2}--resume \[FOLDER\] /);
});

test('the value of some flags may be left out', () => {
  const resume = (...args: string[]) =>
    parseFlags(Object.fromEntries(flagsOf(trainCommand)), args).get('resume');
  assert.deepEqual(
    [
      resume('--resume'),
      resume('--resume', '--json'),
      resume('--resume', 'runs/a'),
      resume('--no-resume'),
      resume(),
    ],
    [true, true, 'runs/a', false, undefined],
  );
  assert.equal(saidOf(trainCommand, ['--no-resume=runs/a']), '--no-resume is "runs/a"; it takes no value.');
});
