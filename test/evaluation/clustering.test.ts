import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  clusteringAccuracy,
  evaluateClustering,
  kMeans,
  normalizedMutualInformation,
  readClustering,
  Tensor,
} from '../../lib/index.js';
import { gradcache } from '../cli/program.js';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';

/** All orders of the numbers below `count`. */
function orders(count: number): number[][] {
  if (count === 0) return [[]];
  return orders(count - 1).flatMap((order) =>
    Array.from({ length: count }, (_, place) => [...order.slice(0, place), count - 1, ...order.slice(place)]),
  );
}

test('accuracy is the best of all assignments of clusters to classes', () => {
  let state = 7;
  const draw = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % limit;
  };
  for (const [clusters, classes] of [
    [4, 4],
    [3, 5],
    [5, 3],
    [1, 4],
    [4, 1],
  ] as const) {
    const width = Math.max(clusters, classes);
    for (let trial = 0; trial < 5; trial++) {
      const found = Array.from({ length: 40 }, () => draw(clusters));
      const labels = Array.from({ length: 40 }, () => draw(classes));
      const best = Math.max(
        ...orders(width).map(
          (order) => found.filter((cluster, row) => order[cluster] === labels[row]).length / 40,
        ),
      );
      const named = labels.map((label) => `class ${label}`);
      assert.ok(Math.abs(clusteringAccuracy(found, named) - best) < 1e-12, `${clusters} and ${classes}`);
    }
  }
});

test('normalized mutual information is mutual information by the mean entropy', () => {
  // The definition: arithmetic mean of the entropies.
  const cases: [number[], number[], number][] = [
    [[0, 0, 1, 1], [1, 1, 0, 0], 1],
    [[0, 0, 1, 1], [0, 1, 0, 1], 0],
    [[0, 0, 0, 0], [2, 2, 2, 2], 1],
    [[0, 0, 0, 0], [0, 1, 2, 3], 0],
    [
      [0, 0, 0, 1, 1, 1],
      [0, 0, 1, 1, 1, 1],
      byHand([
        [2, 1],
        [0, 3],
      ]),
    ],
  ];
  for (const [clusters, classes, expected] of cases)
    assert.ok(Math.abs(normalizedMutualInformation(clusters, classes) - expected) < 1e-12, clusters.join());
  for (const wrong of [() => normalizedMutualInformation([1], [1, 2]), () => clusteringAccuracy([], [])])
    assert.throws(wrong, { code: 'SHAPE' });
  assert.throws(() => clusteringAccuracy(3 as never, [1]), { code: 'INPUT' });
});

/** H(clusters) + H(classes) - H(both), by the mean of the first two. */
function byHand(table: number[][]): number {
  const all = table.flat().reduce((sum, count) => sum + count);
  const entropy = (counts: number[]) =>
    -counts
      .filter((count) => count > 0)
      .reduce((sum, count) => sum + (count / all) * Math.log(count / all), 0);
  const first = entropy(table.map((row) => row.reduce((sum, count) => sum + count)));
  const second = entropy(table[0]!.map((_, column) => table.reduce((sum, row) => sum + row[column]!, 0)));
  return (first + second - entropy(table.flat())) / ((first + second) / 2);
}

/** Points around corners, so near that the clusters are beyond doubt. */
function corners(count: number, dtype: 'float32' | 'float64'): { rows: Tensor; classes: number[] } {
  const places = [
    [0, 0],
    [10, 0],
    [0, 10],
    [10, 10],
  ] as const;
  const classes = Array.from({ length: count }, (_, row) => (row % 7) % 4);
  const values = classes.flatMap((corner, row) => [
    places[corner]![0] + Math.sin(row),
    places[corner]![1] + Math.cos(3 * row),
  ]);
  return { rows: Tensor.from(values, { shape: [count, 2], dtype }), classes };
}

test('k-means finds clusters, their means and their distances; the same seed finds the same', async () => {
  for (const dtype of ['float32', 'float64'] as const) {
    const { rows, classes } = corners(90, dtype);
    const { labels, centres, inertia } = await kMeans(rows, 4, { seed: 1 });
    assert.equal(clusteringAccuracy(labels, classes), 1);
    const points = [...((await rows.values()) as Float64Array)];
    const found = [...((await centres.values()) as Float64Array)];
    let sum = 0;
    for (let cluster = 0; cluster < 4; cluster++) {
      const own = classes.map((_, row) => row).filter((row) => labels[row] === cluster);
      const mean = [0, 1].map(
        (axis) => own.reduce((total, row) => total + points[2 * row + axis]!, 0) / own.length,
      );
      for (const axis of [0, 1]) assert.ok(Math.abs(found[2 * cluster + axis]! - mean[axis]!) < 1e-5);
      for (const row of own)
        sum += [0, 1].reduce((total, axis) => total + (points[2 * row + axis]! - mean[axis]!) ** 2, 0);
    }
    assert.ok(Math.abs(sum - inertia) < 1e-3 * sum);
    assert.deepEqual((await kMeans(rows, 4, { seed: 1 })).labels, labels);
  }
});

test('as many clusters as rows have a row each, also where rows are the same', async () => {
  const rows = Tensor.from([1, 1, 1, 5, 9, 9], { shape: [6, 1], dtype: 'float64' });
  const { labels, inertia } = await kMeans(rows, 3, { seed: 2 });
  assert.equal(inertia, 0);
  assert.equal(clusteringAccuracy(labels, [1, 1, 1, 5, 9, 9]), 1);
  const { centres } = await kMeans(rows, 6);
  assert.deepEqual(centres.shape, [6, 1]);
  await assert.rejects(kMeans(rows, 7), { code: 'SHAPE' });
  await assert.rejects(kMeans(rows, 0), { code: 'INPUT' });
  await assert.rejects(kMeans(Tensor.from([NaN, 1], { shape: [2, 1], dtype: 'float64' }), 1), {
    code: 'NON_FINITE',
  });
  const aborted = AbortSignal.abort();
  await assert.rejects(kMeans(rows, 2, { signal: aborted }), { code: 'ABORTED' });
});

test('evaluation clusters what the model encodes', async () => {
  const classes = ['a', 'b', 'c'];
  const texts = Array.from({ length: 30 }, (_, row) => `${classes[row % 3]} ${row}`);
  const encoder = {
    encode: async (list: readonly string[]) =>
      Tensor.from(
        list.flatMap((text) => classes.map((name) => (text.startsWith(name) ? 5 : 0) + text.length / 100)),
        {
          shape: [list.length, 3],
          dtype: 'float32',
        },
      ),
  };
  const labels = texts.map((text) => text[0]!);
  const scores = await evaluateClustering(encoder, { texts, labels });
  assert.deepEqual(
    { ...scores, nmi: Math.round(scores.nmi * 1e9) / 1e9 },
    { texts: 30, clusters: 3, accuracy: 1, nmi: 1 },
  );
  const two = await evaluateClustering(encoder, { texts, labels }, { clusters: 2 });
  assert.ok(Math.abs(two.accuracy - 2 / 3) < 1e-12);
  await assert.rejects(evaluateClustering(encoder, { texts, labels: ['a'] }), { code: 'SHAPE' });
  const idle = { encode: () => assert.fail('nothing is encoded for options that are wrong') };
  for (const wrong of [{ clusters: 0 }, { clusters: 31 }, { seed: -1 }])
    await assert.rejects(evaluateClustering(idle, { texts, labels }, wrong), { code: 'INPUT' });
});

test('gradcache evaluate --task clustering reads a file of text and label', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const rows = pairs(24).map(({ anchor }, row) => ({ text: anchor, label: row % 4 }));
  const data = await writeRows(join(folder, 'labelled.jsonl'), rows);
  assert.deepEqual(await readClustering(data), {
    texts: rows.map(({ text }) => text),
    labels: rows.map(({ label }) => String(label)),
  });
  const args = ['evaluate', '--model', model, '--data', data, '--task', 'clustering', '--device', 'cpu'];
  const { code, stdout, stderr } = await gradcache([...args, '--json']);
  assert.equal(code, 0, stderr);
  const result = JSON.parse(stdout) as Record<string, number | string>;
  assert.deepEqual(Object.keys(result), ['task', 'texts', 'clusters', 'accuracy', 'nmi']);
  assert.deepEqual([result.task, result.texts, result.clusters], ['clustering', 24, 4]);
  const five = await gradcache([...args, '--clusters', '5', '--seed', '3']);
  assert.match(five.stdout, /clusters +5\naccuracy +0\.\d{4}\nnmi +0\.\d{4}/);
  for (const wrong of [
    ['--similarity', 'dot'],
    ['--recall-at', '5'],
    ['--columns', 'a,b,c'],
  ]) {
    const refused = await gradcache([...args, ...wrong]);
    assert.equal(refused.code, 2, wrong.join(' '));
  }
  const sts = await gradcache([
    'evaluate',
    '--model',
    model,
    '--data',
    data,
    '--task',
    'sts',
    '--clusters',
    '3',
  ]);
  assert.match(sts.stderr, /--clusters is for --task clustering/);
});
