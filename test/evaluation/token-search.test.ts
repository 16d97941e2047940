import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluateRetrieval, Tensor, type TokenRepresentations } from '../../lib/index.js';
import { searchTokens } from '../../lib/evaluation/token-search.js';

const random = (i: number, seed: number): number =>
  Math.abs((Math.sin(i * 12.9898 + seed * 78.233) * 43758.5453) % 1);

/** Vectors of texts with up to `longest` tokens. */
function vectors(seed: number, texts: number, longest: number, dimension = 4): number[][][] {
  return Array.from({ length: texts }, (_, text) =>
    Array.from({ length: 1 + Math.floor(random(text, seed) * longest) }, (_, token) =>
      Array.from({ length: dimension }, (_, k) => random(1000 + text * 97 + token * 11 + k, seed) - 0.5),
    ),
  );
}

function packed(texts: readonly number[][][]): TokenRepresentations {
  const rows = texts.flat();
  const offsets = new Int32Array(texts.length + 1);
  for (const [k, tokens] of texts.entries()) offsets[k + 1] = offsets[k]! + tokens.length;
  const shape = [rows.length, rows[0]!.length];
  return { representations: Tensor.from(Float32Array.from(rows.flat()), { shape }), offsets };
}

async function* blocks(texts: readonly number[][][], size: number): AsyncGenerator<TokenRepresentations> {
  for (let begin = 0; begin < texts.length; begin += size) yield packed(texts.slice(begin, begin + size));
}

/** The score by its definition, from the same float32 numbers. */
function score(query: number[][], document: number[][], mean: boolean): number {
  const product = (a: number[], b: number[]): number =>
    a.reduce((sum, x, k) => sum + Math.fround(x) * Math.fround(b[k]!), 0);
  const sum = query.reduce(
    (all, token) => all + Math.max(...document.map((other) => product(token, other))),
    0,
  );
  return mean ? sum / query.length : sum;
}

test('the best documents are those of the definition, whatever the blocks', async () => {
  const queries = vectors(1, 23, 9);
  const documents = vectors(2, 310, 40);
  documents[200] = documents[7]!; // equal documents are listed in their order
  for (const similarity of ['maxsim', 'meanmaxsim'] as const)
    for (const size of [310, 41, 1]) {
      const found = await searchTokens(packed(queries), blocks(documents, size), { k: 12, similarity });
      for (const [row, query] of queries.entries()) {
        const scores = documents.map((document) =>
          Math.fround(score(query, document, similarity !== 'maxsim')),
        );
        const order = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b).slice(0, 12);
        assert.deepEqual([...found.documents.subarray(row * 12, row * 12 + 12)], order, `query ${row}`);
        for (const [place, document] of order.entries())
          assert.ok(Math.abs(found.scores[row * 12 + place]! - scores[document]!) < 1e-6);
      }
    }
});

/** Each word of a text is a token: a vector that follows from its letters. */
const words = {
  perToken: true,
  similarity: null as string | null,
  asked: [] as unknown[],
  async encodeTokens(texts: readonly string[], options: object): Promise<TokenRepresentations> {
    this.asked.push(options);
    return packed(
      texts.map((text) =>
        text.split(' ').map((word) => {
          const angle = [...word].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7) % 6283;
          return [Math.cos(angle / 1000), Math.sin(angle / 1000)];
        }),
      ),
    );
  },
} as const;

const TASK = {
  queries: ['red fish', 'blue bird', 'red fish'],
  documents: ['a bird', 'a fish that is red', 'the sea', 'blue bird of the sea', 'nothing'],
  relevant: [new Map([[1, 1]]), new Map([[3, 1]]), new Map([[1, 1]])],
};

test('retrieval of a model with a representation for each token asks for queries and documents', async () => {
  words.asked.length = 0;
  const progress: number[] = [];
  const scores = await evaluateRetrieval(words, TASK, {
    recallAt: [1],
    block: 2,
    onProgress: (done) => progress.push(done),
  });
  assert.deepEqual([scores.recall[1], scores.mrr10], [1, 1]);
  assert.deepEqual(
    words.asked.map((options) => (options as { task: string }).task),
    ['query', 'document', 'document', 'document'],
  );
  assert.deepEqual(progress, [2, 4, 6, 7]);
  const mean = await evaluateRetrieval({ ...words, similarity: 'meanmaxsim' }, TASK, { recallAt: [1] });
  assert.equal(mean.ndcg10, scores.ndcg10);
});

test('what does not fit is refused', async () => {
  const encoder = (encodeTokens: () => unknown) => ({ perToken: true, encodeTokens }) as never;
  for (const [run, error] of [
    [() => evaluateRetrieval(words, TASK, { similarity: 'cosine' }), { code: 'INPUT', message: /maxsim/ }],
    [() => evaluateRetrieval(words, TASK, { dimensions: 1 }), { code: 'INPUT', message: /dimensions/ }],
    [() => evaluateRetrieval({ perToken: true } as never, TASK), { code: 'INPUT', message: /encode/ }],
    [
      () =>
        evaluateRetrieval(
          encoder(() => Tensor.from([1])),
          TASK,
        ),
      { code: 'INPUT', message: /encodeTokens/ },
    ],
    [
      () =>
        evaluateRetrieval(
          encoder(() => packed(vectors(1, 5, 3))),
          TASK,
        ),
      { code: 'SHAPE', message: /6 offsets .* 2 texts/ },
    ],
    [
      () =>
        evaluateRetrieval(
          encoder(async (...[texts]: unknown[]) => packed((texts as string[]).map(() => [[NaN, 1]]))),
          TASK,
        ),
      { code: 'NON_FINITE', message: /query 0 and document 0/ },
    ],
  ] as const)
    await assert.rejects(run, error);
});
