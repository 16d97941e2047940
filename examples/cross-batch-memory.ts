/**
 * Fine-tuning with a memory: the positives of earlier batches are candidates too, encoded by a copy of the model that
 * follows it slowly. `gradcache train --memory 4096 --memory-momentum 0.999` does the same.
 *
 *     node dist/examples/cross-batch-memory.js MODEL_FOLDER PAIRS.jsonl
 */
import {
  AdamW,
  batches,
  crossBatchMemory,
  GradCache,
  infoNCE,
  MomentumEncoder,
  readPairs,
  TextEncoder,
} from 'gradcache';

async function main([folder, pairs]: readonly string[]): Promise<void> {
  if (folder === undefined || pairs === undefined)
    throw new Error('usage: cross-batch-memory.js MODEL_FOLDER PAIRS.jsonl');
  const model = await TextEncoder.load(folder);
  const copy = await TextEncoder.load(folder, { dropout: 0 }); // what is kept is not disturbed by masks
  const momentum = new MomentumEncoder(model, copy, { momentum: 0.99 });
  // Tower 2 is the slow encoder's: the memory keeps its representations, and the loss of a batch does not see them.
  const memory = crossBatchMemory(infoNCE(), { capacity: 4096, tower: 2, joins: false });
  const gradcache = new GradCache({ encoders: [model, model, momentum], loss: memory });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5 });
  const rows = readPairs(pairs, { columns: ['anchor', 'positive'] });
  let step = 0;
  for await (const { columns } of batches(rows, { size: 32, epochs: 2, uniqueTexts: true, dropLast: true })) {
    const positives = await model.tokenize(columns.positive);
    const inputs = [await model.tokenize(columns.anchor), positives, positives];
    // Rows of the memory that share a text with the batch are left out: they would be an anchor's own positive.
    const ids = columns.anchor.map((anchor, row) => [anchor, columns.positive[row]!]);
    const size = memory.size;
    const { loss } = await gradcache.step(inputs, { loss: { ids } });
    await optimizer.step();
    await momentum.update();
    console.log(`step ${++step}: loss ${loss.toFixed(4)} against the batch and ${size} of earlier ones`);
  }
}

void main(process.argv.slice(2));
