/** Texts that are to find their translations, and representations that are to be a teacher's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { evaluateMse } from '../../lib/evaluation/mse.js';
import { evaluateTranslation } from '../../lib/evaluation/translation.js';
import { Tensor } from '../../lib/tensor/tensor.js';

/** An encoder of texts such as '1 0', which counts what it encodes. */
function counting() {
  const encoded: string[] = [];
  return {
    encoded,
    encode: (texts: readonly string[]) => {
      encoded.push(...texts);
      const numbers = texts.flatMap((text) => text.split(' ').slice(0, 2).map(Number));
      return Promise.resolve(Tensor.from(numbers, { shape: [texts.length, 2] }));
    },
  };
}

test('the nearest text is right where it reads as the translation, and of equally near ones the first is taken', async () => {
  const encoder = counting();
  const task = {
    source: ['1 0 a', '0 1 b', '1 1 c', '1 0 a'],
    target: ['1 0 A', '0 1 B', '1 0 C', '1 0 A'],
  };
  const scores = await evaluateTranslation(encoder, task, { similarity: 'cosine' });
  // '1 1 c' is as near to A, B and C: A is taken. Of the targets, C finds a.
  assert.deepEqual(scores, { pairs: 4, sourceToTarget: 0.75, targetToSource: 0.75, accuracy: 0.75 });
  assert.deepEqual(encoder.encoded.toSorted(), [...new Set([...task.source, ...task.target])].sort());
});

test('lists that do not go together are refused', async () => {
  const encoder = counting();
  const refused = (source: string[], target: string[]) =>
    assert.rejects(evaluateTranslation(encoder, { source, target }), { code: 'SHAPE' });
  await refused([], []);
  await refused(['1 0'], ['1 0', '0 1']);
  await assert.rejects(evaluateTranslation(encoder, { source: ['1 NaN'], target: ['0 1'] }), {
    code: 'NON_FINITE',
  });
});

test('the mean squared error against a teacher, also of the first numbers alone', async () => {
  const encoder = counting();
  const texts = ['1 2', '3 4'];
  using representations = Tensor.from([1, 2, 3, 8], { shape: [2, 2] });
  assert.deepEqual(await evaluateMse(encoder, { texts, representations }), { texts: 2, mse: 4 });
  const cut = {
    encode: async (list: readonly string[]) => {
      using whole = await encoder.encode(list);
      return whole.narrow(1, 0, 1).clone();
    },
  };
  assert.deepEqual(await evaluateMse(cut, { texts, representations }, { dimensions: 1 }), {
    texts: 2,
    mse: 0,
  });
  for (const [shape, message] of [
    [[4, 1], /has shape \[4,1\], and those of 2 texts to compare with have \[2,2\]/],
    [[1, 4], /has shape \[1,4\]/],
    [[4], /has shape \[4\]/],
  ] as const) {
    using other = Tensor.from([1, 2, 3, 8], { shape: [...shape] });
    await assert.rejects(evaluateMse(encoder, { texts, representations: other }), { code: 'SHAPE', message });
  }
  using infinite = Tensor.from([1, 2, 3, Infinity], { shape: [2, 2] });
  await assert.rejects(evaluateMse(encoder, { texts, representations: infinite }), { code: 'NON_FINITE' });
});
