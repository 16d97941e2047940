import assert from 'node:assert/strict';
import { test } from 'node:test';
import { averageRanks, pearson, spearman } from '../../lib/evaluation/correlation.js';
import { evaluateRetrieval, scoreRanking } from '../../lib/evaluation/retrieval.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import { search } from '../../lib/evaluation/search.js';
import { evaluateSts } from '../../lib/evaluation/sts.js';
import { readRetrievalFolder } from '../../lib/evaluation/beir.js';
import { readRetrievalPairs, readSts } from '../../lib/evaluation/tasks.js';
import { Tensor } from '../../lib/tensor/tensor.js';

const rows = Tensor.from([1, 0, 0, 1], { shape: [2, 2] });
const encoder = { encode: (texts: readonly string[]) => Promise.resolve(rows.narrow(0, 0, texts.length)) };
const retrieval = { queries: ['a'], documents: ['a', 'b'], relevant: [new Map([[0, 1]])] };
const sts = { first: ['a', 'b'], second: ['b', 'a'], scores: [1, 2] };
const ranking = { k: 2, documents: Int32Array.of(0, 1), scores: Float64Array.of(1, 0) };

/** What is neither a number, a text, a list, a function nor an object with the fields wanted; and some of each. */
const VALUES: readonly unknown[] = [
  null,
  0,
  -1,
  1.5,
  NaN,
  Infinity,
  '',
  'no',
  '5',
  true,
  false,
  7n,
  Symbol('s'),
  [],
  [0],
  ['x'],
  [null],
  {},
  { a: 1 },
  () => 1,
  new Map(),
  new Map([['0', '1']]),
  new Date(),
];

/** Objects that name no option. */
const EMPTY = ['Object {}', 'Date'];

/** Each option, and those of the values above that it takes, as `shown` writes them. */
const OPTIONS: readonly [string, (value: never) => unknown, readonly string[]][] = [
  ['search k', (k) => search(rows, rows, { k }), []],
  ['search similarity', (similarity) => search(rows, rows, { k: 1, similarity }), []],
  ['search tile', (tile) => search(rows, rows, { k: 1, tile }), EMPTY],
  ['search tile.queries', (queries) => search(rows, rows, { k: 1, tile: { queries } }), []],
  ['search tile.documents', (documents) => search(rows, rows, { k: 1, tile: { documents } }), []],
  ['search queries', (queries) => search(queries, rows, { k: 1 }), []],
  ['search documents', (documents) => search(rows, documents, { k: 1 }), []],
  ['search options', (options) => search(rows, rows, options), []],
  ['retrieval encoder', (value) => evaluateRetrieval(value, retrieval), []],
  ['retrieval task', (task) => evaluateRetrieval(encoder, task), []],
  ['retrieval queries', (queries) => evaluateRetrieval(encoder, { ...retrieval, queries }), ['Array ["x"]']],
  [
    'retrieval documents',
    (documents) => evaluateRetrieval(encoder, { ...retrieval, documents }),
    ['Array ["x"]'],
  ],
  ['retrieval relevant', (relevant) => evaluateRetrieval(encoder, { ...retrieval, relevant }), []],
  [
    'retrieval relevant of a query',
    (one) => evaluateRetrieval(encoder, { ...retrieval, relevant: [one] }),
    [],
  ],
  ['retrieval missing', (missing) => evaluateRetrieval(encoder, { ...retrieval, missing }), []],
  ['retrieval excluded', (excluded) => evaluateRetrieval(encoder, { ...retrieval, excluded }), ['Map of 0']],
  ['retrieval options', (options) => evaluateRetrieval(encoder, retrieval, options), EMPTY],
  ['retrieval recallAt', (recallAt) => evaluateRetrieval(encoder, retrieval, { recallAt }), []],
  ['retrieval similarity', (similarity) => evaluateRetrieval(encoder, retrieval, { similarity }), []],
  ['retrieval prompts', (prompts) => evaluateRetrieval(encoder, retrieval, { prompts }), EMPTY],
  ['retrieval dimensions', (dimensions) => evaluateRetrieval(encoder, retrieval, { dimensions }), []],
  ['retrieval block', (block) => evaluateRetrieval(encoder, retrieval, { block }), []],
  ['retrieval signal', (signal) => evaluateRetrieval(encoder, retrieval, { signal }), []],
  [
    'retrieval onProgress',
    (onProgress) => evaluateRetrieval(encoder, retrieval, { onProgress }),
    ['() => 1'],
  ],
  ['sts encoder', (value) => evaluateSts(value, sts), []],
  ['sts task', (task) => evaluateSts(encoder, task), []],
  ['sts first', (first) => evaluateSts(encoder, { ...sts, first }), []],
  ['sts scores', (scores) => evaluateSts(encoder, { ...sts, scores }), []],
  ['sts options', (options) => evaluateSts(encoder, sts, options), EMPTY],
  ['sts similarity', (similarity) => evaluateSts(encoder, sts, { similarity }), []],
  ['sts dimensions', (dimensions) => evaluateSts(encoder, sts, { dimensions }), []],
  ['sts block', (block) => evaluateSts(encoder, sts, { block }), []],
  ['sts signal', (signal) => evaluateSts(encoder, sts, { signal }), []],
  ['sts onProgress', (onProgress) => evaluateSts(encoder, sts, { onProgress }), ['() => 1']],
  ['scoreRanking ranking', (value) => scoreRanking(value, retrieval.relevant, 2), []],
  ['scoreRanking relevant', (relevant) => scoreRanking(ranking, relevant, 2), []],
  ['scoreRanking documents', (documents) => scoreRanking(ranking, retrieval.relevant, documents), []],
  ['scoreRanking recallAt', (recallAt) => scoreRanking(ranking, retrieval.relevant, 2, recallAt), []],
  ['scoreRanking missing', (value) => scoreRanking(ranking, retrieval.relevant, 2, [1], value), []],
  ['flattenScores', (scores) => flattenScores(scores), []],
  ['averageRanks', (values) => averageRanks(values), ['Array []', 'Array [0]']],
  ['pearson', (values) => pearson(values, [1, 2]), []],
  ['spearman', (values) => spearman([1, 2], values), []],
  ['readRetrievalPairs path', (path) => readRetrievalPairs(path), []],
  ['readRetrievalPairs options', (options) => readRetrievalPairs('/nowhere.jsonl', options), []],
  ['readRetrievalPairs columns', (columns) => readRetrievalPairs('/nowhere.jsonl', { columns }), []],
  ['readRetrievalPairs documents', (documents) => readRetrievalPairs('/nowhere.jsonl', { documents }), []],
  ['readSts path', (path) => readSts(path), []],
  ['readSts options', (options) => readSts('/nowhere.jsonl', options), []],
  ['readSts columns', (columns) => readSts('/nowhere.jsonl', { columns }), []],
  ['readSts format', (format) => readSts('/nowhere.jsonl', { format }), []],
  ['readSts header', (header) => readSts('/nowhere.jsonl', { header }), []],
  ['readSts quoting', (quoting) => readSts('/nowhere.jsonl', { quoting }), []],
  ['readRetrievalFolder', (paths) => readRetrievalFolder(paths), []],
];

for (const [name, use, taken] of OPTIONS) {
  test(`a wrong value is refused: ${name}`, async () => {
    for (const value of VALUES) {
      const written = shown(value);
      const problem = await Promise.resolve(value as never)
        .then(use)
        .then(
          () => null,
          (error: unknown) => error,
        );
      if (taken.includes(written)) {
        assert.equal(problem, null, `${written}: ${String(problem)}`);
        continue;
      }
      const { name: kind, code } = (problem ?? {}) as { name?: string; code?: string };
      assert.equal(kind, 'GradCacheError', `${written}: ${String(problem)}`);
      assert.ok(['INPUT', 'SHAPE'].includes(code!), `${written}: ${code}`);
    }
  });
}

function shown(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  if (value instanceof Map) return `Map of ${value.size}`;
  const kind = value.constructor.name;
  return kind === 'Date' ? kind : `${kind} ${JSON.stringify(value)}`;
}

test('an encoder that gives no tensor, or another number of rows than texts, is refused', async () => {
  const given: [() => unknown, object][] = [
    [() => 1, { code: 'INPUT', message: /encode\(\) returned is 1; a Tensor/ }],
    [() => undefined, { code: 'INPUT', message: /a Tensor/ }],
    [() => Tensor.from([1, 0], { shape: [1, 2] }), { code: 'SHAPE', message: /\[1,2\] for 2 texts/ }],
    [
      () => Tensor.from([1, 0, 0, 1, 1, 1], { shape: [3, 2] }),
      { code: 'SHAPE', message: /\[3,2\] for 2 texts/ },
    ],
    [() => Tensor.from([1, 0]), { code: 'SHAPE', message: /\[2\] for 2 texts/ }],
  ];
  const task = {
    queries: ['a', 'b'],
    documents: ['c', 'd'],
    relevant: [new Map([[0, 1]]), new Map([[1, 1]])],
  };
  for (const [give, error] of given) {
    const own = { encode: () => Promise.resolve(give() as typeof rows) };
    const ofDocuments = {
      encode: (texts: readonly string[]) => (texts[0] === 'a' ? encoder.encode(texts) : own.encode()),
    };
    await assert.rejects(evaluateRetrieval(own, task), error);
    await assert.rejects(evaluateRetrieval(ofDocuments, task), error);
    await assert.rejects(evaluateSts(own, sts), error);
  }
});
