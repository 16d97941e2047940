/**
 * SCCL (Zhang et al. 2021): clusters short texts, and learns representations that have clusters. The labels of the file are
 * for measuring alone.
 *
 *     node dist/examples/sccl.js MODEL_FOLDER LABELLED.csv OUTPUT_FOLDER [STEPS] [TEXTS_IN_A_BATCH]
 */
import {
  AdamW,
  batches,
  clusteringAccuracy,
  GradCache,
  kMeans,
  normalizedMutualInformation,
  readClustering,
  sccl,
  TextEncoder,
} from 'gradcache';
import type { Tensor } from 'gradcache';

async function main([folder, file, output, steps = '1000', size = '400']: readonly string[]): Promise<void> {
  if (folder === undefined || file === undefined || output === undefined)
    throw new Error('usage: sccl.js MODEL_FOLDER LABELLED.csv OUTPUT_FOLDER [STEPS] [TEXTS_IN_A_BATCH]');
  const model = await TextEncoder.load(folder);
  const { texts, labels } = await readClustering(file);
  const report = (when: string, clusters: Int32Array) => {
    const [accuracy, nmi] = [clusteringAccuracy, normalizedMutualInformation].map((score) =>
      score(clusters, labels),
    );
    console.log(`${when}: accuracy ${accuracy!.toFixed(4)}, mutual information ${nmi!.toFixed(4)}`);
  };
  const start = await kMeans(await model.encode(texts), new Set(labels).size);
  report('k-means', start.labels);

  // Both views are the same text under two masks of dropout.
  const loss = sccl({ centres: start.centres });
  const gradcache = new GradCache({ encoders: [model, model], loss });
  const optimizer = new AdamW(
    [{ parameters: model.parameters() }, { parameters: loss.parameters(), lrScale: 100 }],
    { lr: 1e-5, weightDecay: 0 },
  );
  const rows = texts.map((text) => ({ text }));
  let step = 0;
  for await (const { columns } of batches(rows, {
    size: Number(size),
    epochs: Number(steps),
    seed: 1,
    dropLast: true,
  })) {
    const inputs = await model.tokenize(columns.text);
    const result = await gradcache.step([inputs, inputs]);
    await optimizer.step();
    console.log(`step ${++step}: loss ${result.loss.toFixed(4)}`);
    if (step === Number(steps)) break;
  }
  report('SCCL', await nearest(loss.clusters(await model.encode(texts))));
  await model.save(output);
}

/** The most probable cluster of each row. */
async function nearest(probabilities: Tensor): Promise<Int32Array> {
  const [rows, clusters] = probabilities.shape as [number, number];
  const values = [...((await probabilities.values()) as Float32Array)];
  return Int32Array.from({ length: rows }, (_, row) => {
    const own = values.slice(row * clusters, (row + 1) * clusters);
    return own.indexOf(Math.max(...own));
  });
}

void main(process.argv.slice(2));
