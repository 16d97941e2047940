/** Mined rows against sentence-transformers' mine_hard_negatives, option by option, on WordNet and the real MiniLM. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readWordNet } from '../../examples/quickstart/wordnet.js';
import { CrossEncoder, mineHardNegatives, TextEncoder, type MiningOptions } from '../../lib/index.js';
import { describeMining } from '../../lib/mining/statistics.js';
import { Oracle } from './oracle.js';
import { miniLM } from './python.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
let oracle: Oracle;
let encoder: TextEncoder;
let pairs: [string, string][];
let corpus: string[];

before(async () => {
  oracle = new Oracle();
  encoder = await TextEncoder.load(miniLM, { device });
  const all = (await readWordNet()).filter(({ gloss }) => gloss.length < 60);
  const some = Array.from({ length: 60 }, (_, place) => all[place * 701]!);
  pairs = [
    ...some.slice(0, 30).map(({ term, gloss }): [string, string] => [term, gloss]),
    // Anchors with several positives, some that have little to do with them and score below 0, and a pair that is there twice.
    ...[0, 1, 2, 3, 3].map((place): [string, string] => [some[place]!.term, some[place + 10]!.gloss]),
    ...[4, 5, 6, 7, 8, 9].map((place): [string, string] => [some[place + 25]!.term, some[place + 20]!.gloss]),
  ];
  corpus = [...some.slice(30).map(({ gloss }) => gloss), some[2]!.gloss, some[40]!.gloss];
});

after(() => {
  encoder.dispose();
  return oracle.close();
});

/** The options of both, ours and theirs. */
const CASES: Readonly<Record<string, readonly [MiningOptions, Record<string, unknown>]>> = {
  'nothing set': [{}, {}],
  'a corpus, and a number': [{ negatives: 5 }, { num_negatives: 5, corpus: true }],
  'a range of ranks': [
    { rangeMin: 2, rangeMax: 9 },
    { range_min: 2, range_max: 9 },
  ],
  'a range beyond the documents': [
    { rangeMin: 20, rangeMax: 90, negatives: 30 },
    { range_min: 20, range_max: 90, num_negatives: 30 },
  ],
  'a greatest and a least score': [
    { maxScore: 0.25, minScore: 0.05 },
    { max_score: 0.25, min_score: 0.05 },
  ],
  'a least score alone': [
    { minScore: 0.2, negatives: 4 },
    { min_score: 0.2, num_negatives: 4 },
  ],
  'an absolute margin': [{ absoluteMargin: 0.1 }, { absolute_margin: 0.1 }],
  'a relative margin': [{ relativeMargin: 0.05 }, { relative_margin: 0.05 }],
  'a relative margin with ranks and a greatest score': [
    { relativeMargin: 0.3, maxScore: 0.3, rangeMin: 1, rangeMax: 8 },
    { relative_margin: 0.3, max_score: 0.3, range_min: 1, range_max: 8 },
  ],
  'prompts of both sides': [
    { prompts: { query: { prefix: 'word: ' }, document: { prefix: 'meaning: ' } } },
    { query_prompt: 'word: ', corpus_prompt: 'meaning: ' },
  ],
  tuples: [
    { format: 'n-tuple', absoluteMargin: 0.05, rangeMax: 12 },
    { output_format: 'n-tuple', absolute_margin: 0.05, range_max: 12 },
  ],
  'pairs with labels': [
    { format: 'labeled-pair', maxScore: 0.2, rangeMax: 6 },
    { output_format: 'labeled-pair', max_score: 0.2, range_max: 6 },
  ],
  'lists with labels': [
    { format: 'labeled-list', maxScore: 0.2, rangeMax: 6 },
    { output_format: 'labeled-list', max_score: 0.2, range_max: 6 },
  ],
  'positives among the candidates': [
    { includePositives: true, negatives: 6 },
    { include_positives: true, num_negatives: 6 },
  ],
};

for (const [name, [ours, theirs]] of Object.entries(CASES)) {
  // Scores are a column more. Without them are only rows of each kind tried.
  for (const scores of ours.format === undefined && name !== 'nothing set' ? [true] : [false, true]) {
    test(`${name}${scores ? ', with scores' : ''}: the rows are sentence-transformers'`, async () => {
      const withCorpus = theirs.corpus === true;
      const expected = await oracle.mine(miniLM, pairs, {
        ...theirs,
        ...(withCorpus && { corpus }),
        output_scores: scores,
      });
      const mined = await mineHardNegatives(encoder, rowsOf(pairs), {
        ...ours,
        scores,
        ...(withCorpus && { corpus }),
      });
      assertSameRows([...mined.rows], expected.rows);
      assert.ok(expected.rows.length > 0);
      assert.equal(mined.statistics.rows, expected.rows.length);
      if (scores) assertSameStatistics(describeMining(mined.statistics), expected.printed);
    });
  }
}

test('a cross-encoder judges: the rows are those of its scores', async () => {
  const folder = await oracle.saveCrossEncoder('bert', 'judge', { labels: 1 });
  using judge = await CrossEncoder.load(folder, { device });
  for (const [ours, theirs] of [
    [{ relativeMargin: 0.002 }, { relative_margin: 0.002 }],
    [
      { minScore: 0.4, maxScore: 0.9, format: 'labeled-list', rangeMin: 1 },
      { min_score: 0.4, max_score: 0.9, output_format: 'labeled-list', range_min: 1 },
    ],
  ] as const) {
    const expected = await oracle.mine(miniLM, pairs, {
      ...theirs,
      output_scores: true,
      cross_encoder: folder,
    });
    const mined = await mineHardNegatives(encoder, rowsOf(pairs), { ...ours, scores: true, judge });
    assert.ok(expected.rows.length > 0);
    assertSameRows([...mined.rows], expected.rows);
  }
});

function* rowsOf(list: readonly [string, string][]): Iterable<{ anchor: string; positive: string }> {
  for (const [anchor, positive] of list) yield { anchor, positive };
}

/** Numbers differ by the order of sums in float32. */
function assertSameRows(rows: readonly object[], expected: readonly object[]): void {
  const texts = (row: object) =>
    JSON.parse(JSON.stringify(row, (_, value: unknown) => (isScore(value) ? 'score' : value))) as object;
  assert.deepEqual(rows.map(texts), expected.map(texts));
  const numbers = (list: readonly object[]): number[] =>
    (JSON.stringify(list).match(/-?\d+\.\d+(e-?\d+)?/g) ?? []).map(Number);
  const [found, wanted] = [numbers(rows), numbers(expected)];
  assert.equal(found.length, wanted.length);
  for (const [place, number] of found.entries()) assert.ok(Math.abs(number - wanted[place]!) < 2e-6);
}

const isScore = (value: unknown): boolean => typeof value === 'number' && !Number.isInteger(value);

/** The table: theirs has the same lines, numbers to the fourth digit. */
function assertSameStatistics(ours: readonly string[], printed: string): void {
  const cells = (lines: readonly string[]) =>
    lines
      .filter((line) => /^(Metric|Count|Mean|Median|Std|Min|Max|\d\d%) /.test(line))
      .map((line) => line.split(/ +/));
  const [found, wanted] = [cells(ours), cells(printed.split('\n').map((line) => line.trimEnd()))];
  assert.equal(found.length, wanted.length);
  for (const [line, values] of found.entries())
    for (const [column, value] of values.entries()) {
      const other = wanted[line]![column]!;
      if (value !== other)
        assert.ok(Math.abs(Number(value) - Number(other)) < 2e-4, `${values.join(' ')}: ${other}`);
    }
}
