import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TrainConfig } from '../../lib/training/config.js';
import { pairs, record, root, shortRun, TINY_CONFIG, writeRows } from './support.js';

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');

/** Runs a training, and checks that its folder has what the last evaluation told. */
async function hardestOf(config: TrainConfig) {
  const { events } = await record(config);
  const evaluations = events.filter((event) => event.type === 'evaluation');
  const { step, hardest } = evaluations.at(-1)!;
  const stored: unknown = JSON.parse(await readFile(join(config.output, 'hardest.json'), 'utf8'));
  assert.deepEqual(stored, { step, ...hardest });
  assert.doesNotMatch(await readFile(join(config.output, 'metrics.jsonl'), 'utf8'), /hardest/);
  return hardest!;
}

test('a run keeps the queries that its model found hardest, with what was found instead', async (t) => {
  const { folder, config } = await shortRun(t);
  // Each is to be answered with what answers the next: words in common lead astray.
  const held = pairs(40).map(({ anchor }, row, all) => ({
    anchor,
    positive: all[(row + 1) % 40]!.positive,
  }));
  const data = await writeRows(join(folder, 'held.jsonl'), held);
  const evaluation = { task: 'retrieval', data, every: 1 } as const;
  const hardest = await hardestOf({ ...config, steps: 2, evaluation });
  assert.ok(hardest.kind === 'queries');
  assert.equal(hardest.measured, 40);
  assert.ok(hardest.missed > 30, String(hardest.missed));
  assert.equal(hardest.hardest.length, 20);
  const answers = new Map(held.map(({ anchor, positive }) => [anchor, positive]));
  for (const { query, right, wrong } of hardest.hardest) {
    assert.equal(right.text, answers.get(query));
    assert.equal(wrong.length, 3);
    assert.ok(wrong.every(({ text }) => text !== right.text));
  }
});

test('a run keeps the pairs that its model compares otherwise than people, and a cross-encoder its candidates', async (t) => {
  const { folder, config } = await shortRun(t);
  const scored = pairs(12).map(({ anchor, positive }, row) => ({
    sentence1: anchor,
    sentence2: positive,
    score: row,
  }));
  const data = await writeRows(join(folder, 'sts.jsonl'), scored);
  const sts = await hardestOf({ ...config, steps: 1, evaluation: { task: 'sts', data } });
  assert.ok(sts.kind === 'pairs');
  assert.deepEqual([sts.measured, sts.hardest.length], [12, 12]);

  const candidates = pairs(8).map(({ anchor, positive }, row, all) => ({
    query: anchor,
    positive,
    negative: [all[(row + 1) % 8]!.positive],
  }));
  const reranking = await hardestOf({
    ...config,
    output: join(folder, 'cross-encoder'),
    model: { config: TINY_CONFIG, tokenizer: TOKENIZER },
    loss: { kind: 'cross-encoder-ranking' },
    newHead: 1,
    steps: 1,
    evaluation: {
      task: 'reranking',
      data: await writeRows(join(folder, 'candidates.jsonl'), candidates),
    },
  });
  assert.ok(reranking.kind === 'queries');
  assert.equal(reranking.measured, 8);
});
