import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { embedCommand } from '../../lib/cli/embed.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { mineCommand } from '../../lib/cli/mine.js';
import { TextEncoder, Tokenizer, evaluateRetrieval, train, type GradCacheError } from '../../lib/index.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import { eventsOf } from '../../lib/training/metrics.js';
import { digests, pairs, root, temporaryFolder, TINY_CONFIG, writeRows } from '../training/support.js';
import { runCommand } from './program.js';

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');
const ROUTES = ['query', 'document'] as const;

/** A folder whose Router has two models with other weights. */
async function saveRouter(t: TestContext): Promise<{ folder: string; model: string }> {
  const folder = await temporaryFolder(t);
  const tokenizer = await Tokenizer.fromFile(TOKENIZER);
  const make = (seed: number) => TextEncoder.create(TINY_CONFIG, tokenizer, { seed });
  using query = make(1);
  using document = make(2);
  const model = join(folder, 'model');
  await TextEncoder.saveRoutes(model, { query, document });
  return { folder, model };
}

async function rowsOf(model: TextEncoder, texts: readonly string[], task: 'query' | 'document') {
  using rows = await (task === 'query' ? model.encodeQuery(texts) : model.encodeDocument(texts));
  return Array.from((await rows.values()) as Float32Array);
}

test('embed takes the model of --as or --route, and asks for one of them', async (t) => {
  const { folder, model } = await saveRouter(t);
  const input = join(folder, 'texts.txt');
  await writeFile(input, 'one text\nanother\n');
  const args = ['--model', model, '--device', 'cpu', '--input', input];
  for (const [flag, task] of [['--as', 'query'] as const, ['--route', 'document'] as const]) {
    const output = join(folder, `${task}.jsonl`);
    await runCommand(embedCommand, [...args, flag, task, '--output', output]);
    using encoder = await TextEncoder.load(model, { route: task });
    const lines = (await readFile(output, 'utf8')).trimEnd().split('\n');
    const vectors = lines.flatMap((line) => (JSON.parse(line) as { vector: number[] }).vector);
    const expected = await rowsOf(encoder, ['one text', 'another'], task);
    assert.deepEqual(vectors.map(Math.fround), expected);
  }
  await assert.rejects(runCommand(embedCommand, [...args, '--output', join(folder, 'x.jsonl')]), {
    message: /has a Router, .* --route query or --route document, or --as/,
  });
});

test('evaluate and mine encode queries and documents by their own models', async (t) => {
  const { folder, model } = await saveRouter(t);
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(12));
  const args = ['--model', model, '--device', 'cpu', '--data', data];
  const { printed } = await runCommand(evaluateCommand, [...args, '--json']);
  using query = await TextEncoder.load(model, { route: 'query' });
  using document = await TextEncoder.load(model, { route: 'document' });
  const rows = pairs(12);
  const expected = await evaluateRetrieval(
    {
      encode: (texts, options) => document.encode(texts, options),
      encodeQuery: (texts, options) => query.encodeQuery(texts, options),
      encodeDocument: (texts, options) => document.encodeDocument(texts, options),
    },
    {
      queries: rows.map(({ anchor }) => anchor),
      documents: rows.map(({ positive }) => positive),
      relevant: rows.map((_, k) => new Map([[k, 1]])),
    },
  );
  const measured = JSON.parse(printed[0]!) as Record<string, number>;
  const scores = Object.entries(flattenScores(expected));
  assert.ok(scores.length > 2);
  for (const [name, score] of scores) assert.equal(measured[name], score, name);
  await assert.rejects(
    runCommand(evaluateCommand, [...args, '--task', 'clustering', '--columns', 'anchor,positive']),
    /Router/,
  );
  const output = join(folder, 'mined.jsonl');
  await runCommand(mineCommand, [...args, '--negatives', '1', '--output', output]);
  assert.equal((await readFile(output, 'utf8')).trimEnd().split('\n').length, 12);
});

test('a run trains both models, saves them as a Router, and goes on from its checkpoint with the same bits', async (t) => {
  const { folder, model } = await saveRouter(t);
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(12));
  const run = { model, data, device: 'cpu', batch: 4, evaluation: { data, every: 3 } } as const;
  const whole = join(folder, 'whole');
  await train({ ...run, output: whole, steps: 4, checkpoint: { every: 2, keep: 3 } });
  await train({ output: join(folder, 'again'), resume: join(whole, 'checkpoint-2') });
  assert.deepEqual(await digests(join(folder, 'again', 'model')), await digests(join(whole, 'model')));
  const texts = ['one text', 'another'];
  for (const route of ROUTES) {
    using before = await TextEncoder.load(model, { route });
    using after = await TextEncoder.load(join(whole, 'model'), { route });
    assert.notDeepEqual(await rowsOf(after, texts, route), await rowsOf(before, texts, route));
  }
  await assert.rejects(
    train({ ...run, output: join(folder, 'lora'), steps: 1, lora: { rank: 2 } }),
    (error) => {
      assert.equal((error as GradCacheError).code, 'INPUT');
      assert.match((error as Error).message, /lora .*Router/);
      return true;
    },
  );
  const heldOut = await writeRows(
    join(folder, 'sts.jsonl'),
    pairs(3).map(({ anchor, positive }, score) => ({ sentence1: anchor, sentence2: positive, score })),
  );
  const output = join(folder, 'sts');
  await assert.rejects(
    train({ ...run, output, steps: 1, evaluation: { sets: { sts: { task: 'sts', data: heldOut } } } }),
    { code: 'INPUT', message: /evaluation\.sets\.sts\.task is "sts", .* Router .*"retrieval"/ },
  );
  const events = await eventsOf(output);
  assert.ok(
    events.every(({ type }) => type !== 'step'),
    'before anything is trained',
  );
});
