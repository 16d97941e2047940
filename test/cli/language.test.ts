import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../training/support.js';
import { gradcache } from './program.js';

const lines = (output: string) =>
  output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test('a language model is trained, resumed, measured and sampled on the command line', async (t) => {
  const folder = await temporaryFolder(t);
  const [data, output] = [join(folder, 'data.txt'), join(folder, 'run')];
  await writeFile(data, 'the quiet river runs to the sea.\n'.repeat(30));
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await gradcache(['language', ...args, '--device', 'cpu']);
    assert.equal(code, 0, stderr);
    return { stdout, stderr };
  };
  const settings = [
    '--rows',
    '4',
    '--length',
    '8',
    '--cell',
    'sru',
    '--model.width',
    '16',
    '--model.layers',
    '1',
  ];
  const first = await run(
    ...['train', '--data', data, '--output', output, ...settings, '--vocabulary', 'characters'],
    ...[
      '--segments',
      '2',
      '--across',
      'synthetic',
      '--across.factor',
      '0.5',
      '--steps',
      '40',
      '--warmup',
      '0',
    ],
    ...['--optimizer', 'adamw', '--lr', '0.03', '--checkpoint-every', '40', '--json'],
  );
  const events = lines(first.stdout);
  assert.deepEqual([...new Set(events.map(({ type }) => type))], ['start', 'step', 'saved', 'result']);
  const steps = events.filter(({ type }) => type === 'step');
  assert.equal(steps.length, 40);
  assert.equal(steps[5]!.gradients, 'synthetic');
  const more = await run('train', '--output', output, '--resume', '--steps', '120');
  assert.match(more.stderr, /from step 40 in .*checkpoint-40/);
  assert.match(more.stderr, /step 120\/120 · loss 0\.\d+ \(0\.\d+ bits\) · .* tokens\/s/);
  assert.match(more.stdout, /^The model is in .*run\/model\n$/);

  const model = join(output, 'model');
  const measured = lines((await run('evaluate', '--model', model, '--data', data, '--json')).stdout)[0]!;
  assert.ok((measured.bitsPerCharacter as number) < 1.5 && (measured.perplexity as number) < 3);
  const sample = ['sample', '--model', model, '--prompt', 'the qu', '--tokens', '30'];
  const greedy = (await run(...sample, '--temperature', '0')).stdout;
  assert.match(greedy, /^the quiet river/);
  const drawn = await run(...sample, '--seed', '5', '--top-k', '3', '--json');
  assert.equal(drawn.stdout, (await run(...sample, '--seed', '5', '--top-k', '3', '--json')).stdout);
  assert.equal((lines(drawn.stdout)[0]!.text as string).length, 30);
});

test('a wrong call of a language command names its flag', async (t) => {
  const folder = await temporaryFolder(t);
  const data = join(folder, 'data.txt');
  await writeFile(data, 'some text');
  const config = join(folder, 'run.json');
  await writeFile(
    config,
    JSON.stringify({ data, output: join(folder, 'run'), rows: 1, segment: { length: 3, lenght: 3 } }),
  );
  const train = ['train', '--data', data, '--output', join(folder, 'run'), '--rows', '1'];
  const calls: [args: string[], code: number, message: RegExp][] = [
    [[], 2, /language alone is not a command; there are language train/],
    [['trian'], 2, /language trian is not a command; did you mean language train/],
    [['train'], 2, /--data, --output, --rows and --length are needed/],
    [train, 2, /--length is needed, or a --config FILE that has it/],
    [[...train, '--length', '0'], 2, /--length is 0/],
    [[...train, '--length', '4', '--cell', 'rnn'], 2, /--cell is "rnn"/],
    [[...train, '--length', '4', '--model.width', '0'], 2, /--model\.width is 0/],
    [
      [...train, '--length', '4', '--across', 'exact', '--across.factor', '1'],
      2,
      /--across\.factor is not a setting of exact/,
    ],
    [
      [...train, '--length', '4', '--model', folder, '--cell', 'sru'],
      2,
      /--model starts from a model and --cell/,
    ],
    [[...train, '--length', '4', '--vocabulary', 'bytes', '--tokenizer', 'x'], 2, /exclude each other/],
    [
      ['train', '--config', config],
      1,
      /run\.json: config\.segment\.lenght is not a setting; did you mean length/,
    ],
    [['evaluate', '--model', folder], 2, /--data FILE is needed/],
    [['evaluate', '--model', folder, '--data', data], 1, /CHECKPOINT: .* has no vocabulary\.json/],
    [['sample', '--model', folder], 2, /--prompt TEXT is needed/],
  ];
  const ended = await Promise.all(calls.map(([args]) => gradcache(['language', ...args])));
  for (const [index, [args, code, message]] of calls.entries()) {
    assert.match(ended[index]!.stderr, message);
    assert.equal(ended[index]!.code, code, args.join(' '));
  }
  await assert.rejects(readFile(join(folder, 'run', 'metrics.jsonl')), { code: 'ENOENT' });
  assert.match((await gradcache(['language', '--help'])).stdout, /language train {2,}train a language model/);
});
