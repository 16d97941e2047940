import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../lib/data/random.js';
import type { Corpus } from '../../lib/language/corpus.js';
import { lengthsOf, RowStreams } from '../../lib/language/row-streams.js';

/** Documents of these lengths, whose tokens are all different. */
function corpusOf(lengths: readonly number[]): Corpus {
  let end = 0;
  const ends = lengths.map((length) => (end += length));
  return { tokens: Int32Array.from({ length: end }, (_, place) => place), ends, characters: end };
}

test('rows read their parts in order, each token with the one behind it in its document', () => {
  const random = new Random(5);
  for (let run = 0; run < 60; run++) {
    const lengths = Array.from({ length: 1 + random.below(8) }, () => 1 + random.below(12));
    const rows = 1 + random.below(3);
    const corpus = corpusOf([...lengths, 9]);
    const { length: tokens } = corpus.tokens;
    const streams = new RowStreams(corpus, rows);
    const skipped = new RowStreams(corpus, rows);
    const read: number[][] = Array.from({ length: rows }, () => []);
    const anew: boolean[] = Array.from({ length: rows }, () => true);
    for (;;) {
      const most = 1 + random.below(5);
      const segment = streams.next(most);
      assert.equal(skipped.skip(most), segment !== null);
      if (segment === null) break;
      const length = segment.inputs.length / rows;
      assert.ok(length >= 1 && length <= most);
      for (let row = 0; row < rows; row++) {
        for (let place = row * length; place < (row + 1) * length && segment.targets[place]! >= 0; place++) {
          const input: number = segment.inputs[place]!;
          const target: number = segment.targets[place]!;
          assert.equal(target, input + 1);
          // What goes on from the segment before is the token behind its last.
          if (!anew[row]) assert.equal(input, read[row]!.at(-1)! + 1);
          anew[row] = false;
          read[row]!.push(input);
        }
        if (segment.ends!.includes(row)) anew[row] = true;
      }
    }
    const firstOf = (row: number) => Math.floor((row * tokens) / rows);
    const wanted = Array.from({ length: rows }, (_, row) =>
      Array.from({ length: firstOf(row + 1) - firstOf(row) }, (__, place) => firstOf(row) + place).filter(
        (token) => token + 1 < firstOf(row + 1) && !corpus.ends.includes(token + 1),
      ),
    );
    assert.deepEqual(read, wanted);
  }
});

test('lengths are drawn around the one asked for, the same for a seed and an epoch', () => {
  const draw = (seed: number, epoch: number) =>
    [...Array(2000).keys()].map(
      (
        (lengths) => () =>
          lengths.next().value as number
      )(lengthsOf({ length: 100, jitter: true }, seed, epoch)),
    );
  const lengths = draw(1, 0);
  assert.deepEqual(draw(1, 0), lengths);
  assert.notDeepEqual(draw(1, 1), lengths);
  const near = (around: number) => lengths.filter((length) => Math.abs(length - around) < 25).length / 2000;
  assert.ok(near(100) > 0.93 && near(100) < 0.97);
  assert.ok(near(50) > 0.03 && near(50) < 0.07);
  const short = lengthsOf({ length: 8, jitter: true }, 1, 0);
  for (let k = 0; k < 100; k++) assert.ok((short.next().value as number) >= 5);
  assert.equal(lengthsOf({ length: 7, jitter: false }, 1, 0).next().value, 7);
});

test('a text too short for its rows is refused', () => {
  assert.throws(() => new RowStreams(corpusOf([5]), 3), {
    code: 'INPUT',
    message: /5 tokens, too few for 3 rows/,
  });
});

test('a text in which no token has one behind it is refused', () => {
  const refusal = { code: 'INPUT', message: /nothing to predict/ };
  assert.throws(() => new RowStreams(corpusOf([1, 1, 1]), 1), refusal);
  // Every row ends inside the one document that has two tokens.
  assert.throws(() => new RowStreams(corpusOf([1, 2, 1]), 2), refusal);
});
