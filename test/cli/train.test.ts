import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { digests, pairs, shortRun } from '../training/support.js';
import { gradcache, gradcacheEach, withFlags } from './program.js';

/** The flags of a short run. */
async function flags(t: TestContext): Promise<{ folder: string; output: string; args: string[] }> {
  const { folder, config } = await shortRun(t);
  const { model, data, output } = config as { model: string; data: string; output: string };
  const args = [
    'train',
    '--model',
    model,
    '--data',
    data,
    '--output',
    output,
    '--batch',
    '20',
    '--device',
    'cpu',
  ];
  return { folder, output, args: [...args, '--chunk-sequences', '8', '--lr', '1e-2'] };
}

test('flags alone train a model, and every step is told', async (t) => {
  const { output, args } = await flags(t);
  const { code, stdout, stderr } = await gradcache([...args, '--steps', '4', '--checkpoint-every', '2']);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `The model is in ${join(output, 'model')}\n`);
  assert.match(stderr, /parameters in float32 on cpu, 4 steps/);
  // Not a terminal: plain lines, the first and the last whatever the time between them.
  assert.match(
    stderr,
    /^step 1\/4 · loss \d\.\d{3} · lr 0\.01 · 20 pairs · .* pairs\/s · .* tokens\/s · \d+ MiB · \d+ s left$/m,
  );
  assert.match(stderr, /^step 4\/4 · .* · 0 s left$/m);
  assert.match(stderr, /^step 2: wrote .*checkpoint-2$/m);
  assert.ok(!stderr.includes('\r'));
});

test('held-out pairs come from standard input, which the settings that are kept name as what it is', async (t) => {
  const { output, args } = await flags(t);
  const input = pairs(12).map((pair) => `${JSON.stringify(pair)}\n`);
  const held = ['--steps', '1', '--eval-data', '-', '--eval-format', 'jsonl'];
  const { code, stderr } = await gradcache([...args, ...held], { input: input.join('') });
  assert.equal(code, 0, stderr);
  assert.match(stderr, /ndcg@10/);
  const { evaluation } = JSON.parse(await readFile(join(output, 'settings.json'), 'utf8')) as {
    evaluation: { data: string };
  };
  assert.equal(evaluation.data, '/dev/stdin');
});

test('with --json standard output holds one event a line and the result last', async (t) => {
  const { args } = await flags(t);
  const { code, stdout, stderr } = await gradcache([...args, '--epochs', '1', '--json']);
  assert.equal(code, 0, stderr);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; steps?: number });
  assert.deepEqual(
    lines.map(({ type }) => type),
    ['start', 'step', 'step', 'step', 'saved', 'result'],
  );
  assert.equal(lines.at(-1)!.steps, 3);
  assert.equal(stderr, '');
});

test('a configuration file is read, and flags win over it', async (t) => {
  const { folder, config } = await shortRun(t);
  const file = join(folder, 'run.json');
  await writeFile(
    file,
    JSON.stringify({
      ...config,
      epochs: 3,
      steps: undefined,
      chunk: { tokens: 64 },
      loss: { temperature: 0.1 },
    }),
  );
  const output = join(folder, 'other');
  const args = [
    '--steps',
    '2',
    '--output',
    output,
    '--chunk-sequences',
    '40',
    '--no-shuffle',
    '--learn-temperature',
    '--json',
  ];
  const { code, stdout, stderr } = await gradcache(['train', '--config', file, ...args]);
  assert.equal(code, 0, stderr);
  const steps = stdout
    .split('\n')
    .filter((line) => line.includes('"step",'))
    .map((line) => JSON.parse(line) as { chunks: number });
  assert.deepEqual(
    steps.map(({ chunks }) => chunks),
    [2, 2],
  );
  assert.deepEqual((await readdir(output)).sort(), ['metrics.jsonl', 'model', 'settings.json']);

  await writeFile(file, JSON.stringify({ ...config, optimizer: { learningRate: 1 } }));
  const wrong = await gradcache(['train', '--config', file]);
  assert.equal(wrong.code, 1);
  assert.match(
    wrong.stderr,
    /^INPUT: .*run\.json: config\.optimizer\.learningRate is not a setting of adamw; known are kind, lr, betas, eps/,
  );
  const both = await gradcache([...(await flags(t)).args, '--model-config', file]);
  assert.equal(both.code, 2);
  assert.match(both.stderr, /--model starts from a model and --model-config from random weights/);
  await writeFile(file, '{"model": ');
  assert.match(
    (await gradcache(['train', '--config', file])).stderr,
    /^INPUT: .*run\.json cannot be read as JSON/,
  );
});

test('Ctrl-C ends the run after the current chunk, and --resume ends with the same bits as an uninterrupted run', async (t) => {
  const { output, args } = await flags(t);
  const long = [...args, '--steps', '400', '--checkpoint-every', '5', '--json'];
  let interrupted = false;
  const { code, signal, stderr } = await gradcache(long, {
    onOutput: (child, written) => {
      if (interrupted || !written.includes('"type":"step","step":12')) return;
      interrupted = true;
      child.kill('SIGINT');
    },
  });
  assert.equal(signal, null);
  assert.equal(code, 130, stderr);
  assert.match(stderr, /^Ending after the current chunk\. Ctrl-C again ends at once\.\n/);
  const [, step] =
    /ABORTED: Interrupted\. The checkpoint of step (\d+) is complete; --resume \S+ goes on from it\.\n$/.exec(
      stderr,
    ) ?? [];
  assert.ok(Number(step) >= 10, stderr);
  assert.ok((await readdir(output)).every((name) => !name.endsWith('.tmp')));
  const kept = await digests(join(output, `checkpoint-${step}`));

  // An uninterrupted run to the same step has written the same checkpoint.
  const whole = args.map((arg) => (arg === output ? `${output}-whole` : arg));
  assert.equal(
    (
      await gradcache([...whole, '--steps', '400', '--checkpoint-every', step!, '--json'], {
        onOutput: (child, written) => {
          if (written.includes(`"type":"saved","step":${step}`)) child.kill('SIGKILL');
        },
      })
    ).signal,
    'SIGKILL',
  );
  const { 'trainer.json': _, ...expected } = await digests(join(`${output}-whole`, `checkpoint-${step}`));
  const { 'trainer.json': __, ...found } = kept;
  assert.deepEqual(found, expected);
  const resumed = await gradcache([...args, '--steps', String(Number(step) + 2), '--resume', '--json']);
  assert.equal(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stdout, new RegExp(`"done":${step},`));
});

test('a second Ctrl-C ends the process at once, as the signal does', async (t) => {
  const { output, args } = await flags(t);
  let sent = 0;
  const { code, signal } = await gradcache(
    withFlags(args, '--steps', '100000', '--batch', '60', '--chunk-sequences', '1', '--json'),
    {
      onOutput: (child, written) => {
        if (sent === 0 && written.includes('"type":"step"')) {
          sent = 1;
          child.kill('SIGINT');
          child.kill('SIGTERM');
        }
      },
    },
  );
  assert.equal(sent, 1);
  // Whichever of the two comes second ends it; where the run was already over, the code says so.
  assert.ok(signal === 'SIGINT' || signal === 'SIGTERM' || code === 130, `code ${code}, signal ${signal}`);
  assert.equal((await readFile(join(output, 'metrics.jsonl'), 'utf8')).startsWith('{"type":"start"'), true);
});

test('a mistake in a flag is told by the flag, and one in the configuration file by the file', async (t) => {
  const { folder, args } = await flags(t);
  const file = join(folder, 'run.json');
  const wrong = [
    [['--lr', '0'], /^INPUT: --lr is 0; a finite number above 0 is needed\.\nSee: /],
    [['--precision', 'half'], /^INPUT: --precision is "half"/],
    [['--max-length', '400'], /^INPUT: --max-length is 400; a whole number from 1 to 32 is needed/],
    [['--max-length', '2'], /^INPUT: --max-length is 2; a whole number from 3 is needed: 2 special tokens/],
    [['--loss', 'cross-encoder-ranking'], /^INPUT: --new-head is not given, and .* has no head for pairs/],
    [['--optimizer.betas', '0.9,1'], /^INPUT: --optimizer\.betas\[1\] is 1; a finite number from 0/],
    [
      ['--loss', 'siglip', '--symmetric'],
      /^INPUT: --symmetric is not a setting of siglip; known are kind, scale/,
    ],
    [['--prompt', 'anchor=nope'], /^INPUT: --prompt anchor=… is "nope"; .*there is none.*--prompt-text/],
    [
      ['--prompt-text', 'anchor=a', '--prompt-text', 'positive=b', '--prompt-text', 'negative=c'],
      /^INPUT: --prompt-text negative=… is for a column that the data has nothing in/,
    ],
    [
      [
        '--steps',
        '1',
        '--columns',
        'anchor,positive,third',
        '--prompt-text',
        'positive=b',
        '--prompt-text',
        'third=c',
      ],
      /^INPUT: --prompt-text third=… would be saved as "document".*\(prompts\.third\.name, --prompt-name third=NAME\)/,
    ],
    [['--device', 'gpu'], /^INPUT: --device is "gpu"/],
    [['--eval-every', '5'], /^INPUT: --eval-data is missing/],
    [
      ['--prompt', 'passage=query'],
      /^INPUT: --prompt passage=… is not a setting; known are anchor, positive/,
    ],
    [
      ['--prompt', 'anchor=a', '--prompt-text', 'anchor=b'],
      /^INPUT: --prompt-text anchor=b: the prompt of anchor has/,
    ],
    [['--prompt-name', 'anchor=a'], /^INPUT: --prompt-name anchor=a .*give --prompt-text anchor=TEXT too/],
    [['--frozen', 'embeddings,nope'], /^INPUT: --frozen\[1\] is "nope"; the name of a parameter/],
    [['--frozen', 'embeddings,encoder'], /^INPUT: --frozen names every parameter of the model/],
    [['--schedule', 'step'], /^INPUT: --schedule is "step"/],
  ] as const;
  await writeFile(file, JSON.stringify({ optimizer: { lr: 0 }, evaluation: 5 }));
  const calls = [
    ...wrong.map(([more, message]) => [withFlags(args, ...more), 2, message] as const),
    [[...args.slice(0, -2), '--config', file], 1, /^INPUT: .*run\.json: config\.optimizer\.lr is 0/],
    [[...args, '--config', file], 1, /^INPUT: .*run\.json: config\.evaluation is 5; an object is needed/],
  ] as const;
  const all = await gradcacheEach(calls.map(([given]) => given));
  for (const [place, [, code, message]] of calls.entries()) {
    assert.match(all[place]!.stderr, message);
    assert.equal(all[place]!.code, code, all[place]!.stderr);
  }
});

test('a run is resumed with nothing but its folder, and a setting that cannot change is refused', async (t) => {
  const { output, args } = await flags(t);
  const nothing = await gradcache(['train', '--output', output, '--resume']);
  assert.equal(nothing.code, 1);
  assert.match(nothing.stderr, /^INPUT: .* holds no checkpoint to go on from/);
  assert.equal((await gradcache([...args, '--steps', '2', '--checkpoint-every', '1'])).code, 0);
  const more = await gradcache(['train', '--output', output, '--resume', '--steps', '3', '--lr', '2e-2']);
  assert.equal(more.code, 0, more.stderr);
  assert.match(more.stderr, /^optimizer\.lr was 0\.01, now 0\.02$/m);
  assert.match(more.stderr, /^steps was 2, now 3$/m);
  const other = await gradcache(['train', '--output', output, '--resume', '--temperature', '0.1']);
  assert.equal(other.code, 2);
  assert.match(
    other.stderr,
    /^INPUT: --temperature was 0\.05, now 0\.1, and .*checkpoint-3 cannot be resumed/,
  );
});

test('a chunk in texts and one in tokens exclude each other', async (t) => {
  const { args } = await flags(t);
  const { code, stderr } = await gradcache([...args, '--chunk-tokens', '64', '--steps', '1']);
  assert.equal(code, 2);
  assert.match(stderr, /--chunk-sequences and --chunk-tokens exclude each other/);
});

test('where nobody reads the output any more, the program ends without a word', async (t) => {
  const { args } = await flags(t);
  const { code, stderr } = await gradcache([...args, '--steps', '200', '--json'], {
    onOutput: (child) => child.stdout?.destroy(),
  });
  assert.equal(code, 141);
  assert.equal(stderr, '');
});

test('a count of one is singular, and a configuration that is not there is said not to exist', async (t) => {
  const { args } = await flags(t);
  const { stderr } = await gradcache([...args, '--steps', '1']);
  assert.match(stderr, /on cpu, 1 step of anchor, positive$/m);
  const gone = await gradcache(['train', '--config', 'gone.json']);
  assert.match(gone.stderr, /^INPUT: gone\.json cannot be read: .*It does not exist: check the path\.\n$/);
});

test('a configuration file may name the schema that an editor checks it by', async (t) => {
  const { folder, args } = await flags(t);
  const file = join(folder, 'run.json');
  await writeFile(file, JSON.stringify({ $schema: 'train.schema.json', steps: 1 }));
  assert.equal((await gradcache([...args, '--config', file])).code, 0);
  await writeFile(file, JSON.stringify({ schema: 'train.schema.json', steps: 1 }));
  assert.match((await gradcache([...args, '--config', file])).stderr, /config\.schema is not a setting/);
});

test('all flags that are missing are named at once, and a mistake is told by the flag as it was typed', async (t) => {
  const { args } = await flags(t);
  const calls = [
    [['embed', '--model', 'm'], /^INPUT: --input FILE and --output FILE are needed\.\nSee/],
    [[...args, '--no-unique-texts', '--group-by-label'], /^INPUT: --group-by-label puts rows of one label/],
    [
      [...args, '--curriculum-from', '3', '--curriculum-over', '4', '--curriculum-tokens', '9'],
      /^INPUT: --curriculum-\w+ needs/,
    ],
    [
      [...args, '--no-checkpoint', '--checkpoint-keep', '1'],
      /^INPUT: --no-checkpoint and --checkpoint-keep exclude/,
    ],
    [['train', '--resume', 'nowhere'], /^INPUT: --resume is "nowhere", and there is no such folder/],
  ] as const;
  const all = await gradcacheEach(calls.map(([given]) => given));
  for (const [place, [, message]] of calls.entries()) {
    assert.match(all[place]!.stderr, message);
    assert.equal(all[place]!.code, 2, all[place]!.stderr);
  }
});

test('--resume FOLDER alone goes on with a run, by its folder or by a checkpoint; the line has pairs and learning rate', async (t) => {
  const { output, args } = await flags(t);
  const first = await gradcache([...args, '--steps', '2', '--checkpoint-every', '1', '--max-length', '12']);
  assert.match(first.stderr, /^step 1\/2 · loss \d\.\d{3} · lr \S+ · 20 pairs · /m);
  assert.doesNotMatch(first.stderr, /and the model states/);
  for (const [folder, steps] of [
    [output, '3'],
    [join(output, 'checkpoint-3'), '4'],
  ] as const) {
    const { code, stderr } = await gradcache(['train', '--resume', folder, '--steps', steps]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, new RegExp(`^step ${steps}/${steps} `, 'm'));
  }
  const other = await gradcache(['train', '--resume', output, '--output', `${output}-other`]);
  assert.equal(other.code, 2);
  assert.match(other.stderr, /the output folder of a run, and output is .*leave one of them out/);
});
