/** Scores against sentence-transformers' evaluators, on WordNet and the real MiniLM. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readWordNet } from '../../examples/quickstart/wordnet.js';
import {
  evaluateBinary,
  evaluateRetrieval,
  evaluateTriplets,
  TextEncoder,
  type RetrievalMeasure,
} from '../../lib/index.js';
import { flattenBinary } from '../../lib/evaluation/scores.js';
import { Oracle } from './oracle.js';
import { miniLM } from './python.js';

const device = process.env.GRADCACHE_TEST_DEVICE ?? 'cpu';
let oracle: Oracle;
let encoder: TextEncoder;
let words: { term: string; gloss: string }[];

before(async () => {
  oracle = new Oracle();
  encoder = await TextEncoder.load(miniLM, { device });
  const all = (await readWordNet()).filter(({ gloss }) => gloss.length < 60);
  words = Array.from({ length: 40 }, (_, place) => all[place * 977]!);
});

after(() => {
  encoder.dispose();
  return oracle.close();
});

for (const similarity of ['cosine', 'euclidean', 'manhattan', 'dot'] as const) {
  test(`retrieval, triplets and binary pairs by ${similarity}: figures equal to 6 digits`, async () => {
    const queries = words.slice(0, 30).map(({ term }) => term);
    const documents = words.map(({ gloss }) => gloss);
    // Some queries have many relevant documents, more than a measure looks at, and near-random ones among them.
    const relevant = queries.map((_, place) => [
      ...new Set([place, ...(place % 3 === 0 ? [(place * 7) % 40, (place * 11) % 40] : [])]),
      ...(place === 5 ? [30, 31, 32, 33, 34] : []),
    ]);
    const triplets = queries.map((term, place) => [term, documents[place]!, documents[(place + 9) % 40]!]);
    const binary = queries.flatMap((term, place) => [
      [term, documents[place]!, 1],
      [term, documents[(place * 3 + 1) % 40]!, 0],
    ]);
    const data = { queries, documents, relevant, triplets, binary, similarity };
    const expected = await oracle.evaluators(miniLM, data);
    const ks = [1, 3, 10];
    const kinds = ['accuracy', 'precision', 'recall', 'mrr', 'ndcg', 'map'] as const;
    const measures = kinds.flatMap((kind) => ks.map((k): RetrievalMeasure => `${kind}@${k}`));
    const task = {
      queries,
      documents,
      relevant: relevant.map((own) => new Map(own.map((each) => [each, 1]))),
    };
    assertSame(
      (await evaluateRetrieval(encoder, task, { measures, similarity })).measures!,
      expected.retrieval,
    );
    const column = (rows: (string | number)[][], place: number) => rows.map((row) => row[place] as string);
    const ofTriplets = {
      anchors: column(triplets, 0),
      positives: column(triplets, 1),
      negatives: column(triplets, 2),
    };
    const { accuracy } = await evaluateTriplets(encoder, ofTriplets, { similarity });
    assertSame({ accuracy }, expected.triplets);
    const pairs = {
      first: column(binary, 0),
      second: column(binary, 1),
      labels: binary.map((row) => row[2] as number),
    };
    const scores: Record<string, number> = flattenBinary(
      await evaluateBinary(encoder, pairs, { similarity }),
    );
    // There a threshold is a distance, here a similarity.
    if (similarity === 'euclidean' || similarity === 'manhattan')
      for (const name of ['accuracy_threshold', 'f1_threshold']) scores[name] = -scores[name]!;
    assertSame(scores, expected.binary);
  });
}

function assertSame(
  found: Readonly<Record<string, number>>,
  expected: Readonly<Record<string, number>>,
): void {
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort());
  for (const [name, value] of Object.entries(found)) {
    const tolerance = name.endsWith('threshold') ? 1e-5 : 1e-6;
    assert.ok(
      Math.abs(value - expected[name]!) <= tolerance,
      `${name}: ${value}, expected ${expected[name]}`,
    );
  }
}
