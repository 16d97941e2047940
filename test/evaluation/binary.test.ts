import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { evaluateBinary } from '../../lib/evaluation/binary.js';
import type { EncodesTexts } from '../../lib/evaluation/encode-texts.js';
import { readBinary, readTriplets } from '../../lib/evaluation/tasks.js';
import { evaluateTriplets } from '../../lib/evaluation/triplets.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { temporaryFolder } from '../training/support.js';

/** An encoder of texts that are angles in degrees. Counts the texts. */
function angles(): EncodesTexts & { texts: number } {
  const encoder: EncodesTexts & { texts: number } = {
    texts: 0,
    encode(texts) {
      encoder.texts += texts.length;
      const points = texts.flatMap((text) => {
        const angle = (Number(text) * Math.PI) / 180;
        return [Math.cos(angle), Math.sin(angle)];
      });
      return Promise.resolve(Tensor.from(Float64Array.from(points), { shape: [texts.length, 2] }));
    },
  };
  return encoder;
}

const cosine = (angle: number): number => Math.cos((angle * Math.PI) / 180);

test('binary pairs: measures by the best thresholds, each text encoded once', async () => {
  const encoder = angles();
  const second = ['10', '20', '30', '40', '50'];
  const task = { first: second.map(() => '0'), second, labels: [1, 0, 1, 1, 0] };
  const scores = await evaluateBinary(encoder, task);
  assert.equal(encoder.texts, 6);
  assert.equal(scores.accuracy, 4 / 5); // all but the one at 20 degrees
  assert.ok(Math.abs(scores.accuracyThreshold - (cosine(40) + cosine(50)) / 2) < 1e-12);
  assert.deepEqual([scores.precision, scores.recall], [3 / 4, 1]);
  assert.ok(Math.abs(scores.f1 - 6 / 7) < 1e-12);
  assert.ok(Math.abs(scores.ap - (1 + 2 / 3 + 3 / 4) / 3) < 1e-12);
  assert.ok(Math.abs(scores.mcc - 3 / Math.sqrt(4 * 3 * 2)) < 1e-12);
});

test('binary pairs: equal scores are told apart by no threshold', async () => {
  const task = { first: ['0', '0', '0'], second: ['10', '10', '50'], labels: [1, 0, 0] };
  const { accuracy, accuracyThreshold, precision, recall } = await evaluateBinary(angles(), task);
  assert.equal(accuracy, 2 / 3);
  // None counts as belonging together: the threshold is above all, and JSON has it.
  assert.ok(Math.abs(accuracyThreshold - cosine(10)) < 1e-12);
  assert.deepEqual([precision, recall], [1 / 2, 1]);
});

test('triplets: the positive must score more, by the margin', async () => {
  const encoder = angles();
  const task = { anchors: ['0', '0', '90'], positives: ['10', '30', '60'], negatives: ['20', '30', '80'] };
  assert.deepEqual(await evaluateTriplets(encoder, task), { triplets: 3, accuracy: 1 / 3 });
  assert.equal(encoder.texts, 7); // anchors are queries and the others documents, each different text once
  assert.equal((await evaluateTriplets(angles(), task, { margin: 0.1 })).accuracy, 0);
  assert.equal((await evaluateTriplets(angles(), task, { margin: -0.5 })).accuracy, 1);
});

test('what cannot be measured is refused', async () => {
  const pair = { first: ['0', '1'], second: ['1', '2'] };
  for (const [labels, message] of [
    [[1, 2], /labels is 2; a list of labels, 0 or 1/],
    [[1, 1], /All 2 labels are alike/],
    [undefined, /labels is undefined/],
  ] as const)
    await assert.rejects(evaluateBinary(angles(), { ...pair, labels } as never), { code: 'INPUT', message });
  await assert.rejects(evaluateBinary(angles(), { ...pair, labels: [1, 0, 1] }), { code: 'SHAPE' });
  await assert.rejects(evaluateBinary(angles(), { ...pair, labels: [1, 0] }, { promt: '' } as never), {
    code: 'INPUT',
    message: /^evaluateBinary knows no option 'promt'/,
  });
  const short = { anchors: ['0'], positives: [], negatives: ['1'] };
  await assert.rejects(evaluateTriplets(angles(), short), { code: 'SHAPE' });
});

test('files of triplets and of binary pairs', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'triplets.csv');
  await writeFile(path, 'q,p,n\n1,2,3\n');
  const columns = ['q', 'p', 'n'];
  assert.deepEqual(await readTriplets(path, { columns }), {
    anchors: ['1'],
    positives: ['2'],
    negatives: ['3'],
  });
  const pairs = join(folder, 'pairs.jsonl');
  await writeFile(
    pairs,
    '{"sentence1":"a","sentence2":"b","label":1}\n{"sentence1":"a","sentence2":"c","label":"0"}\n',
  );
  assert.deepEqual(await readBinary(pairs), { first: ['a', 'a'], second: ['b', 'c'], labels: [1, 0] });
  await writeFile(pairs, '{"sentence1":"a","sentence2":"b","label":0.5}\n');
  await assert.rejects(readBinary(pairs), {
    code: 'INPUT',
    message: /line 1: it has the label "0\.5".*not 0 or 1/,
  });
});
