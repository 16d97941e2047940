import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Command } from '../../lib/cli/command.js';
import { embedCommand } from '../../lib/cli/embed.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { UsageError } from '../../lib/cli/flags.js';
import { trainCommand } from '../../lib/cli/train.js';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';
import { runCommand } from './program.js';

test('what is wrong with a file is told with the flags of that file, and with no other’s', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const good = await writeRows(join(folder, 'good.jsonl'), pairs(20));
  const other = await writeRows(join(folder, 'other.jsonl'), [{ _id: 'c', question: 'a', answer: 'b' }]);
  const [csv, quotes, unnamed] = ['three.csv', 'quotes.tsv', 'data.txt'].map((name) => join(folder, name));
  await writeFile(csv!, 'a,b,c\nd,e,f\n');
  // One field over two lines, or two rows whose quotes are text.
  await writeFile(quotes!, 'anchor\tpositive\n"b\tc\nd"\te\n');
  await writeFile(unnamed!, 'a\tb\n');
  const judgements = join(folder, 'test.tsv');
  await writeFile(judgements, 'q\t1\t1\n');
  const texts = await writeRows(join(folder, 'texts.jsonl'), [{ _id: 'q', text: 'a' }]);
  const beir = ['--queries', texts, '--corpus', texts, '--judgements', judgements];

  const train = ['--output', join(folder, 'run'), '--batch', '4', '--steps', '1'];
  const data = ['--columns', '--fields', '--no-header', '--format', '--quoting'];
  const heldOut = ['--eval-columns', '--eval-fields', '--no-eval-header', '--eval-format', '--eval-quoting'];
  const input = ['--column', '--fields', '--no-header', '--input-format', '--quoting'];
  const cases: [Command, string[], string, readonly string[]][] = [
    [trainCommand, [...train, '--data', other], '--columns', data],
    [trainCommand, [...train, '--data', csv!], '--columns', data],
    [trainCommand, [...train, '--data', csv!, '--no-header', '--columns', 'a,b'], '--fields', data],
    [trainCommand, [...train, '--data', csv!, '--fields', 'd,e,f'], '--fields', data],
    [
      trainCommand,
      [...train, '--data', good, '--eval-data', csv!, '--eval-fields', 'd,e,f'],
      '--eval-fields',
      heldOut,
    ],
    [evaluateCommand, ['--data', csv!, '--fields', 'd,e,f'], '--fields', data],
    [
      embedCommand,
      ['--output', join(folder, 'x.npy'), '--input', csv!, '--fields', 'd,e,f', '--column', 'a'],
      '--fields',
      input,
    ],
    [trainCommand, [...train, '--data', good, '--eval-data', other], '--eval-columns', heldOut],
    [trainCommand, [...train, '--data', good, '--eval-data', csv!], '--no-eval-header', heldOut],
    [
      trainCommand,
      [...train, '--data', good, '--eval-data', csv!, '--no-eval-header'],
      '--eval-fields',
      heldOut,
    ],
    [trainCommand, [...train, '--data', good, '--eval-data', unnamed!], '--eval-format', heldOut],
    [evaluateCommand, ['--data', other], '--columns', data],
    [evaluateCommand, ['--data', csv!, '--no-header'], '--fields', data],
    [evaluateCommand, ['--data', unnamed!], '--format', data],
    [evaluateCommand, ['--data', quotes!], '--quoting', data],
    [trainCommand, [...train, '--data', good, '--eval-data', quotes!], '--eval-quoting', heldOut],
    [evaluateCommand, ['--task', 'sts', '--data', other], '--columns', data],
    [evaluateCommand, ['--data', good, '--documents', other], '--document-column', ['--document-column']],
    [evaluateCommand, ['--data', good, '--documents', csv!], '--document-column', ['--document-column']],
    [evaluateCommand, [...beir, '--corpus', good], '--corpus', ['--corpus']],
    [evaluateCommand, [...beir, '--queries', good], '--queries', ['--queries']],
    [evaluateCommand, [...beir, '--judgements', good], '--judgements', ['--judgements']],
    [
      embedCommand,
      ['--output', join(folder, 'x.npy'), '--input', csv!, '--no-header', '--column', 'a'],
      '--fields',
      input,
    ],
    [
      embedCommand,
      ['--output', join(folder, 'x.npy'), '--input', unnamed!, '--column', 'a'],
      '--input-format',
      input,
    ],
  ];
  for (const [command, args, way, all] of cases) {
    const run = runCommand(command, ['--model', model, '--device', 'cpu', ...args]);
    await assert.rejects(run, (error: Error) => {
      const named = [...error.message.matchAll(/--[a-z-]+/g)].map(([flag]) => flag);
      assert.ok(named.includes(way), `${args.join(' ')}\n${error.message}`);
      const strange = named.filter((flag) => !all.includes(flag) && flag !== '--on-bad-line');
      assert.deepEqual(strange, [], `${args.join(' ')}\n${error.message}`);
      return true;
    });
  }
});

test('held-out pairs have the columns of the data that is trained on, unless others are given', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(
    join(folder, 'questions.jsonl'),
    pairs(20).map(({ anchor, positive }) => ({ question: anchor, answer: positive, bad: `not ${positive}` })),
  );
  const held = await writeRows(join(folder, 'pairs.jsonl'), pairs(20));
  const run = [
    '--model',
    model,
    '--device',
    'cpu',
    '--data',
    data,
    '--batch',
    '10',
    '--steps',
    '1',
    '--json',
  ];
  const scored = async (name: string, ...more: string[]): Promise<boolean> => {
    const { printed } = await runCommand(trainCommand, [...run, '--output', join(folder, name), ...more]);
    return printed.some((line) => line.includes('"type":"evaluation"'));
  };
  const columns = ['--columns', 'question,answer,bad'];
  assert.ok(await scored('a', ...columns, '--eval-data', data));
  assert.ok(await scored('b', ...columns, '--eval-data', held, '--eval-columns', 'anchor,positive'));
});

test('a wrong call is one by its flag, with exit code 2, whatever the command', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(4));
  const embed = ['--input', data, '--column', 'anchor', '--output', join(folder, 'x.npy')];
  const cases: [Command, string[], RegExp][] = [
    [embedCommand, ['--input', data, '--output', join(folder, 'x.npy')], /--column NAME/],
  ];
  for (const [flag, value] of [
    ['--block', '0'],
    ['--chunk-tokens', '0'],
    ['--max-length', '1.5'],
    ['--max-length', '2'],
    ['--max-length', '400'],
    ['--device', 'gpu'],
    ['--precision', 'half'],
  ] as const)
    cases.push([embedCommand, [...embed, flag, value], new RegExp(`^${flag} is ${value}; `)]);
  for (const [flag, value] of [
    ['--columns', 'a'],
    ['--columns', 'a,a'],
    ['--device', 'gpu'],
    ['--max-length', '0'],
    ['--max-length', '2'],
    ['--max-length', '400'],
  ] as const)
    cases.push([evaluateCommand, ['--data', data, flag, value], new RegExp(`^${flag} is ${value}; `)]);
  for (const [command, args, message] of cases) {
    await assert.rejects(runCommand(command, ['--model', model, ...args]), (error: Error) => {
      assert.ok(error instanceof UsageError, error.message);
      assert.match(error.message, message);
      return true;
    });
  }
});
