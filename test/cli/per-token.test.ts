import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { embedCommand } from '../../lib/cli/embed.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { mineCommand } from '../../lib/cli/mine.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { pairs, root, saveTinyModel, temporaryFolder, TINY_CONFIG, writeRows } from '../training/support.js';
import { runCommand } from './program.js';

test('commands that need one representation a text refuse a model of tokens in the words of the command line', async (t) => {
  const folder = await temporaryFolder(t);
  const tokenizer = await Tokenizer.fromFile(join(root, 'examples', 'quickstart', 'tokenizer.json'));
  using encoder = TextEncoder.create(TINY_CONFIG, tokenizer, { pooling: 'none', maxLength: 12 });
  const model = join(folder, 'model');
  await encoder.save(model);
  const texts = join(folder, 'texts.txt');
  await writeFile(texts, 'some bread\n');
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(4));
  const output = ['--output', join(folder, 'out.jsonl'), '--device', 'cpu'];
  for (const windows of [[], ['--windows']])
    await assert.rejects(
      runCommand(embedCommand, ['--model', model, '--input', texts, ...output, ...windows]),
      {
        code: 'INPUT',
        message: /^--model has a representation for each token.*gradcache evaluate --task retrieval/,
      },
    );
  await assert.rejects(runCommand(mineCommand, ['--model', model, '--data', data, ...output]), {
    message: /^--model gives a representation for each token/,
  });
  const dense = await saveTinyModel(join(folder, 'dense'));
  await assert.rejects(
    runCommand(mineCommand, ['--model', dense, '--data', data, '--judge', model, ...output]),
    { message: /^--judge gives a representation for each token/ },
  );
  for (const task of ['translation', 'clustering'])
    await assert.rejects(
      runCommand(evaluateCommand, [
        ...['--model', model, '--device', 'cpu', '--task', task, '--data', data],
        ...['--columns', 'anchor,positive'],
      ]),
      {
        message: new RegExp(
          `^--task ${task} takes one representation of a text, and this model has one for each`,
        ),
      },
    );
});
