import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { UsageError } from '../../lib/cli/flags.js';
import { parseFlags } from '../../lib/cli/parse-flags.js';
import { trainCommand } from '../../lib/cli/train.js';
import { TRAIN_SECTIONS } from '../../lib/cli/train-flags.js';
import { settingsOf } from '../../lib/cli/train-settings.js';
import { pairs, shortRun, writeRows } from '../training/support.js';
import { runCommand } from './program.js';

const flags = Object.assign({}, ...Object.values(TRAIN_SECTIONS)) as (typeof TRAIN_SECTIONS)[string];
const settings = (given: readonly string[], file: object = {}) =>
  settingsOf(parseFlags(flags, given), { ...file });

test('flags name data sets, and say of each what they say of the run', () => {
  const sets = ['--dataset', 'qa=a.jsonl', '--dataset', 'n.l=hf:o/n=x', '--dataset', 'qa=b.jsonl'];
  const more = ['--dataset-weight', 'qa=2', '--dataset-columns', 'n.l=a,b', '--dataset-label', 'n.l=kind'];
  const ids = ['--dataset-ids', 'n.l=id, other'];
  const prompts = ['--dataset-prompt', 'qa.q=query', '--dataset-prompt-text', 'n.l.a=a=b: '];
  assert.deepEqual(settings([...sets, ...more, ...ids, ...prompts, '--mixing', 'round-robin']), {
    mixing: 'round-robin',
    datasets: [
      { name: 'qa', data: ['a.jsonl', 'b.jsonl'], weight: 2, prompts: { q: 'query' } },
      {
        name: 'n.l',
        data: ['hf:o/n=x'],
        columns: ['a', 'b'],
        label: 'kind',
        ids: ['id', 'other'],
        prompts: { a: { prefix: 'a=b: ' } },
      },
    ],
  });
  // Over a file they win, as all flags do; what they say of a data set of the file is put over that.
  const file = { mixing: 'round-robin', datasets: [{ name: 'x', data: 'x.jsonl' }, { data: 'y.jsonl' }] };
  assert.deepEqual(
    settings(['--dataset-weight', 'data set 2=3', '--dataset-format', 'x=csv'], file).datasets,
    [
      { name: 'x', data: 'x.jsonl', format: 'csv' },
      { data: 'y.jsonl', weight: 3 },
    ],
  );
  assert.deepEqual(settings(['--dataset', 'z=z.csv'], { data: 'a', ...file }), {
    mixing: 'round-robin',
    datasets: [{ name: 'z', data: ['z.csv'] }],
  });
  assert.deepEqual(settings(['--data', 'one.jsonl'], file), { data: ['one.jsonl'] });
  assert.deepEqual(file.datasets, [{ name: 'x', data: 'x.jsonl' }, { data: 'y.jsonl' }]);

  const refused = (message: RegExp, ...given: string[]): void => {
    assert.throws(
      () => settings(given),
      (error: Error) => error instanceof UsageError && message.test(error.message),
    );
  };
  refused(/--dataset is a\.jsonl; write NAME=FILE/, '--dataset', 'a.jsonl');
  refused(/--data and --dataset exclude each other/, '--dataset', 'a=b', '--data', 'c');
  refused(
    /--dataset-weight qa=2 is for one of several .* there are none: give --dataset/,
    '--dataset-weight',
    'qa=2',
  );
  refused(/--dataset-weight aq=2 .*these are qa, n\.l/, ...sets, '--dataset-weight', 'aq=2');
  refused(/--dataset-weight qa=two: "two" is not a number/, ...sets, '--dataset-weight', 'qa=two');
  refused(/--dataset-weight qa=3: that has been given/, ...sets, ...more, '--dataset-weight', 'qa=3');
  refused(/--dataset-prompt qa=query is for one of several/, ...sets, '--dataset-prompt', 'qa=query');
  refused(
    /--dataset-prompt-text qa\.q=b: that has been given/,
    ...sets,
    ...prompts,
    '--dataset-prompt-text',
    'qa.q=b',
  );
});

test('a run on data sets of flags trains, and a mistake in one is told by its flag', async (t) => {
  const { folder, config } = await shortRun(t);
  const others = pairs(20).map(({ anchor, positive }) => ({ question: anchor, reply: `few ${positive}` }));
  const few = await writeRows(join(folder, 'few.jsonl'), others);
  let runs = 0;
  const run = (...more: string[]) =>
    runCommand(trainCommand, [
      ...[
        '--model',
        config.model as string,
        '--output',
        `${config.output}${++runs}`,
        '--batch',
        '10',
        '--device',
        'cpu',
      ],
      ...['--dataset', `many=${config.data as string}`, '--dataset', `few=${few}`, ...more],
    ]);
  const { printed } = await run('--mixing', 'round-robin', '--dataset-weight', 'many=2', '--json');
  const events = printed.map((line) => JSON.parse(line) as { type: string; dataset?: string });
  assert.deepEqual(
    events.flatMap(({ type, dataset }) => (type === 'step' ? [dataset] : [])),
    ['many', 'many', 'few', 'many', 'many', 'few'],
  );
  const refused = (message: RegExp, ...more: string[]): Promise<void> =>
    assert.rejects(
      run(...more),
      (error: Error) => error instanceof UsageError && message.test(error.message),
    );
  await refused(/^--dataset-weight few=… is 0\.5/, '--mixing', 'round-robin', '--dataset-weight', 'few=0.5');
  await refused(/^--dataset-weight few=… is -1/, '--dataset-weight', 'few=-1');
  await refused(/^--dataset-format many=… is "cvs"/, '--dataset-format', 'many=cvs');
  await refused(
    /^--dataset-columns few=… are question, and those of the first/,
    '--dataset-columns',
    'few=question',
  );
  await refused(
    /^--dataset-prompt few\.anchor=… is for a column that is none of/,
    '--dataset-prompt',
    'few.anchor=q',
  );
  await refused(/^--no-shuffle is false; true, as the rows of several/, '--no-shuffle');
});
