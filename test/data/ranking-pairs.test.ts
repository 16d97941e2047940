import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rankingPairs } from '../../lib/index.js';

const column = (name: string, rows: number) => Array.from({ length: rows }, (_, row) => `${name}${row}`);

test('each anchor gets its positive, drawn texts of other rows, and its own hard negatives', () => {
  const columns = [column('q', 7), column('p', 7), column('h', 7)];
  const { pairs, lists } = rankingPairs(columns, { negatives: 5, seed: 9 });
  assert.deepEqual(lists, Array(7).fill(7));
  for (let row = 0; row < 7; row++) {
    const own = pairs.slice(7 * row, 7 * row + 7);
    assert.ok(own.every(([anchor]) => anchor === `q${row}`));
    const texts = own.map(([, text]) => text);
    assert.equal(texts[0], `p${row}`);
    assert.equal(texts[6], `h${row}`);
    const drawn = texts.slice(1, 6);
    assert.equal(new Set(drawn).size, 5);
    assert.ok(drawn.every((text) => text !== `p${row}` && text !== `h${row}`));
  }
});

test('the seed decides the draw, and all candidates are drawn equally often', () => {
  const columns = [column('q', 5), column('p', 5), column('h', 5)];
  assert.deepEqual(rankingPairs(columns, { seed: 3 }), rankingPairs(columns, { seed: 3 }));
  assert.notDeepEqual(rankingPairs(columns, { seed: 3 }), rankingPairs(columns, { seed: 4 }));
  const counts = new Map<string, number>();
  for (let seed = 0; seed < 2000; seed++)
    for (const [, text] of rankingPairs(columns, { seed, negatives: 3 }).pairs.slice(1, 4))
      counts.set(text, (counts.get(text) ?? 0) + 1);
  assert.equal(counts.size, 8);
  for (const count of counts.values()) assert.ok(Math.abs(count - 750) < 120, `${count} of 750`);
});

test('all others where so many are asked for, or there are no more', () => {
  const columns = [column('q', 3), column('p', 3)];
  const all = rankingPairs(columns, { negatives: 'all' });
  assert.deepEqual(all, rankingPairs(columns, { negatives: 2 }));
  assert.deepEqual(all, rankingPairs(columns, { negatives: 200 }));
  assert.deepEqual(all.pairs.slice(3, 6), [
    ['q1', 'p1'],
    ['q1', 'p0'],
    ['q1', 'p2'],
  ]);
  assert.deepEqual(rankingPairs([['q'], ['p']]), { pairs: [['q', 'p']], lists: [1] });
  assert.deepEqual(rankingPairs([[], []]), { pairs: [], lists: [] });
});

test('columns that do not fit are refused', () => {
  const wrong =
    (columns: unknown, options = {}) =>
    () =>
      rankingPairs(columns as string[][], options);
  assert.throws(wrong([['a']]), { code: 'INPUT', message: /anchors, positives/ });
  assert.throws(wrong([['a'], ['b', 'c']]), { code: 'SHAPE', message: /1, 2 texts/ });
  assert.throws(wrong([['a'], [1]]), { code: 'INPUT', message: /columns\[1\]\[0\] is 1/ });
  assert.throws(wrong([['a'], ['b']], { negatives: -1 }), { code: 'INPUT', message: /negatives is -1/ });
  assert.throws(wrong([['a'], ['b']], { count: 1 }), { code: 'INPUT', message: /count/ });
});
