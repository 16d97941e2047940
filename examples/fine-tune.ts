/**
 * Fine-tunes a model folder on a file of pairs: the ten lines of the README.
 *
 *     node dist/examples/fine-tune.js MODEL_FOLDER PAIRS.jsonl OUTPUT_FOLDER [PAIRS_IN_A_BATCH]
 */
import { AdamW, batches, GradCache, infoNCE, readPairs, TextEncoder } from 'gradcache';

async function main([folder, pairs, output, size = '1024']: readonly string[]): Promise<void> {
  if (folder === undefined || pairs === undefined || output === undefined) {
    throw new Error('usage: fine-tune.js MODEL_FOLDER PAIRS.jsonl OUTPUT_FOLDER [PAIRS_IN_A_BATCH]');
  }
  const model = await TextEncoder.load(folder, { device: 'cpu' });
  const optimizer = new AdamW(model.parameters(), { lr: 2e-5, maxGradNorm: 1 });
  const gradcache = new GradCache({
    encoders: [model, model], // the same object twice: one encoder for both towers
    loss: infoNCE({ temperature: 0.05 }),
    chunk: 'auto',
  });
  const rows = readPairs(pairs, { columns: ['anchor', 'positive'] });
  // dropLast: in a last batch of a few pairs, each would have few negatives.
  const all = batches(rows, { size: Number(size), seed: 1, uniqueTexts: true, dropLast: true });
  for await (const { columns } of all) {
    const { loss } = await gradcache.step([model.tokenize(columns.anchor), model.tokenize(columns.positive)]);
    const { gradNorm } = await optimizer.step();
    console.log(`loss ${loss.toFixed(4)}, norm of the gradients ${gradNorm.toFixed(2)}`);
  }
  await model.save(output);
}

void main(process.argv.slice(2));
