import { isDeepStrictEqual } from 'node:util';
import { readTrainConfig } from '../../../lib/training/read-config.js';
import { mutateJson } from '../mutations.js';
import { garbage } from '../random-arguments.js';
import type { Target } from '../target.js';

/** A configuration that says everything, so that every setting is changed at times. */
export const everySetting = {
  model: 'model',
  data: ['pairs.jsonl', 'more.csv'],
  columns: ['anchor', 'positive', 'negative'],
  format: 'csv',
  header: true,
  quoting: 'auto',
  onBadLine: 'skip',
  output: 'run',
  batch: 20,
  chunk: { sequences: 8 },
  retain: 'auto',
  loss: { temperature: 0.05, learned: true, similarity: 'cosine', symmetric: false },
  optimizer: { lr: 1e-2, betas: [0.9, 0.99], eps: 1e-8, weightDecay: 0.01, maxGradNorm: 1 },
  schedule: { kind: 'linear', warmup: 0.1 },
  steps: 2,
  seed: 1,
  shuffle: { buffer: 10 },
  uniqueTexts: true,
  device: 'cpu',
  precision: 'float32',
  maxLength: 12,
  dropout: 0.1,
  prompts: { anchor: 'query', positive: { prefix: 'passage: ', name: 'passage' } },
  evaluation: {
    task: 'sts',
    data: 'held-out.jsonl',
    columns: ['a', 'b', 'c'],
    sets: {
      near: { task: 'retrieval', data: 'pairs.csv', similarity: 'dot', measures: ['map@5'] },
      far: { queries: 'q.jsonl', corpus: 'c.jsonl', judgements: 'j.tsv', dimensions: [8] },
    },
    every: 2,
  },
  checkpoint: { every: 1, keep: 1 },
  resume: false,
};
const scratch = {
  config: { model_type: 'bert' },
  tokenizer: 'tokenizer.json',
  pooling: 'cls',
  normalize: false,
};

const sigmoid = { kind: 'siglip', scale: 10, bias: -10, learned: false, similarity: 'dot' };

/** Configurations of training. One that is read must give itself when it is read again. */
export const trainingSettings: Target = {
  count: 1000,
  prepare: () => (random) => {
    const config: Record<string, unknown> = structuredClone(everySetting);
    if (random.next() < 0.3) config.model = structuredClone(scratch);
    if (random.next() < 0.3) config.loss = structuredClone(sigmoid);
    for (let changes = random.below(4); changes > 0; changes--) mutateJson(config, random);
    if (random.next() < 0.2) config[random.pick(Object.keys(config))] = garbage(random);
    const filled = readTrainConfig(random.next() < 0.02 ? garbage(random) : config);
    if (!isDeepStrictEqual(readTrainConfig(filled), filled)) throw new Error('read again, it is another');
  },
};
