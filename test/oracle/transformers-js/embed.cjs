// Reads { packages, folders, texts } from standard input and writes what transformers.js gives for the texts with each folder:
// { inputs, embeddings, pooled }, the second output of the graph and, where asked for, its own pooling of the first.
const { createRequire } = require('node:module');
const { basename, dirname, join } = require('node:path');
const { readFileSync } = require('node:fs');
const process = require('node:process');

async function main({ packages, folders, texts }) {
  const transformers = createRequire(join(packages, 'package.json'))('@huggingface/transformers');
  const { AutoConfig, AutoModel, AutoTokenizer, env, pipeline, PreTrainedModel } = transformers;
  env.allowRemoteModels = false;
  const results = [];
  for (const { folder, dtype, pooling } of folders) {
    env.localModelPath = dirname(folder);
    const name = basename(folder);
    const tokenizer = await AutoTokenizer.from_pretrained(name);
    // Of T5 its AutoModel wants a decoder as well.
    const { model_type: type } = await AutoConfig.from_pretrained(name);
    const model = await (type === 't5' ? PreTrainedModel : AutoModel).from_pretrained(name, { dtype });
    const inputs = await tokenizer(texts, { padding: true });
    const { sentence_embedding: embeddings } = await model(inputs);
    let pooled = null;
    if (pooling !== undefined) {
      const extract = await pipeline('feature-extraction', name, { dtype });
      pooled = Array.from((await extract(texts, { pooling, normalize: true })).data);
    }
    const rows = inputs.input_ids.tolist().map((row) => row.map(Number));
    const mask = inputs.attention_mask.tolist();
    const ids = rows.map((row, text) => row.filter((_, place) => Number(mask[text][place]) === 1));
    results.push({ ids, embeddings: Array.from(embeddings.data), pooled });
  }
  return results;
}

main(JSON.parse(readFileSync(0, 'utf8'))).then((results) =>
  process.stdout.write(`${JSON.stringify(results)}\n`),
);
