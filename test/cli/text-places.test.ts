import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { embedCommand } from '../../lib/cli/embed.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { mineCommand } from '../../lib/cli/mine.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { temporaryFolder, TINY_CONFIG, writeRows } from '../training/support.js';
import { runCommand } from './program.js';

/** A tokenizer without special tokens, of which no token is left of a control character. */
const WORDS = ['[UNK]', '[PAD]', 'a', 'b', 'c', 'd'];
const TOKENIZER = {
  ...{
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    post_processor: null,
    decoder: null,
  },
  normalizer: {
    ...{ type: 'BertNormalizer', clean_text: true, handle_chinese_chars: false },
    ...{ strip_accents: null, lowercase: false },
  },
  pre_tokenizer: { type: 'Whitespace' },
  model: {
    ...{ type: 'WordLevel', unk_token: '[UNK]' },
    vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
  },
};
const BAD = '\u0001';

async function saveModel(folder: string): Promise<string> {
  const tokenizer = await Tokenizer.fromJson(JSON.stringify(TOKENIZER));
  using encoder = TextEncoder.create({ ...TINY_CONFIG, vocab_size: WORDS.length }, tokenizer);
  await encoder.save(folder);
  return folder;
}

test('a text that cannot be taken is named by its file and line', async (t) => {
  const folder = await temporaryFolder(t);
  const model = ['--model', await saveModel(join(folder, 'model')), '--device', 'cpu'];
  const at = (name: string) => join(folder, name);
  const lines = at('lines.txt');
  await writeFile(lines, `a\nb\nc\n${BAD}\nd\n`);
  const csv = at('texts.csv');
  await writeFile(csv, `id,text\n1,a\n2,"b\nc"\n3,${BAD}\n`);
  const pairs = await writeRows(at('pairs.jsonl'), [
    { anchor: 'a', positive: 'b' },
    { anchor: 'b', positive: 'c' },
    { anchor: 'c', positive: BAD },
  ]);
  const good = await writeRows(at('good.jsonl'), [
    { anchor: 'a', positive: 'b' },
    { anchor: 'b', positive: 'c' },
  ]);
  await writeRows(at('queries.jsonl'), [{ _id: 'q', text: 'a' }]);
  await writeRows(at('corpus.jsonl'), [
    { _id: '1', text: 'b' },
    { _id: '2', title: BAD, text: '' },
  ]);
  await writeFile(at('qrels.tsv'), 'query-id\tcorpus-id\tscore\nq\t1\t1\n');
  const lists = await writeRows(at('lists.jsonl'), [
    { query: 'a', positive: ['b'], negative: ['c'] },
    { query: 'a', positive: ['b'], negative: ['d', BAD] },
  ]);
  const output = ['--output', at('out.jsonl')];
  const beir = ['queries', 'corpus'].flatMap((name) => [`--${name}`, at(`${name}.jsonl`)]);
  for (const [command, place, ...args] of [
    // Blocks of two: within its own the text is the second.
    [embedCommand, 'lines.txt, line 4', '--input', lines, '--block', '2', ...output],
    [embedCommand, 'texts.csv, line 5', '--input', csv, '--column', 'text', ...output],
    [embedCommand, 'texts.csv, line 5', '--input', csv, '--column', 'text', '--keep', 'id', ...output],
    [evaluateCommand, 'pairs.jsonl, line 3', '--data', pairs],
    [evaluateCommand, 'lines.txt, line 4', '--data', good, '--documents', lines],
    [evaluateCommand, 'corpus.jsonl, line 2', ...beir, '--judgements', at('qrels.tsv')],
    [evaluateCommand, 'lists.jsonl, line 2', '--task', 'reranking', '--data', lists],
    [mineCommand, 'pairs.jsonl, line 3', '--data', pairs, ...output],
    [mineCommand, 'lines.txt, line 4', '--data', good, '--corpus', lines, ...output],
  ] as const)
    await assert.rejects(runCommand(command, [...model, ...args]), {
      code: 'INPUT',
      message: `${at(place)}: the text "\\u0001" has no tokens; leave such texts out.`,
    });
});
