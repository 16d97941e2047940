import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluateRetrieval, scoreRanking } from '../../lib/evaluation/retrieval.js';
import type { EncodesTexts } from '../../lib/evaluation/encode-texts.js';
import type { RetrievalTask } from '../../lib/evaluation/retrieval-task.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import type { Similarity } from '../../lib/options/similarity.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** An encoder of texts that are numbers: an angle in degrees becomes a point of the circle. */
const ANGLES: EncodesTexts = {
  encode(texts, options) {
    const shift = options?.prompt === undefined ? 0 : Number(options.prompt);
    const points = texts.flatMap((text) => {
      const angle = ((Number(text) + shift) * Math.PI) / 180;
      return [Math.cos(angle), Math.sin(angle)];
    });
    return Promise.resolve(Tensor.from(Float64Array.from(points), { shape: [texts.length, 2] }));
  },
};

const TASK: RetrievalTask = {
  queries: ['0', '90'],
  documents: ['1', '5', '12', '80', '95', '130', '200'],
  // Relevant to 0 degrees are 1 and 12; to 90 degrees 80, and with grade 2, 130.
  relevant: [
    new Map([
      [0, 1],
      [2, 1],
    ]),
    new Map([
      [3, 1],
      [5, 2],
    ]),
  ],
};

test('recall, MRR and nDCG are what their definitions give', async () => {
  const scores = await evaluateRetrieval(ANGLES, TASK, { recallAt: [1, 2, 3] });
  assert.equal(scores.queries, 2);
  assert.equal(scores.documents, 7);
  // Query 0 finds 0, 1, 2 (ranks 1 and 3 relevant). Query 90 finds 95, 80, 130 (ranks 2 and 3 relevant).
  assert.deepEqual(scores.recall, { 1: (1 / 2 + 0) / 2, 2: (1 / 2 + 1 / 2) / 2, 3: 1 });
  assert.equal(scores.mrr10, (1 + 1 / 2) / 2);
  const first = (1 + 1 / 2) / (1 + 1 / Math.log2(3));
  const second = (1 / Math.log2(3) + 2 / 2) / (2 + 1 / Math.log2(3));
  assert.ok(Math.abs(scores.ndcg10 - (first + second) / 2) < 1e-12);
  assert.deepEqual(Object.keys(flattenScores(scores)), [
    'recall@1',
    'recall@2',
    'recall@3',
    'mrr@10',
    'ndcg@10',
  ]);
});

test('blocks of documents give the same scores, and progress is told', async () => {
  const whole = await evaluateRetrieval(ANGLES, TASK);
  const progress: number[][] = [];
  const parts = await evaluateRetrieval(ANGLES, TASK, {
    block: 2,
    onProgress: (...figures) => progress.push(figures),
  });
  assert.deepEqual(parts, whole);
  assert.deepEqual(progress, [
    [2, 9],
    [4, 9],
    [6, 9],
    [8, 9],
    [9, 9],
  ]);
});

test('documents of one text are ranked in their order, whatever the block', async () => {
  let calls = 0;
  const encoded: string[] = [];
  // As real encoders do, this one gives a text other last bits in another batch.
  const encoder: EncodesTexts = {
    encode(texts) {
      encoded.push(...texts);
      const noise = 1e-7 * ++calls;
      const rows = texts.flatMap((text, row) => [1, text.length + noise * (row + 1)]);
      return Promise.resolve(Tensor.from(Float32Array.from(rows), { shape: [texts.length, 2] }));
    },
  };
  const same = Array.from({ length: 20 }, () => 'one and the same');
  for (const [documents, place] of [
    [same, 3],
    [['far', ...same, 'one and the same, and more'], 10],
  ] as const) {
    for (const block of [1, 4, 20, 8192]) {
      const relevant = [new Map([[place, 1]]), new Map([[place, 1]])];
      const task = { queries: ['one and the SAME', 'one and the SAME'], documents, relevant };
      const rank = documents === same ? place + 1 : place;
      const scores = await evaluateRetrieval(encoder, task, { block, similarity: 'euclidean' });
      assert.equal(scores.mrr10, 1 / rank, `block of ${block}`);
    }
  }
  assert.equal(encoded.length, 4 * (1 + 1) + 4 * (1 + 3), 'every different text is encoded once');
});

test('documents are ranked by the similarity of the model, unless another is asked for', async () => {
  const points: EncodesTexts = {
    encode: (texts) =>
      Promise.resolve(
        Tensor.from(Float64Array.from(texts.flatMap((text) => text.split(',').map(Number))), {
          shape: [texts.length, 2],
        }),
      ),
  };
  // To (1, 1): the first has the best cosine, the second the best product, the third is nearest, the fourth by blocks.
  const task = {
    queries: ['1,1'],
    documents: ['0.1,0.1', '9,0', '1.5,1.6', '1,2.01'],
    relevant: [new Map([[0, 1]])],
  };
  const best = { cosine: 0, dot: 1, euclidean: 2, manhattan: 3 };
  for (const [similarity, document] of Object.entries(best)) {
    const wanted = { ...task, relevant: [new Map([[document, 1]])] };
    const options = { recallAt: [1] };
    const asked = await evaluateRetrieval(points, wanted, {
      ...options,
      similarity: similarity as Similarity,
    });
    const named = await evaluateRetrieval({ ...points, similarity }, wanted, options);
    assert.deepEqual([asked.recall[1], named.recall[1]], [1, 1], similarity);
    const other = similarity === 'dot' ? 'cosine' : 'dot';
    const over = await evaluateRetrieval({ ...points, similarity }, wanted, {
      ...options,
      similarity: other,
    });
    assert.equal(over.recall[1], 0, `${other} over ${similarity}`);
  }
  const unnamed = await evaluateRetrieval({ ...points, similarity: null }, task, { recallAt: [1] });
  assert.equal(unnamed.recall[1], 1, 'cosine where the model names none');
  await assert.rejects(evaluateRetrieval({ ...points, similarity: 'maxsim' }, task), {
    code: 'INPUT',
    message: /similarity_fn_name\) is "maxsim", which is not supported\. .*cosine, dot, euclidean, manhattan/,
  });
});

test('prompts that the model calls query and document are used where no other is asked for', async () => {
  const asked: unknown[] = [];
  const encoder = (prompts?: Record<string, string>): EncodesTexts => ({
    ...(prompts && { prompts }),
    encode(texts, options) {
      asked.push(options?.prompt);
      return ANGLES.encode(texts);
    },
  });
  const used = async (model: EncodesTexts, prompts?: object) => {
    await evaluateRetrieval(model, TASK, { prompts });
    return asked.splice(0);
  };
  assert.deepEqual(await used(encoder({ query: 'q: ', document: 'd: ', other: 'o: ' })), [
    'query',
    'document',
  ]);
  assert.deepEqual(await used(encoder({ passage: 'p: ', corpus: 'c: ' })), ['', 'passage']);
  assert.deepEqual(await used(encoder({ other: 'o: ' })), ['', '']);
  assert.deepEqual(await used(encoder()), [undefined, undefined]);
  const chosen = { query: 'other', document: '' };
  assert.deepEqual(await used(encoder({ query: 'q: ', document: 'd: ', other: 'o: ' }), chosen), [
    'other',
    '',
  ]);
  const plain = encoder();
  const named = (name: string) => (texts: readonly string[], options?: object) => {
    asked.push(name);
    return plain.encode(texts, options);
  };
  const tasks = { encode: named('none'), encodeQuery: named('query'), encodeDocument: named('document') };
  assert.deepEqual(await used(tasks), ['query', undefined, 'document', undefined]);
});

test('a document can be left out of one ranking, and relevant ones can be missing', async () => {
  const relevant = [new Map([[1, 1]]), new Map([[4, 1]])];
  const scores = await evaluateRetrieval(
    ANGLES,
    { ...TASK, relevant, missing: [[2], []], excluded: new Map([[0, 0]]) },
    { recallAt: [1] },
  );
  // Query 0 has lost its nearest, 1, and finds 5; of its relevant documents one, of grade 2, is not there to be found.
  assert.equal(scores.mrr10, 1);
  assert.equal(scores.recall[1], (1 / 2 + 1) / 2);
  assert.ok(Math.abs(scores.ndcg10 - (1 / (2 + 1 / Math.log2(3)) + 1) / 2) < 1e-12);
  // A query can have nothing left to find, and a ranking nothing to list.
  const lost = {
    queries: ['0'],
    documents: ['1'],
    relevant: [new Map()],
    missing: [[1]],
    excluded: new Map([[0, 0]]),
  };
  assert.deepEqual(flattenScores(await evaluateRetrieval(ANGLES, lost, { recallAt: [1] })), {
    'recall@1': 0,
    'mrr@10': 0,
    'ndcg@10': 0,
  });
});

test('prompts go to the side they are for', async () => {
  const turned = { ...TASK, documents: TASK.documents.map((angle) => String(Number(angle) - 40)) };
  assert.deepEqual(
    await evaluateRetrieval(ANGLES, turned, { prompts: { document: '40' } }),
    await evaluateRetrieval(ANGLES, TASK),
  );
});

test('a relevant document beyond rank 10 counts for recall alone', () => {
  const ranking = {
    k: 12,
    documents: Int32Array.from({ length: 12 }, (_, index) => index),
    scores: new Float64Array(12),
  };
  const scores = scoreRanking(ranking, [new Map([[11, 1]])], 12, [10, 12]);
  assert.deepEqual(scores, { queries: 1, documents: 12, recall: { 10: 0, 12: 1 }, mrr10: 0, ndcg10: 0 });
});

test('with more than ten relevant documents the first ten can still be all there is to gain', () => {
  const ranking = {
    k: 10,
    documents: Int32Array.from({ length: 10 }, (_, k) => k),
    scores: new Float64Array(10),
  };
  const relevant = new Map(Array.from({ length: 12 }, (_, document) => [document, 1]));
  assert.equal(scoreRanking(ranking, [relevant], 20, [10]).ndcg10, 1);
  // A k that is asked for twice is counted once.
  assert.deepEqual(
    scoreRanking(ranking, [relevant], 20, [5, 10, 5]).recall,
    scoreRanking(ranking, [relevant], 20, [5, 10]).recall,
  );
});

test('tasks that cannot be scored are refused', async () => {
  const refused: [Partial<RetrievalTask>, string, RegExp][] = [
    [{ queries: [], relevant: [] }, 'INPUT', /at least one of each is needed/],
    [{ documents: [] }, 'INPUT', /at least one of each is needed/],
    [{ relevant: [new Map([[0, 1]])] }, 'SHAPE', /2 queries, but relevant documents for 1/],
    [{ relevant: [new Map([[9, 1]]), new Map([[0, 1]])] }, 'INPUT', /Query 0 names document 9; there are 7/],
    [{ relevant: [new Map([[0, 0]]), new Map([[0, 1]])] }, 'INPUT', /the grade 0; it must be above 0/],
    [{ relevant: [new Map(), new Map([[0, 1]])] }, 'INPUT', /Query 0 has no relevant document/],
  ];
  for (const [changes, code, message] of refused) {
    await assert.rejects(evaluateRetrieval(ANGLES, { ...TASK, ...changes }), { code, message });
  }
  const options: [object, RegExp][] = [
    [{ prompt: 'query' }, /'prompt'/],
    [{ prompts: { queries: 'a' } }, /'queries'/],
    [{ recallAt: [10, 2.5] }, /recallAt is 2.5/],
    [{ recallAt: [0] }, /recallAt is 0/],
  ];
  for (const [wrong, message] of options)
    await assert.rejects(evaluateRetrieval(ANGLES, TASK, wrong), { code: 'INPUT', message });
});
