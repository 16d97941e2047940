import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hardestPairs, hardestQueries, hardestReranked } from '../../lib/evaluation/hardest.js';

test('queries whose right answer lies farthest behind a wrong one come first', () => {
  const task = {
    queries: ['found', 'behind', 'beyond', 'just behind', 'also beyond'],
    documents: ['a', 'b', 'c', 'd'],
    relevant: [[0], [1], [3], [2], [3]].map((places) => new Map(places.map((place) => [place, 1]))),
  };
  const ranking = {
    k: 3,
    documents: Int32Array.of(0, 1, 2, 0, 2, 1, 0, 1, 2, 1, 2, 0, 1, 0, -1),
    scores: Float64Array.of(0.9, 0.5, 0.1, 0.8, 0.7, 0.2, 0.6, 0.5, 0.4, 0.6, 0.5, 0.1, 0.7, 0.2, -Infinity),
  };
  const { kind, measured, missed, hardest } = hardestQueries(task, ranking);
  assert.deepEqual([kind, measured, missed], ['queries', 5, 4]);
  assert.deepEqual(
    hardest.map(({ query }) => query),
    ['also beyond', 'beyond', 'behind', 'just behind', 'found'],
  );
  assert.deepEqual(hardest[0], {
    query: 'also beyond',
    right: { text: 'd', rank: null, score: null },
    wrong: [
      { text: 'b', score: 0.7 },
      { text: 'a', score: 0.2 },
    ],
  });
  assert.deepEqual(hardest[2]!.right, { text: 'b', rank: 3, score: 0.2 });
});

test('what is listed of a large task is bounded: 20 texts, none longer than 400 characters or cut within one', () => {
  const long = 'x'.repeat(399) + '😀'.repeat(100);
  const task = {
    queries: Array.from({ length: 1000 }, () => long),
    documents: [long, long],
    relevant: Array.from({ length: 1000 }, () => new Map([[1, 1]])),
  };
  const documents = Int32Array.from({ length: 2000 }, (_, place) => place % 2);
  const scores = Float64Array.from({ length: 2000 }, (_, place) => 1 - (place % 2) / (place + 1));
  const { measured, missed, hardest } = hardestQueries(task, { k: 2, documents, scores });
  assert.deepEqual([measured, missed, hardest.length], [1000, 1000, 20]);
  for (const { query, right, wrong } of hardest)
    for (const text of [query, right.text, ...wrong.map(({ text }) => text)])
      assert.equal(text, 'x'.repeat(399) + '…');
});

test('candidates of a reranking: of equal scores the later is ranked first, and queries without an answer are left out', () => {
  const texts = ['right', 'one', 'two'];
  const relevant = [true, false, false];
  const { measured, missed, hardest } = hardestReranked([
    { query: 'q', texts, relevant, scores: Float64Array.of(0.5, 0.9, 0.5) },
    { query: 'none', texts, relevant: [false, false, false], scores: null },
  ]);
  assert.deepEqual([measured, missed], [1, 1]);
  assert.deepEqual(hardest, [
    {
      query: 'q',
      right: { text: 'right', rank: 3, score: 0.5 },
      wrong: [
        { text: 'one', score: 0.9 },
        { text: 'two', score: 0.5 },
      ],
    },
  ]);
});

test('pairs that the model puts elsewhere than people do come first', () => {
  const task = { first: ['a', 'b', 'c'], second: ['x', 'y', 'z'], scores: [1, 2, 5] };
  const { measured, hardest } = hardestPairs(task, [0.9, 0.5, 0.1]);
  assert.equal(measured, 3);
  assert.deepEqual(hardest[0], {
    first: 'a',
    second: 'x',
    score: 1,
    place: 0,
    similarity: 0.9,
    placed: 1,
  });
  assert.deepEqual(hardest.map(({ first }) => first).sort(), ['a', 'b', 'c']);
  assert.equal(hardest.at(-1)!.first, 'b');
});
