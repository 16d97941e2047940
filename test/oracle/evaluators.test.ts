/** Scores against sentence-transformers' evaluators, on WordNet and the real MiniLM, and against trec_eval. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { readWordNet } from '../../examples/quickstart/wordnet.js';
import {
  call,
  CrossEncoder,
  evaluateBinary,
  evaluateMse,
  evaluateReranking,
  evaluateRetrieval,
  evaluateSts,
  evaluateTranslation,
  evaluateTriplets,
  flattenScores,
  readRetrievalFolder,
  Tensor,
  TextEncoder,
  type RetrievalMeasure,
} from '../../lib/index.js';
import { flattenBinary, flattenTranslation } from '../../lib/evaluation/scores.js';
import { Random } from '../fuzz/random-arguments.js';
import { temporaryFolder } from '../training/support.js';
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
  test(`retrieval, candidates, triplets and binary pairs by ${similarity}: figures equal to 6 digits`, async () => {
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
    const translation = [queries, documents.slice(0, 30)] as const;
    const reranking = queries.map((query, place) => ({
      query,
      positive: [documents[place]!, ...(place % 4 === 0 ? [documents[(place + 2) % 40]!] : [])],
      negative: Array.from({ length: 4 + (place % 9) }, (_, step) => documents[(place + 3 + 2 * step) % 40]!),
    }));
    const data = { queries, documents, relevant, triplets, binary, translation, reranking, similarity };
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
      expected.retrieval!,
    );
    const ranked = await evaluateReranking(encoder, { queries: reranking }, { similarity });
    assertSame(flattenScores(ranked), expected.reranking!);
    const column = (rows: (string | number)[][], place: number) => rows.map((row) => row[place] as string);
    const ofTriplets = {
      anchors: column(triplets, 0),
      positives: column(triplets, 1),
      negatives: column(triplets, 2),
    };
    const { accuracy } = await evaluateTriplets(encoder, ofTriplets, { similarity });
    assertSame({ accuracy }, expected.triplets!);
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
    assertSame(scores, expected.binary!);
    if (similarity !== 'cosine') return;
    const [source, target] = translation;
    assertSame(
      flattenTranslation(await evaluateTranslation(encoder, { source, target })),
      expected.translation!,
    );
    using rows = await encoder.encode(source);
    using representations = call('aten::flip', rows, [1]);
    const { mse } = await evaluateMse(encoder, { texts: target, representations });
    assertSame({ negative_mse: -100 * mse }, expected.mse!);
  });
}

test('sentence pairs by a cross-encoder: figures equal to 6 digits', async () => {
  const folder = await oracle.saveCrossEncoder('bert', 'measured');
  using model = await CrossEncoder.load(folder, { device });
  const first = words.map(({ term }) => term);
  const second = words.map((_, place) => words[(place * 7) % 40]!.gloss);
  const scores = words.map((_, place) => (place * 11) % 17);
  const labels = words.map((_, place) => (place % 3 === 0 ? 1 : 0));
  const expected = await oracle.pairEvaluators(folder, {
    pairs: first.map((text, place) => [text, second[place]!]),
    scores,
    labels,
  });
  assertSame(flattenScores(await evaluateSts(model, { first, second, scores })), expected.sts);
  const { ap, mcc: _, ...binary } = flattenBinary(await evaluateBinary(model, { first, second, labels }));
  assertSame({ ...binary, average_precision: ap }, expected.binary);
});

test("retrieval with grades, ties and documents that the corpus lacks: trec_eval's figures", async (t) => {
  const folder = await temporaryFolder(t);
  const random = new Random(7);
  const draw = (below: number): number => random.below(below);
  // Small whole numbers: many documents tie. trec_eval ranks these from the last id to the first.
  const numbers = (count: number) => Array.from({ length: count }, () => [draw(3), draw(3)] as const);
  const [queries, documents] = [numbers(25), numbers(60)];
  const idOf = (document: number) => `d${900 - document}`;
  const judged: Record<string, Record<string, number>> = {};
  for (const query of queries.keys()) {
    const grades = Array.from({ length: 1 + draw(14) }, () => [idOf(draw(66)), draw(5) - 1] as const);
    judged[`q${query}`] = Object.fromEntries([...grades, [idOf(draw(60)), 3]]);
  }
  const ranked = Object.fromEntries(
    queries.map(([a, b], query) => [
      `q${query}`,
      Object.fromEntries(documents.map(([c, d], document) => [idOf(document), a * c + b * d])),
    ]),
  );
  const write = async (name: string, lines: readonly string[]) => {
    await writeFile(join(folder, name), `${lines.join('\n')}\n`);
    return join(folder, name);
  };
  const textOf = (pair: readonly number[], place: number) => `${pair.join(' ')} ${place}`;
  const task = await readRetrievalFolder({
    queries: await write(
      'queries.jsonl',
      queries.map((pair, place) => JSON.stringify({ _id: `q${place}`, text: textOf(pair, place) })),
    ),
    corpus: await write(
      'corpus.jsonl',
      documents.map((pair, place) => JSON.stringify({ _id: idOf(place), text: textOf(pair, place) })),
    ),
    judgements: await write(
      'qrels.txt',
      Object.entries(judged).flatMap(([query, grades]) =>
        Object.entries(grades).map(([document, grade]) => `${query} 0 ${document} ${grade}`),
      ),
    ),
  });
  assert.ok(task.counts.missingDocuments > 5);
  const ks = [1, 3, 10, 60];
  const kinds = ['accuracy', 'precision', 'recall', 'mrr', 'ndcg', 'map'] as const;
  const measures = kinds.flatMap((kind) => ks.map((k): RetrievalMeasure => `${kind}@${k}`));
  const plain = {
    encode: (texts: readonly string[]) =>
      Promise.resolve(
        Tensor.from(
          texts.flatMap((text) => text.split(' ').slice(0, 2).map(Number)),
          { shape: [texts.length, 2] },
        ),
      ),
  };
  const expected = await oracle.trec(judged, ranked, ks);
  for (const block of [7, 8192]) {
    const { measures: found } = await evaluateRetrieval(plain, task, { measures, similarity: 'dot', block });
    // map_cut divides by all relevant documents, map@k by k where there are more.
    const { 'map@60': all, ...rest } = found!;
    assert.ok(Math.abs(all! - expected['map@60']!) < 1e-6);
    for (const [name, value] of Object.entries(rest))
      if (!name.startsWith('map@'))
        assert.ok(Math.abs(value - expected[name]!) < 1e-6, `${name}: ${value}, ${expected[name]}`);
    assert.ok(rest['map@3']! > expected['map@3']!);
  }
});

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
