/**
 * Batches that are judged by their representations before they train (Welle et al. 2021): pairs whose texts have nothing in
 * common are left out, and a batch with too few others is drawn again.
 *
 *     node dist/examples/curated-batches.js MODEL_FOLDER PAIRS.jsonl
 */
import { AdamW, batches, GradCache, infoNCE, readPairs, TextEncoder } from 'gradcache';
import type { AnyEncoder, Tensor, Verdict } from 'gradcache';

/** Keeps the pairs whose cosine is above 0, if they are at least half of the batch. */
async function judge([anchors, positives]: readonly Tensor[]): Promise<Verdict> {
  const cosines = anchors!.normalize().mul(positives!.normalize()).sum(1);
  const values = [...((await cosines.values()) as Float32Array)];
  cosines.dispose();
  const keep = [...values.keys()].filter((row) => values[row]! > 0);
  return keep.length < values.length / 2 ? 'redraw' : { keep };
}

async function main([folder, pairs]: readonly string[]): Promise<void> {
  if (folder === undefined || pairs === undefined)
    throw new Error('usage: curated-batches.js MODEL_FOLDER PAIRS.jsonl');
  const model = await TextEncoder.load(folder);
  const encoders: AnyEncoder[] = [model, model];
  const gradcache = new GradCache({ encoders, loss: infoNCE(), curate: judge });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 2e-5 });
  const rows = readPairs(pairs, { columns: ['anchor', 'positive'] });
  const queue = batches(rows, { size: 20, epochs: 2, uniqueTexts: true, dropLast: true })[
    Symbol.asyncIterator
  ]();

  /** The next batch of the data, tokenised; null at its end. */
  async function next() {
    const result = await queue.next();
    if (result.done === true) return null;
    const { columns } = result.value;
    return [await model.tokenize(columns.anchor), await model.tokenize(columns.positive)];
  }
  async function redraw() {
    const inputs = await next();
    if (inputs === null) throw new Error('the data ended with batches that were refused');
    return { inputs };
  }
  for (let step = 1, inputs = await next(); inputs !== null; step++, inputs = await next()) {
    const { loss, pairs, leftOut, redrawn } = await gradcache.step(inputs, { redraw });
    await optimizer.step();
    console.log(
      `step ${step}: loss ${loss.toFixed(4)} of ${pairs} pairs, without ${leftOut}; ${redrawn} batches refused`,
    );
  }
}

void main(process.argv.slice(2));
