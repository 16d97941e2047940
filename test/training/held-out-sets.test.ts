/** Several sets of held-out data in one run. */
import assert from 'node:assert/strict';
import { readFile, realpath, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import {
  evaluateClustering,
  evaluateReranking,
  evaluateRetrieval,
  evaluateSts,
  evaluateTranslation,
  readClustering,
  readReranking,
  readRetrievalFolder,
  readRetrievalPairs,
  readSts,
  readTranslation,
  TextEncoder,
  train,
  type EvaluationConfig,
  type TrainConfig,
  type TrainEvent,
} from '../../lib/index.js';
import { OBJECT } from '../../lib/training/objects.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { trainCommand } from '../../lib/cli/train.js';
import { resumeConfig } from '../../lib/training/resume-pairs.js';
import type { Resumed } from '../../lib/training/resume.js';
import { gradcache, runCommand } from '../cli/program.js';
import { blocks } from '../package/pages.js';
import { pairs, saveTinyModel, temporaryFolder, TINY_CONFIG, writeRows } from './support.js';

const NO_FILES = {
  data: undefined,
  documents: undefined,
  queries: undefined,
  corpus: undefined,
  judgements: undefined,
};

/** A run of one update, and a file for each task of held-out data. */
async function prepare(t: TestContext) {
  const folder = await temporaryFolder(t);
  const texts = pairs(12);
  const write = (name: string, rows: readonly object[]) => writeRows(join(folder, name), rows);
  const judgements = join(folder, 'qrels.tsv');
  await writeFile(
    judgements,
    `query-id\tcorpus-id\tscore\n${texts.map((_, place) => `q${place}\td${place}\t${1 + (place % 2)}\n`).join('')}`,
  );
  const scored = texts.map(({ anchor, positive }, place) => ({
    sentence1: anchor,
    sentence2: positive,
    score: place / 12,
    label: place % 2,
  }));
  const config: TrainConfig = {
    model: await saveTinyModel(join(folder, 'start')),
    data: await write('pairs.jsonl', texts),
    columns: ['anchor', 'positive'],
    output: join(folder, 'run'),
    batch: 4,
    steps: 2,
    checkpoint: false,
    device: 'cpu',
  };
  const sets = {
    judged: {
      queries: await write(
        'queries.jsonl',
        texts.map(({ anchor }, place) => ({ _id: `q${place}`, text: anchor })),
      ),
      corpus: await write(
        'corpus.jsonl',
        texts.map(({ positive }, place) => ({ _id: `d${place}`, text: positive })),
      ),
      judgements,
      measures: ['map@5'],
    },
    near: { task: 'sts', data: await write('sts.jsonl', scored), dimensions: [4], similarity: 'euclidean' },
    alike: { task: 'binary', data: join(folder, 'sts.jsonl') },
    groups: {
      task: 'clustering',
      data: await write(
        'groups.jsonl',
        texts.map(({ anchor }, place) => ({ text: anchor, label: `c${place % 3}` })),
      ),
    },
    among: {
      data: config.data as string,
      documents: await write(
        'further.jsonl',
        texts.map(({ anchor }) => ({ positive: anchor })),
      ),
    },
    languages: { task: 'translation', data: config.data as string, columns: ['anchor', 'positive'] },
    candidates: {
      task: 'reranking',
      at: 2,
      data: await write(
        'candidates.jsonl',
        texts.map(({ anchor, positive }, place) => ({
          query: anchor,
          positive,
          negative: [texts[(place + 1) % 12]!.positive, texts[(place + 5) % 12]!.positive],
        })),
      ),
    },
  } satisfies EvaluationConfig['sets'];
  return { folder, config, sets };
}

test('sets of every task are measured in one run, by the figures of the finished model', async (t) => {
  const { config, sets } = await prepare(t);
  const events: TrainEvent[] = [];
  const evaluation = {
    task: 'retrieval',
    data: config.data as string,
    loss: true,
    sets,
    before: true,
    best: 'judged.map@5',
  } as const;
  const { model, scores, before, best } = await train(
    { ...config, evaluation },
    { onEvent: (event) => events.push(event) },
  );
  assert.equal(best?.step, 2);
  assert.deepEqual(Object.keys(before!), Object.keys(scores!));
  const encoder = await TextEncoder.load(model, { device: 'cpu' });
  t.after(() => encoder.dispose());
  const none = { prompts: { query: '', document: '' } };
  const { measures: _, ...files } = sets.judged;
  const judged = await evaluateRetrieval(encoder, await readRetrievalFolder(files), {
    ...none,
    measures: ['map@5'],
  });
  const further = pairs(12).map(({ anchor }) => anchor);
  const pairsAmong = await readRetrievalPairs(sets.among.data, { documents: further });
  assert.equal(pairsAmong.documents.length, 24);
  const among = await evaluateRetrieval(encoder, pairsAmong, none);
  const groups = await evaluateClustering(encoder, await readClustering(sets.groups.data), { prompt: '' });
  const languages = await evaluateTranslation(
    encoder,
    await readTranslation(sets.languages.data, { columns: ['anchor', 'positive'] }),
    { prompt: '' },
  );
  const near = await evaluateSts(encoder, await readSts(sets.near.data), {
    prompt: '',
    similarity: 'euclidean',
  });
  const candidates = await evaluateReranking(encoder, await readReranking(sets.candidates.data), {
    ...none,
    at: 2,
  });
  const expected: Record<string, number> = {
    'judged.map@5': judged.measures!['map@5']!,
    'judged.ndcg@10': judged.ndcg10,
    'judged.recall@1': judged.recall[1]!,
    'among.ndcg@10': among.ndcg10,
    'groups.accuracy': groups.accuracy,
    'groups.nmi': groups.nmi,
    'languages.mean_accuracy': languages.accuracy,
    'near.spearman': near.spearman,
    'candidates.map': candidates.map,
    'candidates.ndcg@2': candidates.ndcg,
  };
  for (const [name, value] of Object.entries(expected)) assert.equal(scores![name], value, name);
  for (const name of ['loss', 'ndcg@10', 'near.spearman/4', 'alike.ap'])
    assert.equal(typeof scores![name], 'number', name);
  // Anchors are nearest to themselves: documents beyond those of the pairs cost places.
  assert.ok(scores!['among.ndcg@10']! < scores!['ndcg@10']!);
  // What was hardest is told of the first set that tells: the one without a name.
  const measured = events.filter((event) => event.type === 'evaluation');
  assert.deepEqual(
    measured.map(({ hardest }) => [hardest?.kind, hardest?.set]),
    [
      ['queries', undefined],
      ['queries', undefined],
    ],
  );
});

test('sets alone, beside measures of the program; hardest.json names the set', async (t) => {
  const { folder, config, sets } = await prepare(t);
  const { near, groups } = sets;
  const evaluation = { sets: { groups, near }, evaluators: { mine: () => 3 }, best: 'mine' };
  const { scores } = await train({ ...config, evaluation });
  assert.deepEqual(Object.keys(scores!), [
    'groups.accuracy',
    'groups.nmi',
    'near.spearman',
    'near.pearson',
    'near.spearman/4',
    'near.pearson/4',
    'mine',
  ]);
  const hardest = JSON.parse(await readFile(join(config.output, 'hardest.json'), 'utf8')) as { set?: string };
  assert.equal(hardest.set, 'near');
  const tokens = { sets: { judged: { ...sets.judged, similarity: 'maxsim' } } } as const;
  await assert.rejects(train({ ...config, output: join(folder, 'tokens'), evaluation: tokens }), {
    code: 'INPUT',
    message: /evaluation\.sets\.judged\.similarity is "maxsim"; "cosine" or/,
  });
  const clash = { sets: { near }, evaluators: { 'near.pearson': () => 1 } };
  await assert.rejects(train({ ...config, output: join(folder, 'clash'), evaluation: clash }), {
    code: 'INPUT',
    message: /evaluators\.near\.pearson gives the score "near\.pearson", which held-out data has/,
  });
});

test('a cross-encoder is measured on candidates, scores and labels, and for its loss', async (t) => {
  const { folder, config, sets } = await prepare(t);
  const rows = pairs(12).map((row, place) => ({ ...row, label: place % 2 }));
  const data = await writeRows(join(folder, 'labelled.jsonl'), rows);
  const { candidates, near, alike } = sets;
  const { scores } = await train({
    ...config,
    data,
    loss: { kind: 'binary-cross-entropy' },
    newHead: 1,
    label: 'label',
    evaluation: {
      sets: { candidates, near: { task: 'sts', data: near.data }, alike, held: { loss: true, data } },
      best: 'held.loss',
    },
  });
  for (const name of ['candidates.mrr@2', 'near.spearman', 'alike.ap', 'held.loss'])
    assert.ok(Number.isFinite(scores![name]), name);
  const labels = { ...config, data, output: join(folder, 'labels'), newHead: 2, label: 'label' };
  await assert.rejects(
    train({ ...labels, loss: { kind: 'cross-entropy' }, evaluation: { sets: { alike } } }),
    { code: 'INPUT', message: /sets\.alike\.task is "binary", by one score of a pair, and the model has 2/ },
  );
});

test('held-out data that cannot be measured is refused before the first update', async (t) => {
  const { folder, config, sets } = await prepare(t);
  const [first] = pairs(12).map(({ anchor, positive }) => ({ sentence1: anchor, sentence2: positive }));
  const alone = await writeRows(join(folder, 'alone.jsonl'), [{ ...first, score: 1, label: 1 }]);
  const refused = async (evaluation: EvaluationConfig, message: RegExp, more: Partial<TrainConfig> = {}) => {
    const told: string[] = [];
    const run = { ...config, ...more, evaluation, output: join(folder, 'refused') };
    const ended = train(run, { onEvent: ({ type }) => void told.push(type) });
    await assert.rejects(ended, { code: 'INPUT', message });
    assert.ok(!told.includes('step'), String(message));
  };
  await refused({ task: 'sts', data: alone }, /alone\.jsonl: There are 1 and 1 sentences .*at least 2/);
  await refused({ sets: { a: { task: 'binary', data: alone } } }, /alone\.jsonl: All 1 labels are alike/);
  const { among } = sets;
  await refused(
    { sets: { among: { ...among, documentColumn: 'text' } } },
    /further\.jsonl.*"text".*evaluation\.sets\.among\.documentColumn, --eval-set among\.documentColumn=NAME/s,
  );
  const tokens = { pooling: 'none', loss: { kind: 'multi-vector-multiple-negatives-ranking' } } as const;
  const { judged } = sets;
  await refused({ ...judged, dimensions: [4] }, /evaluation\.dimensions is .*those of tokens/, tokens);
  const model = { config: TINY_CONFIG, tokenizer: join(folder, 'start', 'tokenizer.json') };
  const sparse = { model: { ...model, pooling: 'splade' }, loss: { kind: 'splade' } } as const;
  await refused({ ...judged, dimensions: [4] }, /evaluation\.dimensions is .*sparse ones/, sparse);
});

test("the README's command measures its sets, and shows all in the closing table", async (t) => {
  const { folder, config, sets } = await prepare(t);
  await rename(config.model as string, join(folder, 'all-MiniLM-L6-v2'));
  const rows = (await readFile(sets.near.data, 'utf8')).trim().split('\n');
  const fields = rows.map((row) => {
    const { sentence1, sentence2, score } = JSON.parse(row) as Record<string, string>;
    return `${sentence1},${sentence2},${score}\n`;
  });
  await writeFile(join(folder, 'sts.csv'), `sentence1,sentence2,score\n${fields.join('')}`);
  const block = blocks('README.md', 'sh').find((each) => each.includes('--eval-set'))!;
  const [, command] = /npx gradcache (train .*)/.exec(block.replaceAll('\\\n', ' '))!;
  const flags = [...command!.replace('4096', '4').trim().split(/\s+/), '--device', 'cpu', '--no-checkpoint'];
  const { code, stdout, stderr } = await gradcache(flags, { cwd: folder });
  assert.equal(code, 0, stderr);
  for (const name of ['faq.recall@100', 'faq.map@100', 'sts.spearman', 'sts.pearson'])
    assert.match(stdout, new RegExp(`^${name} +-?\\d\\.\\d{4} +-?\\d\\.\\d{4} +-?\\d\\.\\d{4}$`, 'm'));
  assert.match(stderr, /^step 0: sts\.spearman -?\d\.\d{4}, sts\.pearson/m);
  // Another folder finds them too: their paths are whole.
  const stored = JSON.parse(await readFile(join(folder, 'runs', 'a', 'settings.json'), 'utf8')) as {
    evaluation: EvaluationConfig;
  };
  assert.equal(stored.evaluation.sets?.sts?.data, await realpath(join(folder, 'sts.csv')));
  // A mistake is told by the flag.
  const wrong: [string, RegExp][] = [
    ['far.task=sts', /--eval-set far\.data=… is missing/],
    ['sts.format=cvs', /--eval-set sts\.format=… is "cvs"; "jsonl" or/],
    ['a b.data=x', /--eval-set is "a b"; a name of letters/],
  ];
  for (const [more, message] of wrong)
    await assert.rejects(runCommand(trainCommand, [...flags.slice(1), '--eval-set', more]), {
      code: 'INPUT',
      message,
    });
});

test('settings that would do nothing, and sets that are none, are refused', () => {
  const run = { model: 'm', data: 'd', output: 'o', batch: 2 };
  const wrong: [object, RegExp][] = [
    [{}, /evaluation\.data is missing/],
    [{ sets: {} }, /evaluation\.sets is .*an object of sets, by name, is needed/],
    [{ sets: { 'a.b': { data: 'h' } } }, /evaluation\.sets is "a\.b"; a name of letters/],
    [{ sets: { a: null } }, /evaluation\.sets\.a is missing/],
    [
      { sets: { a: { data: 'h', tsk: 'sts' } } },
      /evaluation\.sets\.a\.tsk is not a setting; did you mean task/,
    ],
    [{ sets: { a: { data: 'h', every: 2 } } }, /evaluation\.sets\.a\.every is not a setting/],
    [{ sets: { a: { data: 'h' } }, task: 'sts' }, /evaluation\.task is of held-out data, and no file of it/],
    [{ queries: 'q', corpus: 'c' }, /evaluation\.judgements is missing: queries, corpus and judgements/],
    [{ data: 'h', queries: 'q', corpus: 'c', judgements: 'j' }, /evaluation\.data is "h"; none/],
    [{ task: 'sts', queries: 'q', corpus: 'c', judgements: 'j' }, /evaluation\.task is "sts"; none/],
    [{ documents: 'd' }, /evaluation\.data is missing/],
    [{ task: 'sts', data: 'h', documents: 'd' }, /evaluation\.documents is for retrieval, not for sts/],
    [{ loss: true, data: 'h', documents: 'd' }, /documents is for retrieval, not for the loss alone/],
    [{ data: 'h', documentColumn: 'text' }, /documentColumn is the column of documents, which are not given/],
    [
      { data: OBJECT, documents: 'd' },
      /evaluation\.documents is of held-out data, and no file of it is named/,
    ],
    [{ data: OBJECT, judgements: 'j' }, /evaluation\.judgements is of held-out data, and no file/],
    [
      { documents: 'd', queries: 'q', corpus: 'c', judgements: 'j' },
      /evaluation\.documents is "d"; none, as the corpus has all documents/,
    ],
    [{ loss: true, queries: 'q', corpus: 'c', judgements: 'j' }, /evaluation\.loss is true; none/],
    [
      { columns: ['a', 'b'], queries: 'q', corpus: 'c', judgements: 'j' },
      /evaluation\.columns is for files with/,
    ],
    [{ task: 'reranking', data: 'h', format: 'csv' }, /evaluation\.format is for files with columns/],
    [{ task: 'reranking', data: 'h', loss: true, columns: ['a', 'b'] }, /evaluation\.columns is for files/],
    [{ task: 'clustering', data: 'h', columns: ['a'] }, /2 columns for clustering/],
    [{ task: 'sts', data: 'h', similarity: 'maxsim' }, /similarity is "maxsim"; "cosine" or "dot"/],
    [{ loss: true, data: 'h', dimensions: [4] }, /dimensions is for a task, and the loss is measured alone/],
    [{ task: 'sts', data: 'h', at: 3 }, /at is for reranking/],
    [{ task: 'clustering', data: 'h', similarity: 'dot' }, /similarity is for texts that are compared/],
    [{ task: 'sts', data: 'h', measures: ['map@5'] }, /measures is .*none, which are of retrieval/],
  ];
  for (const [evaluation, message] of wrong)
    assert.throws(() => readTrainConfig({ ...run, evaluation }), { code: 'INPUT', message });
  const pairs = { ...run, loss: { kind: 'cross-entropy' } };
  for (const [evaluation, message] of [
    [{ task: 'retrieval', data: 'h' }, /evaluation\.task is "retrieval"; "reranking" or "sts" or "binary"/],
    [{ task: 'sts', loss: true, data: 'h' }, /task is "sts"; none, as the loss of a cross-encoder/],
    [{ data: 'h', dimensions: [4] }, /dimensions is for representations/],
  ] as const)
    assert.throws(() => readTrainConfig({ ...pairs, evaluation }), { code: 'INPUT', message });
  // A resumed run is given judgements for rows, and rows for judgements.
  const [ofRows, judged] = [{ data: '/h' }, { queries: '/q', corpus: '/c', judgements: '/j' }];
  for (const [before, after] of [
    [{ ...ofRows, columns: ['a', 'b'], documents: '/d', documentColumn: 'c' }, judged],
    [judged, ofRows],
  ] as const) {
    const stored = { ...run, columns: ['x', 'y'], evaluation: { ...before, every: 5 } };
    const { config } = resumeConfig({ output: 'o', evaluation: after }, {
      folder: 'f',
      checkpoint: { state: { config: stored } },
    } as unknown as Resumed);
    const { data, documents, queries, corpus, judgements, every } = config.evaluation!;
    assert.deepEqual(
      { data, documents, queries, corpus, judgements, every },
      { ...NO_FILES, ...after, every: 5 },
    );
  }
  // Another task leaves what is not of the task, and measures of the program leave held-out data.
  const held = { task: 'retrieval', data: '/h', sets: { a: { data: '/p' } }, measures: ['map@5'] };
  const times = { every: 5, before: true, best: 'a.ndcg@10', patience: 2 };
  for (const evaluation of [{ task: 'sts', data: '/s' }, { data: OBJECT }]) {
    const stored = { ...run, columns: ['x', 'y'], evaluation: { ...held, ...times } };
    const { config } = resumeConfig({ output: 'o', evaluation }, {
      folder: 'f',
      checkpoint: { state: { config: stored } },
    } as unknown as Resumed);
    const { sets, every, before, best, patience, task, measures } = config.evaluation!;
    assert.deepEqual({ every, before, best, patience }, times);
    assert.equal(sets?.a?.data, '/p');
    const isOther = evaluation.task !== undefined;
    assert.deepEqual([task, measures], isOther ? ['sts', undefined] : ['retrieval', ['map@5']]);
  }
  // What was read is read as the same again.
  const evaluation = { sets: { a: { task: 'sts', data: 'h' }, b: { data: 'p' } }, best: 'a.spearman' };
  const read = readTrainConfig({ ...run, evaluation });
  assert.deepEqual(readTrainConfig(read), read);
});
