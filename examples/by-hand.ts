/**
 * The gradient-cache step by hand: what `GradCache.step` does, for a training that needs its own version of it. The program
 * compares its gradients with those of `GradCache.step`.
 *
 *     node dist/examples/by-hand.js MODEL_FOLDER
 */
import { GradCache, infoNCE, planChunks, RepresentationCache, TextEncoder } from 'gradcache';
import type { Chunk, Parameter, ReplayTicket, TokenBatch } from 'gradcache';

const ANCHORS = [
  'a small dog',
  'rain in the mountains',
  'how to bake bread',
  'the night train to Vienna',
  'a broken clock',
];
const POSITIVES = [
  'a puppy',
  'bad weather on the summit',
  'a recipe with flour and yeast',
  'travel by sleeper',
  'what time is it',
];

/** Adds the gradient of the loss over the whole batch to the parameters of the encoder; returns the loss. */
async function stepByHand(model: TextEncoder, batches: readonly TokenBatch[], seed: number): Promise<number> {
  const cache = new RepresentationCache(batches.map((batch) => model.lengths(batch).length));
  const encoded: { tower: number; chunk: Chunk<TokenBatch>; ticket: ReplayTicket }[] = [];

  // 1. Encode every chunk without a graph. Its ticket knows how to repeat it.
  for (const [tower, batch] of batches.entries()) {
    for (const { rows, tokens } of planChunks(model.lengths(batch), { sequences: 2 })) {
      const chunk = { batch, rows, tokens };
      const { representations, ticket } = await model.forwardChunk(chunk, { seed: seed + encoded.length });
      cache.put(tower, rows, representations);
      representations.dispose();
      encoded.push({ tower, chunk, ticket });
    }
  }
  // 2. Compute the loss over all representations, and its gradient with respect to each of them.
  const loss = await cache.compute(infoNCE({ temperature: 0.05 }));
  // 3. Encode every chunk again with a graph. Its backward begins with its rows of the cache.
  for (const { tower, chunk, ticket } of encoded) {
    const gradients = cache.gradients(tower, chunk.rows);
    await model.backwardChunk(chunk, ticket, gradients);
    gradients.dispose();
  }
  cache.dispose();
  return loss;
}

/** The largest difference between two lists of gradients, as a part of the largest gradient. */
function difference(first: readonly number[], second: readonly number[]): number {
  const largest = Math.max(...first.map(Math.abs));
  return Math.max(...first.map((value, index) => Math.abs(value - second[index]!))) / largest;
}

/** The sum of the absolute gradients of each parameter. It also sets them to zero. */
function takeGradients(parameters: readonly Parameter[]): number[] {
  return parameters.map(({ tensor }) => {
    const gradient = tensor.grad!;
    const values = gradient.valuesSync() as Float32Array;
    const sum = values.reduce((total, value) => total + Math.abs(value), 0);
    const zero = gradient.mul(0);
    gradient.copyFrom(zero);
    zero.dispose();
    gradient.dispose();
    return sum;
  });
}

async function main([folder]: readonly string[]): Promise<void> {
  if (folder === undefined) throw new Error('usage: by-hand.js MODEL_FOLDER');
  const model = await TextEncoder.load(folder, { dropout: 0 });
  const batches = [await model.tokenize(ANCHORS), await model.tokenize(POSITIVES)];

  const byHand = await stepByHand(model, batches, 1);
  const gradientsByHand = takeGradients(model.parameters());
  const gradcache = new GradCache({ encoders: [model, model], loss: infoNCE({ temperature: 0.05 }) });
  const { loss } = await gradcache.step(batches);
  const gradients = takeGradients(model.parameters());

  console.log(`by hand: loss ${byHand.toFixed(6)}; by GradCache.step: loss ${loss.toFixed(6)}`);
  console.log(
    `the gradients differ by ${difference(gradients, gradientsByHand).toExponential(1)} of the largest`,
  );
}

void main(process.argv.slice(2));
