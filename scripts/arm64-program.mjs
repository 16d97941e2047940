// What check-arm64.mjs runs on two kinds of processors: trains a small model and writes losses and a representation.
import { join } from 'node:path';
import { AdamW, GradCache, infoNCE, TextEncoder, Tokenizer } from '../dist/lib/index.js';
import { loadAddon } from '../dist/lib/addon/runtime/load.js';

const tokenizer = await Tokenizer.fromFile(
  join(import.meta.dirname, '..', 'examples', 'quickstart', 'tokenizer.json'),
);
const config = {
  model_type: 'bert',
  vocab_size: tokenizer.vocabularySize,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 64,
  max_position_embeddings: 32,
  type_vocab_size: 1,
  hidden_dropout_prob: 0.1,
  attention_probs_dropout_prob: 0.1,
};
const model = TextEncoder.create(config, tokenizer, { device: 'cpu', seed: 1 });
const gradcache = new GradCache({
  encoders: [model, model],
  loss: infoNCE({ temperature: 0.05, symmetric: true }),
  chunk: { sequences: 4 },
  seed: 1,
});
const optimizer = new AdamW(gradcache.parameters(), { lr: 1e-3, maxGradNorm: 1 });
const things = ['dog', 'river', 'engine', 'bread', 'mountain', 'violin', 'ship', 'garden'];
const numbers = [];
for (let step = 0; step < 3; step++) {
  const queries = things.map((thing) => `an old ${thing}`);
  const answers = things.map((thing) => `a ${thing} that is old`);
  const { loss } = await gradcache.step([model.tokenize(queries), model.tokenize(answers)]);
  await optimizer.step();
  numbers.push(loss);
}
const encoded = await model.encode(['a quiet river']);
numbers.push(...(await encoded.values()));
const { addonPath } = loadAddon();
process.stdout.write(JSON.stringify({ architecture: process.arch, addon: addonPath, numbers }));
