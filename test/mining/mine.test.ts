import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EncodesTexts } from '../../lib/evaluation/encode-texts.js';
import { mineHardNegatives } from '../../lib/mining/mine.js';
import type { MiningOptions } from '../../lib/mining/options.js';
import { describeMining } from '../../lib/mining/statistics.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** An encoder of texts that end in a number: an angle in degrees becomes a point of the circle. Counts what it encodes. */
function angles(): EncodesTexts & { readonly encoded: string[] } {
  const encoded: string[] = [];
  return {
    encoded,
    encode(texts) {
      encoded.push(...texts);
      const points = texts.flatMap((text) => {
        const angle = (Number(/\d+$/.exec(text)![0]) * Math.PI) / 180;
        return [Math.cos(angle), Math.sin(angle)];
      });
      return Promise.resolve(Tensor.from(Float64Array.from(points), { shape: [texts.length, 2] }));
    },
  };
}

const PAIRS = ['10', '40', '80', '130'].map((angle) => ({ anchor: `q${angle}`, positive: `d${angle}` }));

async function negativesOf(options: MiningOptions, pairs = PAIRS): Promise<Record<string, string[]>> {
  const { rows } = await mineHardNegatives(angles(), pairs, options);
  const found: Record<string, string[]> = {};
  for (const { anchor, negative } of rows) (found[anchor as string] ??= []).push(negative as string);
  return found;
}

test('the nearest documents that are no positives', async () => {
  assert.deepEqual(await negativesOf({ negatives: 2 }), {
    q10: ['d40', 'd80'],
    q40: ['d10', 'd80'],
    q80: ['d40', 'd130'],
    q130: ['d80', 'd40'],
  });
});

test('neither another positive of the anchor nor its own text is mined, and equal texts are one document', async () => {
  const pairs = [
    { anchor: 'q10', positive: 'd10' },
    { anchor: 'q10', positive: 'd20' },
    { anchor: 'd40', positive: 'd45' },
    { anchor: 'q90', positive: 'd40' },
    { anchor: 'q90', positive: 'd40' },
  ];
  const found = await negativesOf({ negatives: 2, corpus: ['x50', 'd20', 'x50'] }, pairs);
  assert.deepEqual(found, {
    q10: ['d40', 'd45', 'd40', 'd45'],
    d40: ['x50', 'd20'],
    q90: ['x50', 'd45'],
  });
});

test('an anchor that is its own positive has the candidates of any other', async () => {
  const pairs = ['10', '19', '30'].map((angle) => ({ anchor: angle, positive: angle }));
  assert.deepEqual(await negativesOf({ negatives: 1 }, pairs), { 10: ['19'], 19: ['10'], 30: ['19'] });
});

test('each text is encoded once, and blocks give the same rows', async () => {
  const encoder = angles();
  const corpus = Array.from({ length: 20 }, (_, place) => `c${place * 9}`);
  const options = { negatives: 4, corpus, scores: true, relativeMargin: 0.01 } as const;
  const whole = await mineHardNegatives(encoder, PAIRS, options);
  assert.equal(encoder.encoded.length, new Set(encoder.encoded).size);
  const parts = await mineHardNegatives(angles(), PAIRS, { ...options, block: 3 });
  assert.deepEqual([...parts.rows], [...whole.rows]);
  assert.deepEqual([...whole.rows], [...whole.rows], 'rows can be gone over again');
});

test('margins hold for positives that score below 0', async () => {
  const pairs = [{ anchor: 'q0', positive: 'd120' }]; // cosine -0.5
  const corpus = ['c110', 'c121', 'c130', 'c150'];
  // -0.5 - 0.1 * 0.5 = -0.55: cosines are -0.34, -0.515, -0.643, -0.866
  assert.deepEqual(await negativesOf({ corpus, relativeMargin: 0.1 }, pairs), { q0: ['c130', 'c150'] });
  assert.deepEqual(await negativesOf({ corpus, absoluteMargin: 0.2 }, pairs), { q0: ['c150'] });
});

test('random sampling follows the seed, stays in the range, and takes all there are of fewer', async () => {
  const corpus = Array.from({ length: 40 }, (_, place) => `c${place + 50}`);
  const pairs = [{ anchor: 'q50', positive: 'd50' }];
  const draw = async (seed: number) =>
    (await negativesOf({ corpus, sampling: 'random', seed, rangeMin: 5, rangeMax: 25, negatives: 4 }, pairs))
      .q50!;
  const seen = new Set<string>();
  for (let seed = 0; seed < 40; seed++) {
    const found = await draw(seed);
    const ranks = found.map((text) => Number(text.slice(1)) - 50);
    assert.equal(new Set(found).size, 4);
    assert.deepEqual(
      ranks,
      [...ranks].sort((a, b) => a - b),
      'best first',
    );
    assert.ok(
      ranks.every((rank) => rank >= 5 && rank < 25),
      ranks.join(),
    );
    for (const text of found) seen.add(text);
  }
  assert.equal(seen.size, 20, 'every candidate of the range is drawn at some time');
  assert.deepEqual(await draw(7), await draw(7));
  assert.notDeepEqual(await draw(7), await draw(8));
  const few = await negativesOf({ sampling: 'random', negatives: 9 });
  assert.equal(few.q10!.length, 3);
});

test('another encoder as the judge: its scores count, and it encodes what it must', async () => {
  const judge: EncodesTexts & { encoded: number } = {
    encoded: 0,
    // Its angles run the other way, so that of the candidates the furthest come first.
    encode(texts) {
      judge.encoded += texts.length;
      const points = texts.flatMap((text) => {
        const angle = text.startsWith('q') ? Math.PI : 0;
        const own = angle + (Number(text.slice(1)) * Math.PI) / 180;
        return [Math.cos(own), Math.sin(own)];
      });
      return Promise.resolve(Tensor.from(Float64Array.from(points), { shape: [texts.length, 2] }));
    },
  };
  const corpus = ['c20', 'c30', 'c160', 'c170'];
  const pairs = [{ anchor: 'q10', positive: 'd10' }];
  const { rows } = await mineHardNegatives(angles(), pairs, {
    corpus,
    judge,
    negatives: 2,
    rangeMax: 2,
    scores: true,
  });
  // The encoder lists d10, c20, c30: the positive is taken out, and the judge has c30 before c20.
  assert.deepEqual(
    [...rows].map(({ negative }) => negative),
    ['c30', 'c20'],
  );
  assert.equal(judge.encoded, 4);
  const [{ scores }] = [...rows] as unknown as [{ scores: number[] }];
  assert.ok(Math.abs(scores[0]! + 1) < 1e-12);
  assert.ok(Math.abs(scores[1]! + Math.cos(Math.PI / 9)) < 1e-12);
});

test('the statistics are told in words', async () => {
  const mined = await mineHardNegatives(angles(), PAIRS, { negatives: 3, maxScore: 0.8, rangeMax: 3 });
  const { statistics } = mined;
  assert.equal(statistics.rows, [...mined.rows].length);
  assert.equal(statistics.missing, 4 * 3 - statistics.rows);
  const lines = describeMining(statistics, { maxScore: 0.8 });
  assert.deepEqual(lines.slice(0, 2), [
    'Metric       Positive       Negative     Difference',
    'Count               4             10',
  ]);
  assert.match(lines.at(-2)!, /^Skipped 2 candidates \(12\.50%\) by maxScore 0\.8\.$/);
  assert.match(
    lines.at(-1)!,
    /^2 rows \(16\.67%\) have too few negatives: a greater rangeMax or a weaker maxScore finds more\.$/,
  );
});

test('what cannot be mined is refused', async () => {
  const mine = (options: object, pairs: object[] = PAIRS) =>
    mineHardNegatives(angles(), pairs as never, options);
  for (const [options, message] of [
    [{ negatives: 5, rangeMax: 4 }, /rangeMax is 4; at least rangeMin \+ negatives, 5, is needed/],
    [{ absoluteMargin: -0.1 }, /absoluteMargin is -0\.1/],
    [{ minScore: 0.5, maxScore: 0.4 }, /minScore is 0\.5; a number up to maxScore, 0\.4/],
    [{ includePositives: true, format: 'triplet' }, /format is "triplet"/],
    [{ judgePrompts: { query: 'x' } }, /judgePrompts is/],
    [{ columns: ['a', 'a'] }, /columns is/],
    [{ columns: ['negative', 'positive'] }, /columns is .*other names than negative, which rows get/],
    [{ columns: ['anchor', 'label'], format: 'labeled-pair' }, /other names than label, which/],
    [{ margin: 0.1 }, /knows no option 'margin'/],
  ] as const)
    await assert.rejects(mine(options), { code: 'INPUT', message });
  await assert.rejects(mine({}, []), { code: 'INPUT', message: /no pairs/ });
  await assert.rejects(mine({}, [{ anchor: 'q1' }]), {
    code: 'INPUT',
    message: /positive of pair 0 is undefined/,
  });
  const signal = AbortSignal.abort();
  await assert.rejects(mine({ signal }), { code: 'ABORTED' });
  await assert.rejects(mineHardNegatives({ ...angles(), sparse: true }, PAIRS), {
    code: 'INPUT',
    message: /sparse/,
  });
  const judge = { predict: () => Promise.resolve([NaN]) };
  await assert.rejects(mine({ judge, corpus: ['c1'] }), { code: 'SHAPE' });
});
