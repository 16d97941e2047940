/**
 * A reranker: a text encoder becomes a cross-encoder, which reads a query and a document together. Each anchor's positive is
 * to score higher than drawn positives of other rows. Then it ranks documents for a query.
 *
 *     node dist/examples/reranker.js MODEL_FOLDER PAIRS.jsonl OUTPUT_FOLDER
 */
import {
  AdamW,
  batches,
  CrossEncoder,
  crossEncoderRanking,
  GradCache,
  rankingPairs,
  readPairs,
} from 'gradcache';

async function main([folder, pairs, output]: readonly string[]): Promise<void> {
  if (folder === undefined || pairs === undefined || output === undefined)
    throw new Error('usage: reranker.js MODEL_FOLDER PAIRS.jsonl OUTPUT_FOLDER');
  const model = await CrossEncoder.load(folder, { newHead: { labels: 1, seed: 1 } });
  const gradcache = new GradCache({
    encoders: [model],
    loss: crossEncoderRanking(),
    chunk: { tokens: 2048 },
  });
  const optimizer = new AdamW(gradcache.parameters(), { lr: 1e-3 });
  let step = 0;
  let columns: Readonly<Record<string, readonly string[]>> = {};
  for await (const batch of batches(readPairs(pairs), { size: 20, epochs: 3 })) {
    ({ columns } = batch);
    const drawn = rankingPairs([columns.anchor!, columns.positive!], { negatives: 4, seed: step });
    const { loss } = await gradcache.step([model.tokenize(drawn.pairs)], { loss: { lists: drawn.lists } });
    await optimizer.step();
    console.log(`step ${++step}: loss ${loss.toFixed(4)} over ${drawn.pairs.length} pairs`);
  }
  const [query] = columns.anchor!;
  const documents = columns.positive!;
  const ranked = await model.rank(query!, documents, { top: 3 });
  console.log(`${query}: ${ranked.map(({ index }) => documents[index]).join(', ')}`);
  await model.save(output);
}

void main(process.argv.slice(2));
