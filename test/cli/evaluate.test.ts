import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';
import { gradcache } from './program.js';

test('retrieval from pairs, with further documents, as text and as JSON', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs(12));
  const documents = await writeRows(join(folder, 'more.jsonl'), [
    { text: 'something else' },
    { text: 'and more' },
  ]);
  const args = ['evaluate', '--model', model, '--device', 'cpu', '--data', data];
  const text = await gradcache(args);
  assert.equal(text.code, 0, text.stderr);
  assert.match(text.stdout, /^queries {5}12\ndocuments {3}12\nrecall@1 {4}\d\.\d{4}\nrecall@5/);
  const further = ['--documents', documents, '--document-column', 'text', '--recall-at', '1,14', '--json'];
  const json = JSON.parse((await gradcache([...args, ...further])).stdout) as Record<string, unknown>;
  assert.deepEqual(Object.keys(json), [
    'task',
    'queries',
    'documents',
    'recall@1',
    'recall@14',
    'mrr@10',
    'ndcg@10',
  ]);
  assert.equal(json.documents, 14);
  assert.equal(json['recall@14'], 1);
});

test('retrieval in the layout of BEIR', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const queries = await writeRows(join(folder, 'queries.jsonl'), [{ _id: 'q', text: 'the old dog' }]);
  const corpus = await writeRows(join(folder, 'corpus.jsonl'), [
    { _id: 1, text: 'the old dog' },
    { _id: 2, text: 'a ship' },
  ]);
  const judgements = join(folder, 'test.tsv');
  await writeFile(judgements, 'query-id\tcorpus-id\tscore\nq\t1\t1\n');
  const files = ['--queries', queries, '--corpus', corpus, '--judgements', judgements];
  const { stdout, stderr } = await gradcache([
    'evaluate',
    '--model',
    model,
    '--device',
    'cpu',
    ...files,
    '--json',
  ]);
  const scores = JSON.parse(stdout) as Record<string, number>;
  assert.equal(scores['recall@1'], 1, stderr);
  assert.equal(scores['ndcg@10'], 1);
});

test('sentence similarity from CSV without a header', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const data = join(folder, 'sts.csv');
  await writeFile(data, 'the old dog,the old dog,5\na ship,a ship at sea,4\nred bread,the quiet winter,0\n');
  const args = ['--task', 'sts', '--data', data, '--no-header', '--columns', 'a,b,score', '--json'];
  const { stdout, stderr } = await gradcache(['evaluate', '--model', model, '--device', 'cpu', ...args]);
  const scores = JSON.parse(stdout) as Record<string, number>;
  assert.equal(scores.pairs, 3, stderr);
  assert.ok(scores.spearman! >= -1 && scores.spearman! <= 1 && scores.pearson! <= 1);
});
