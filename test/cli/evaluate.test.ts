import assert from 'node:assert/strict';
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { pairs, root, saveTinyModel, temporaryFolder, TINY_CONFIG, writeRows } from '../training/support.js';
import { evaluateCommand } from '../../lib/cli/evaluate.js';
import { CrossEncoder } from '../../lib/encoders/cross-encoder.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { evaluateReranking } from '../../lib/evaluation/reranking.js';
import { readReranking } from '../../lib/evaluation/reranking-data.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import type { EncodesTokens } from '../../lib/evaluation/encode-texts.js';
import { evaluateRetrieval } from '../../lib/evaluation/retrieval.js';
import { spearman } from '../../lib/evaluation/correlation.js';
import { evaluateSts } from '../../lib/evaluation/sts.js';
import { readRetrievalPairs, readSts } from '../../lib/evaluation/tasks.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { SIMILARITIES } from '../../lib/options/similarity.js';
import { gradcache, runCommand } from './program.js';

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');

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

/** The scores that `gradcache evaluate` prints, and what it says. */
async function evaluate(...args: string[]): Promise<{ said: string; scores: Record<string, number> }> {
  const { said, printed } = await runCommand(evaluateCommand, [...args, '--device', 'cpu', '--json']);
  return { said, scores: JSON.parse(printed.join('')) as Record<string, number> };
}

test('the similarity is the one that the model names, unless a flag names another', async (t) => {
  const folder = await temporaryFolder(t);
  const encoder = TextEncoder.create(TINY_CONFIG, await Tokenizer.fromFile(TOKENIZER), {
    seed: 3,
    normalize: false,
  });
  const data = await writeRows(join(folder, 'pairs.jsonl'), pairs());
  const sts = await writeRows(
    join(folder, 'sts.jsonl'),
    pairs().map(({ anchor, positive }, row) => ({ sentence1: anchor, sentence2: positive, score: row % 7 })),
  );
  const seen = new Set<string>();
  for (const named of SIMILARITIES) {
    encoder.setSimilarity(named);
    const model = join(folder, named);
    await encoder.save(model);
    const retrieval = flattenScores(
      await evaluateRetrieval(encoder, await readRetrievalPairs(data), { similarity: named }),
    );
    const similarity = flattenScores(await evaluateSts(encoder, await readSts(sts), { similarity: named }));
    for (const [task, file, expected] of [
      ['retrieval', data, retrieval],
      ['sts', sts, similarity],
    ] as const) {
      for (const flags of [
        ['--model', model],
        ['--model', join(folder, 'cosine'), '--similarity', named],
      ]) {
        const { scores } = await evaluate(...flags, '--task', task, '--data', file);
        for (const [name, value] of Object.entries(expected))
          assert.ok(Math.abs(scores[name]! - value) < 1e-9, `${named}: ${name}`);
      }
      seen.add(JSON.stringify(expected));
    }
  }
  assert.equal(seen.size, 8, 'each similarity has scores of its own');
  encoder.dispose();
  const other = join(folder, 'dot', 'config_sentence_transformers.json');
  await writeFile(other, (await readFile(other, 'utf8')).replace('"dot"', '"maxsim"'));
  await assert.rejects(evaluate('--model', join(folder, 'dot'), '--data', data), {
    code: 'INPUT',
    message: /"maxsim", which is not supported\. .*--similarity/,
  });
  await assert.rejects(evaluate('--model', other, '--data', data, '--similarity', 'cos'), {
    code: 'INPUT',
    message: /--similarity is cos; cosine or dot or euclidean or manhattan or maxsim or meanmaxsim is needed/,
  });
});

test('representations are compared at the dimensions asked for, in every task', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const encoder = await TextEncoder.load(model);
  await encoder.save(join(folder, 'cut'), { dimensions: 3 });
  encoder.dispose();
  const data = await writeRows(
    join(folder, 'rows.jsonl'),
    pairs().map((row, place) => ({ ...row, score: place % 7, label: `class ${place % 3}` })),
  );
  for (const task of [
    ['--task', 'retrieval'],
    ['--task', 'sts', '--columns', 'anchor,positive,score'],
    ['--task', 'clustering', '--columns', 'anchor,label'],
  ]) {
    const of = async (...flags: string[]) => (await evaluate(...flags, ...task, '--data', data)).scores;
    const asked = await of('--model', model, '--dimensions', '3');
    assert.deepEqual(asked, await of('--model', join(folder, 'cut')), task[1]);
    assert.notDeepEqual(asked, await of('--model', model), task[1]);
  }
  await assert.rejects(evaluate('--model', model, '--dimensions', '17', '--data', data), {
    code: 'INPUT',
    message: /--dimensions is 17, and the model's representations have 16/,
  });
  const short = { encode: () => Promise.resolve(Tensor.from([1, 2, 3], { shape: [1, 3] })) };
  const task = { queries: ['a'], documents: ['a'], relevant: [new Map([[0, 1]])] };
  await assert.rejects(evaluateRetrieval(short, task, { dimensions: 2 }), {
    code: 'SHAPE',
    message: /shape \[1,3\] for 1 texts, expected \[1, 2\]/,
  });
});

test('what is left out or missing is counted and said', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const files = {
    queries: await writeRows(join(folder, 'queries.jsonl'), [
      { _id: 'q', text: 'the old dog' },
      { _id: 'other', text: 'nobody judged it' },
    ]),
    corpus: await writeRows(join(folder, 'corpus.jsonl'), [
      { _id: 1, text: 'the old dog' },
      { _id: 2, text: '', title: '' },
    ]),
    judgements: join(folder, 'test.tsv'),
  };
  await writeFile(files.judgements, 'query-id\tcorpus-id\tscore\nq\t1\t1\nq\tgone\t1\nunknown\t1\t1\n');
  const flags = Object.entries(files).flatMap(([name, path]) => [`--${name}`, path]);
  const { said, scores } = await evaluate('--model', model, ...flags);
  for (const line of [
    '1 document without a text: encoded as the empty text',
    '1 relevant document that the corpus lacks: counted as not found',
    '1 query without a document judged above 0: left out',
    '1 judged query that --queries lacks: left out',
  ])
    assert.ok(said.includes(`${line}\n`), `${line} in ${said}`);
  const { queries, documents, emptyDocuments, missingDocuments, unjudgedQueries, unknownQueries } = scores;
  assert.deepEqual([queries, documents], [1, 2]);
  assert.deepEqual([emptyDocuments, missingDocuments, unjudgedQueries, unknownQueries], [1, 1, 1, 1]);
  assert.equal(scores['recall@1'], 0.5);

  const sts = join(folder, 'sts.tsv');
  await writeFile(
    sts,
    '5\tthe old dog\tthe old dog\n\ta ship\tthe sea\n1\ta ship\tred bread\n3\tdog\tship\n',
  );
  const args = ['--task', 'sts', '--data', sts, '--fields', 'score,sentence1,sentence2'];
  const measured = await evaluate('--model', model, ...args);
  assert.deepEqual([measured.scores.pairs, measured.scores.unscored], [3, 1]);
  assert.match(measured.said, /left out: 1 row without a score\n/);
  // A file of another name, in a format that is said.
  const plain = join(folder, 'sts.txt');
  await copyFile(sts, plain);
  assert.deepEqual(
    (await evaluate('--model', model, ...args.with(3, plain), '--format', 'tsv')).scores,
    measured.scores,
  );
});

test('a flag that would do nothing is refused', async () => {
  const beir = ['--queries', 'q', '--corpus', 'c', '--judgements', 'j'];
  for (const [message, ...args] of [
    [/--no-header is for files of pairs, not for the layout of BEIR/, ...beir, '--no-header'],
    [/--columns is for files of pairs/, ...beir, '--columns', 'a,b'],
    [/--data is for files of pairs/, ...beir, '--data', 'd'],
    [/--documents is for files of pairs/, ...beir, '--documents', 'd'],
    [/--queries is for retrieval, not for --task sts/, '--task', 'sts', ...beir],
    [/--recall-at is for retrieval/, '--task', 'sts', '--data', 'd', '--recall-at', '3'],
    [/--document-column is the column of --documents/, '--data', 'd.jsonl', '--document-column', 'a'],
    [/--fields is for CSV and TSV files; d.jsonl is jsonl/, '--data', 'd.jsonl', '--fields', 'a,b'],
    [
      /--quoting is for CSV and TSV files; d is parquet/,
      '--data',
      'd',
      '--format',
      'parquet',
      '--quoting',
      'csv',
    ],
    [/the format cannot be told from the name; .*--format/, '--data', 'd.dat'],
  ] as const) {
    await assert.rejects(evaluate('--model', 'm', ...args), { code: 'INPUT', message });
  }
});

test('reranking by a cross-encoder, and the flags that are for other tasks', async (t) => {
  const folder = await temporaryFolder(t);
  const text = await saveTinyModel(join(folder, 'text'));
  using model = await CrossEncoder.load(text, { newHead: { seed: 5 } });
  await model.save(join(folder, 'model'));
  const queries = pairs(6).map((row, place, all) => ({
    query: row['anchor'],
    positive: row['positive'],
    documents: [all[(place + 1) % 6]!['positive'], row['positive']],
  }));
  const data = await writeRows(join(folder, 'queries.jsonl'), queries);
  const expected = await evaluateReranking(model, await readReranking(data), { at: 3 });
  const args = ['--model', join(folder, 'model'), '--task', 'reranking', '--data', data];
  const { scores } = await evaluate(...args, '--at', '3');
  for (const [name, value] of Object.entries({ queries: 6, documents: 12, ...flattenScores(expected) }))
    assert.ok(Math.abs(scores[name]! - value) < 1e-6, `${name}: ${scores[name]}, ${value}`);
  const refused = (message: RegExp, ...more: string[]) =>
    assert.rejects(evaluate(...args, ...more), { message });
  await refused(/--recall-at is not for --task reranking/, '--recall-at', '3');
  await refused(/--columns is not for --task reranking/, '--columns', 'a,b');
  await refused(/--dimensions is for a text encoder, not for a cross-encoder/, '--dimensions', '3');
  await refused(/--document-prompt is for a text encoder/, '--document-prompt', '');
  await assert.rejects(evaluate('--model', text, '--data', data, '--at', '3'), {
    message: /--at is for --task reranking/,
  });
  // A text encoder ranks them by its similarity.
  using encoder = await TextEncoder.load(text);
  const byText = await evaluateReranking(encoder, await readReranking(data), { similarity: 'dot' });
  const found = await evaluate(...args.with(1, text), '--similarity', 'dot');
  for (const [name, value] of Object.entries(flattenScores(byText)))
    assert.ok(Math.abs(found.scores[name]! - value) < 1e-6, name);
});

test('long texts in windows: of a cross-encoder, and token by token', async (t) => {
  const folder = await temporaryFolder(t);
  const tokenizer = await Tokenizer.fromFile(TOKENIZER);
  const rows = pairs(8);
  const long = (place: number) => [1, 2, 3, 4, 5, 0].map((k) => rows[(place + k) % 8]!.positive).join(' ');
  const queries = rows.map(({ anchor }, place) => ({
    ...{ query: anchor, positive: [long(place)] },
    documents: [long((place + 3) % 8), long(place), rows[(place + 1) % 8]!.positive],
  }));
  const ranked = await writeRows(join(folder, 'queries.jsonl'), queries);
  using model = CrossEncoder.create(TINY_CONFIG, tokenizer, { maxLength: 16, seed: 5 });
  await model.save(join(folder, 'cross'));
  const reranking = ['--model', join(folder, 'cross'), '--task', 'reranking', '--data', ranked];
  const inWindows = {
    predict: (texts: [string, string][]) => model.predict(texts, { windows: { overlap: 1 } }),
  };
  const task = await readReranking(ranked);
  const expected = flattenScores(await evaluateReranking(inWindows, task));
  const { scores } = await evaluate(...reranking, '--windows', '--window-overlap', '1');
  for (const [name, value] of Object.entries(expected))
    assert.ok(Math.abs(scores[name]! - value) < 1e-6, `${name}: ${scores[name]}, ${value}`);
  const cut = flattenScores(await evaluateReranking(model, task));
  assert.notDeepEqual(cut, expected, 'windows make a difference here');

  // Queries are expanded to one length, which windows leave as it is.
  const queryExpansion = { strategy: 'fixed', length: 10, token: '[PAD]' } as const;
  using tokens = TextEncoder.create(TINY_CONFIG, tokenizer, {
    ...{ pooling: 'none', maxLength: 12, seed: 4, lateInteraction: { queryExpansion } },
  });
  await tokens.save(join(folder, 'tokens'));
  const data = await writeRows(
    join(folder, 'pairs.jsonl'),
    rows.map(({ anchor }, place) => ({ anchor, positive: long(place) })),
  );
  const retrieval = ['--model', join(folder, 'tokens'), '--data', data, '--recall-at', '1,2'];
  const byTokens: EncodesTokens = {
    perToken: true,
    encodeTokens: (texts, options) =>
      tokens.encodeTokens(texts, { ...options, windows: options?.task === 'document' }),
  };
  const best = flattenScores(
    await evaluateRetrieval(byTokens, await readRetrievalPairs(data), { recallAt: [1, 2] }),
  );
  const found = await evaluate(...retrieval, '--windows');
  for (const [name, value] of Object.entries(best)) assert.equal(found.scores[name], value, name);
  const text = await saveTinyModel(join(folder, 'text'));
  await assert.rejects(evaluate(...retrieval.with(1, text), '--windows'), {
    message: /^--windows is for sparse models/,
  });
  await assert.rejects(evaluate('--model', 'm', '--data', 'd.jsonl', '--images', 'a', '--windows'), {
    message: /^--windows is for retrieval of texts/,
  });
});

test('sentence pairs by a cross-encoder, and translations', async (t) => {
  const folder = await temporaryFolder(t);
  const text = await saveTinyModel(join(folder, 'text'));
  using model = await CrossEncoder.load(text, { newHead: { seed: 5 } });
  await model.save(join(folder, 'model'));
  const rows = pairs(8).map(({ anchor, positive }, place) => ({
    sentence1: anchor,
    sentence2: positive,
    score: place,
    label: place % 2,
  }));
  const data = await writeRows(join(folder, 'rows.jsonl'), rows);
  const args = ['--model', join(folder, 'model'), '--data', data];
  const sts = await evaluate(...args, '--task', 'sts');
  const predicted = await model.predict(rows.map(({ sentence1, sentence2 }) => [sentence1, sentence2]));
  const expected = spearman(
    Array.from(predicted),
    rows.map(({ score }) => score),
  );
  assert.ok(Math.abs(sts.scores.spearman! - expected) < 1e-6);
  assert.equal((await evaluate(...args, '--task', 'binary')).scores.pairs, 8);
  await assert.rejects(evaluate(...args, '--task', 'sts', '--similarity', 'dot'), {
    message: /--similarity is for a text encoder, not for a cross-encoder/,
  });
  const columns = ['--columns', 'sentence1,sentence2'];
  const { scores } = await evaluate('--model', text, '--data', data, '--task', 'translation', ...columns);
  assert.equal(scores.mean_accuracy, (scores.src2trg_accuracy! + scores.trg2src_accuracy!) / 2);
});
