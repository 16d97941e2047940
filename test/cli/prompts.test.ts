import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Command } from '../../lib/cli/command.js';
import { embedCommand } from '../../lib/cli/embed.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import { evaluateRetrieval } from '../../lib/evaluation/retrieval.js';
import { readRetrievalPairs } from '../../lib/evaluation/tasks.js';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';
import { gradcache, gradcacheEach, runCommand } from './program.js';

const prompts = { query: 'find the', document: 'a text of' };

async function modelWithPrompts(folder: string): Promise<string> {
  const model = await saveTinyModel(join(folder, 'model'));
  await writeFile(join(model, 'config_sentence_transformers.json'), JSON.stringify({ prompts }));
  return model;
}

test('embed puts the prompt named, or that of queries or documents, before every text', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await modelWithPrompts(folder);
  const [input, output] = [join(folder, 'texts.txt'), join(folder, 'vectors.jsonl')];
  await writeFile(input, 'old dog\nriver\n');
  const encoder = await TextEncoder.load(model, { device: 'cpu' });
  for (const [flag, prompt] of [
    ['--prompt', 'query'],
    ['--prompt', 'document'],
    ['--as', 'query'],
    ['--as', 'document'],
  ] as const) {
    const args = ['--model', model, '--device', 'cpu', '--input', input, '--output', output];
    const { code, stderr } = await gradcache(['embed', ...args, flag, prompt]);
    assert.equal(code, 0, stderr);
    const lines = (await readFile(output, 'utf8')).trim().split('\n');
    const vectors = lines.flatMap((line) => (JSON.parse(line) as { vector: number[] }).vector);
    const expected = await encoder.encode(['old dog', 'river'], { prompt });
    const other = await encoder.encode(['old dog', 'river']);
    const far = async (tensor: typeof other) =>
      Math.max(...Array.from((await tensor.values()) as Float32Array, (v, k) => Math.abs(v - vectors[k]!)));
    assert.ok((await far(expected)) < 1e-6);
    assert.ok((await far(other)) > 1e-3);
  }
  encoder.dispose();
});

test('a prompt that the model does not have is refused with what its flag takes', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await modelWithPrompts(folder);
  const [input, output] = [join(folder, 'texts.txt'), join(folder, 'vectors.jsonl')];
  await writeFile(input, 'old dog\n');
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const commands = [
    ['embed', '--input', input, '--output', output, '--prompt'],
    ['evaluate', '--data', data, '--query-prompt'],
    ['evaluate', '--data', data, '--document-prompt'],
  ];
  const all = await gradcacheEach(
    commands.map((command) => [...command, 'typo', '--model', model, '--device', 'cpu']),
  );
  for (const [place, command] of commands.entries()) {
    const { code, stderr } = all[place]!;
    assert.equal(code, 2, stderr);
    assert.match(
      stderr,
      new RegExp(`${command.at(-1)} is typo, and the model has the prompts query, document\\.`),
    );
    assert.doesNotMatch(stderr, /prefix/);
  }
});

test('every flag that names a prompt has one beside it that gives the words', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await modelWithPrompts(folder);
  const [input, output] = [join(folder, 'texts.txt'), join(folder, 'vectors.jsonl')];
  await writeFile(input, 'old dog\n');
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const scored = pairs().map(({ anchor, positive }, row) => ({ anchor, positive, score: row % 7 }));
  const sts = await writeRows(join(folder, 'sts.jsonl'), scored);
  const commands: [Command, string[], string, string][] = [
    [embedCommand, ['--input', input, '--output', output], 'prompt', prompts.query],
    [evaluateCommand, ['--data', data], 'query-prompt', prompts.query],
    [evaluateCommand, ['--data', data], 'document-prompt', prompts.document],
    [
      evaluateCommand,
      ['--task', 'sts', '--data', sts, '--columns', 'anchor,positive,score'],
      'query-prompt',
      prompts.query,
    ],
  ];
  for (const [command, own, flag, words] of commands) {
    const run = async (...given: string[]): Promise<string> => {
      const all = ['--model', model, '--device', 'cpu', '--json', ...own, ...given];
      const { printed } = await runCommand(command, all);
      return command === embedCommand ? readFile(output, 'utf8') : printed.join();
    };
    const name = flag === 'document-prompt' ? 'document' : 'query';
    const named = await run(`--${flag}`, name);
    assert.equal(await run(`--${flag}-text`, words), named);
    assert.notEqual(await run(`--${flag}-text`, 'other words'), named);
    assert.equal(await run(`--${flag}-text`, ''), await run(`--${flag}`, ''));
    const both = run(`--${flag}`, name, `--${flag}-text`, words);
    await assert.rejects(both, {
      name: 'GradCacheError',
      message: `--${flag} and --${flag}-text exclude each other: give one of them.`,
    });
  }
});

test('evaluate puts its prompts before queries and documents', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await modelWithPrompts(folder);
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const encoder = await TextEncoder.load(model, { device: 'cpu' });
  const task = await readRetrievalPairs(data);
  const all: string[] = [];
  // An empty name means no prompt; left out, the model's prompts of these names are used.
  const choices: { query?: string; document?: string }[] = [
    {},
    { query: '' },
    { document: '' },
    { query: '', document: '' },
    { query: 'query', document: 'document' },
  ];
  for (const names of choices) {
    const flags = Object.entries(names).flatMap(([side, name]: [string, string]) => [
      `--${side}-prompt`,
      name,
    ]);
    const args = ['evaluate', '--model', model, '--device', 'cpu', '--data', data, '--json', ...flags];
    const { stdout, stderr } = await gradcache(args);
    const { task: kind, ...scores } = JSON.parse(stdout) as Record<string, number | string>;
    assert.equal(kind, 'retrieval', stderr);
    const expected = flattenScores(await evaluateRetrieval(encoder, task, { prompts: names }));
    for (const [name, value] of Object.entries(expected))
      assert.ok(Math.abs(Number(scores[name]) - value) < 1e-9, name);
    all.push(JSON.stringify(expected));
  }
  assert.equal(new Set(all.slice(0, 4)).size, 4, 'each choice of prompts has scores of its own');
  assert.equal(all[4], all[0]);
  encoder.dispose();
});
