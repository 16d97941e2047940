import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CrossEncoder } from '../../lib/encoders/cross-encoder.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';

/** Runs a compiled example in a process of its own and returns what it printed, line by line. */
async function run(example: string, ...args: string[]): Promise<string[]> {
  const program = fileURLToPath(new URL(`../../examples/${example}.js`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args]);
  return stdout.trim().split('\n');
}

/** The losses in lines like `step 3: loss 1.2345`. */
function losses(lines: readonly string[]): number[] {
  return lines.map((line) => Number(/loss (\d+\.\d+)/.exec(line)?.[1]));
}

test('several-gpus trains alone, where no launcher gave it a place', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const lines = await run('several-gpus', model, data, join(folder, 'trained'), '20', 'cpu');
  assert.equal(lines.length, 3);
  assert.ok(losses(lines).every((loss) => loss > 0 && loss < 20));
  (await TextEncoder.load(join(folder, 'trained'))).dispose();
});

test('fine-tune trains a model folder and saves one that opens', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const lines = await run('fine-tune', model, data, join(folder, 'out'), '40');
  assert.equal(lines.length, 1);
  assert.ok(
    losses(lines).every((loss) => loss > 0 && loss < 20),
    lines.join(),
  );
  const [before, after] = await Promise.all(
    [model, join(folder, 'out')].map((path) => TextEncoder.load(path)),
  );
  const texts = ['the old dog'];
  assert.notDeepEqual(
    await (await before!.encode(texts)).values(),
    await (await after!.encode(texts)).values(),
  );
});

test('by-hand has the loss and the gradients of GradCache.step', async (t) => {
  const model = await saveTinyModel(join(await temporaryFolder(t), 'model'));
  const [loss, gradients] = await run('by-hand', model);
  const [, byHand, whole] = /^by hand: loss (.+); by GradCache\.step: loss (.+)$/.exec(loss!)!;
  assert.ok(Math.abs(Number(byHand) - Number(whole)) < 1e-5);
  const [, difference] = /^the gradients differ by (.+) of the largest$/.exec(gradients!)!;
  assert.ok(Number(difference) < 1e-5, difference);
});

test('custom-loss passes its margin through and trains', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const [first, second] = losses(await run('custom-loss', model, data));
  assert.ok(first! > 0 && second! > 0 && first !== second);
});

test('reranker makes a cross-encoder of a text encoder, and ranks with it', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const lines = await run('reranker', model, data, join(folder, 'out'));
  const found = losses(lines.slice(0, -1));
  assert.equal(found.length, 9);
  assert.ok(found.every((loss) => loss > 0) && found.at(-1)! < found[0]!, found.join());
  assert.match(lines[0]!, /over 100 pairs/);
  assert.match(lines.at(-1)!, /^the \w+ \w+: (\w+ that is \w+(, )?){3}$/);
  using reranker = await CrossEncoder.load(join(folder, 'out'));
  assert.equal(reranker.labels, 1);
});

test('two-towers lowers the loss of texts against feature vectors', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const found = losses(await run('two-towers', model, data));
  assert.equal(found.length, 4);
  assert.ok(found.at(-1)! < found[0]!, found.join());
});

test('cross-batch-memory compares with more and more of the earlier batches', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const lines = await run('cross-batch-memory', model, data);
  const sizes = lines.map((line) => Number(/and (\d+) of earlier/.exec(line)?.[1]));
  assert.deepEqual(sizes, [0, 32]);
  assert.ok(losses(lines).every((loss) => loss > 0));
});

test('curated-batches trains with the pairs that its judge keeps', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const lines = await run('curated-batches', model, data);
  for (const line of lines) {
    const [, kept, left] = /of (\d+) pairs, without (\d+); \d+ batches refused$/.exec(line)!.map(Number);
    assert.equal(kept! + left!, 20, line);
  }
  assert.ok(losses(lines).every((loss) => loss > 0));
});

test('language-model learns from a text, and writes', async (t) => {
  const folder = await temporaryFolder(t);
  const file = join(folder, 'text.txt');
  await writeFile(file, 'the quick brown fox jumps over the lazy dog. '.repeat(100));
  const lines = await run('language-model', file, '40');
  const found = losses(lines.slice(0, 4));
  assert.ok(found.at(-1)! < 0.5 * found[0]!, lines.join());
  assert.ok(lines.slice(4).join('\n').length > 100, lines.join());
});

/** Makes the last token of a vocabulary the mask token: the small tokenizer has none. */
async function giveMaskToken(path: string): Promise<void> {
  const tokenizer = JSON.parse(await readFile(path, 'utf8')) as {
    added_tokens: object[];
    model: { vocab: Record<string, number> };
  };
  const { vocab } = tokenizer.model;
  const [last, id] = Object.entries(vocab).reduce((one, other) => (other[1] > one[1] ? other : one));
  delete vocab[last];
  vocab['[MASK]'] = id;
  tokenizer.added_tokens.push({ ...tokenizer.added_tokens[0], id, content: '[MASK]', special: true });
  await writeFile(path, JSON.stringify(tokenizer));
}

test('mirror-bert trains on texts alone, measures before and after, and saves', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  await giveMaskToken(join(model, 'tokenizer.json'));
  const texts = join(folder, 'texts.txt');
  await writeFile(
    texts,
    pairs()
      .map(({ anchor, positive }) => `${anchor} stands there, ${positive}\n`)
      .join(''),
  );
  const sts = join(folder, 'sts.csv');
  const scored = pairs(6).map(({ anchor, positive }, row) => `${anchor},${positive},${row}\n`);
  await writeFile(sts, ['sentence1,sentence2,score\n', ...scored].join(''));
  const lines = await run('mirror-bert', model, texts, sts, join(folder, 'out'), '20');
  assert.equal(lines.length, 5);
  assert.match(lines[0]!, /^before: Spearman -?\d/);
  assert.match(lines.at(-1)!, /^after: Spearman -?\d/);
  assert.ok(losses(lines.slice(1, -1)).every((loss) => loss > 0));
  await TextEncoder.load(join(folder, 'out'));
  // A tokenizer without a mask token: the example goes on, and says so.
  const maskless = await saveTinyModel(join(folder, 'maskless'));
  const [first, ...others] = await run('mirror-bert', maskless, texts, sts, join(folder, 'unmasked'), '20');
  assert.match(first!, /^no span is masked/);
  assert.equal(others.length, 5);
});

test('sccl starts from k-means, trains both heads, and measures before and after', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const rows = pairs().map(({ anchor }) => ({ text: anchor, label: anchor.split(' ')[1] }));
  const data = await writeRows(join(folder, 'labelled.jsonl'), rows);
  const lines = await run('sccl', model, data, join(folder, 'out'), '4', '30');
  assert.equal(lines.length, 6);
  assert.match(lines[0]!, /^k-means: accuracy 0\.\d+, mutual information 0\.\d+$/);
  assert.match(lines.at(-1)!, /^SCCL: accuracy 0\.\d+, mutual information 0\.\d+$/);
  const found = losses(lines.slice(1, -1));
  assert.ok(
    found.every((loss) => loss > 0 && loss < 100),
    found.join(),
  );
  await TextEncoder.load(join(folder, 'out'));
});

test('the quickstart trains, measures, writes the page of its run, and ends with one line of JSON', async (t) => {
  const folder = await temporaryFolder(t);
  const size = ['--pairs', '1500', '--batch', '128', '--chunk', '4', '--steps', '12'];
  const lines = await run(
    'quickstart/main',
    ...size,
    '--curve',
    '32,64',
    '--whole-up-to',
    '32',
    '--output',
    folder,
    '--json',
  );
  const result = JSON.parse(lines.at(-1)!) as Record<string, unknown> & {
    recallAt10: { before: number; after: number };
  };
  const keys = [
    'pairs',
    'batch',
    'chunk',
    'steps',
    'recallAt10',
    'tokensPerSecond',
    'peakMemoryMiB',
    'seconds',
  ];
  assert.deepEqual(Object.keys(result), keys);
  assert.deepEqual([result.pairs, result.batch, result.chunk, result.steps], [1350, 128, 4, 12]);
  assert.ok(result.recallAt10.after > result.recallAt10.before, JSON.stringify(result));
  const report = await readFile(join(folder, 'report.html'), 'utf8');
  assert.match(report, /<h1>Quickstart: [^<]+<\/h1>\s*<p id="state" role="status">Finished after 12 steps</);
  assert.match(report, /What it finds hardest/);
  assert.doesNotMatch(report, /(src|href)="?http/);
  await TextEncoder.load(join(folder, 'model'));
});
