/**
 * A loss of your own: any function of the representations that returns one number. Here a hinge: the cosine of a pair is
 * to exceed that of every other pairing by a margin, which is passed through `step` and grows during training.
 *
 *     node dist/examples/custom-loss.js MODEL_FOLDER PAIRS.jsonl
 */
import { AdamW, batches, call, GradCache, readPairs, TextEncoder } from 'gradcache';
import type { LossOptions, Tensor } from 'gradcache';

/** Mean over all wrong pairings of how far they come within `margin` of the right one; anchors and positives are [n, d]. */
function hinge(anchors: Tensor, positives: Tensor, { margin }: LossOptions): Tensor {
  const cosines = anchors.normalize().matmul(positives.normalize().t()); // [n, n], right pairs on the diagonal
  const right = call('aten::diagonal', cosines).reshape([-1, 1]); // [n, 1]
  const excess = cosines.sub(right).add(Number(margin)).relu(); // the diagonal holds the margin itself
  const wrong = excess.sub(call('aten::diag', call('aten::diagonal', excess)));
  return wrong.mean();
}

async function main([folder, pairs]: readonly string[]): Promise<void> {
  if (folder === undefined || pairs === undefined)
    throw new Error('usage: custom-loss.js MODEL_FOLDER PAIRS.jsonl');
  const model = await TextEncoder.load(folder);
  const gradcache = new GradCache({ encoders: [model, model], loss: hinge, chunk: { tokens: 2048 } });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 1e-4 });
  let step = 0;
  for await (const { columns } of batches(readPairs(pairs), { size: 256, epochs: 2 })) {
    const inputs = [model.tokenize(columns.anchor!), model.tokenize(columns.positive!)];
    const { loss } = await gradcache.step(inputs, { loss: { margin: Math.min(0.3, 0.1 + 0.02 * step) } });
    await optimizer.step();
    console.log(`step ${++step}: loss ${loss.toFixed(4)}`);
  }
}

void main(process.argv.slice(2));
