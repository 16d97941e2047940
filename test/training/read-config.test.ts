import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTrainConfig } from '../../lib/training/read-config.js';

const LEAST = { model: 'm', data: 'pairs.jsonl', output: 'out', batch: 64 };

test('what is not given has its default', () => {
  const config = readTrainConfig(LEAST);
  assert.equal(config.columns, undefined); // the data tells them
  assert.deepEqual(config.data, ['pairs.jsonl']);
  assert.deepEqual(config.loss, {
    kind: 'infonce',
    temperature: 0.05,
    learned: false,
    temperatureBounds: [0.01, 1],
    similarity: 'cosine',
    directions: ['query_to_doc'],
    partitionMode: 'joint',
    hardnessMode: null,
    hardnessStrength: 0,
    margin: 0,
    labelSmoothing: 0,
    precision: 'exact',
    maskDuplicates: false,
    symmetric: false,
  });
  assert.deepEqual(config.schedule, { kind: 'linear', warmup: 0.1 });
  assert.equal(config.epochs, 1);
  assert.equal(config.chunk, 'auto');
  assert.equal(config.uniqueTexts, true);
  assert.equal(config.resume, false);
  assert.equal(config.evaluation, undefined);
});

test('a configuration that is filled in is kept as it is', () => {
  const given = {
    ...LEAST,
    data: ['a.csv', 'b.csv'],
    columns: ['query', 'answer', 'wrong'],
    header: false,
    chunk: { tokens: 4096 },
    prompts: { query: 'query' },
    shuffle: { buffer: 1000 },
    evaluation: {
      task: 'sts',
      loss: true,
      data: 'dev.txt',
      documents: undefined,
      documentColumn: undefined,
      queries: undefined,
      corpus: undefined,
      judgements: undefined,
      format: 'csv',
      header: ['score', 'a', 'b'],
      quoting: 'none',
      delimiter: undefined,
      similarity: 'dot',
      dimensions: [64],
      measures: undefined,
      at: undefined,
      sets: undefined,
      every: 5,
      before: true,
      best: 'spearman',
      patience: 3,
    },
    checkpoint: { every: 10, keep: 1 },
    resume: 'run/checkpoint-10',
    steps: 100,
  };
  const config = readTrainConfig(given);
  assert.equal(config.epochs, undefined);
  assert.deepEqual(config.chunk, { tokens: 4096 });
  assert.deepEqual(config.shuffle, { buffer: 1000 });
  assert.deepEqual(config.evaluation, { ...given.evaluation, columns: ['sentence1', 'sentence2', 'score'] });
  assert.equal(config.header, false);
  assert.deepEqual(config.prompts, { query: 'query' });
});

test('every mistake is named with its path, its value and what is accepted', () => {
  const mistakes: [object, string][] = [
    [{ ...LEAST, model: undefined }, 'run.model is missing: give a model folder, or { config, tokenizer }.'],
    [{ ...LEAST, batch: 1 }, 'run.batch is 1; a whole number from 2 is needed.'],
    [{ ...LEAST, batch: '64' }, 'run.batch is "64"; a whole number from 2 is needed.'],
    [{ ...LEAST, batchsize: 64 }, 'run.batchsize is not a setting; did you mean batch?'],
    [{ ...LEAST, optimiser: {} }, 'run.optimiser is not a setting; did you mean optimizer?'],
    [{ ...LEAST, optimizer: { lr: 0 } }, 'run.optimizer.lr is 0; a finite number above 0 is needed.'],
    [
      { ...LEAST, optimizer: { betas: [0.9] } },
      'run.optimizer.betas is [0.9]; a list of 2 numbers is needed.',
    ],
    [
      { ...LEAST, optimizer: { betas: [0.9, 2] } },
      'run.optimizer.betas[1] is 2; a finite number from 0 to 0.999999 is needed.',
    ],
    [
      { ...LEAST, chunk: { tokens: 5, sequences: 5 } },
      'run.chunk is {"tokens":5,"sequences":5}; one of { sequences } and { tokens } is needed.',
    ],
    [{ ...LEAST, chunk: 64 }, 'run.chunk is 64; "auto", { sequences } or { tokens } is needed.'],
    [{ ...LEAST, steps: 5, epochs: 5 }, 'run has both epochs (5) and steps (5): give one of them.'],
    [
      { ...LEAST, precision: 'half' },
      'run.precision is "half"; "float32" or "float64" or "bfloat16" or "tf32" is needed.',
    ],
    [
      { ...LEAST, columns: ['a', 'a'] },
      'run.columns is ["a","a"]; two or more different columns: anchor, positive, hard negatives is needed.',
    ],
    [
      { ...LEAST, prompts: { passage: 'x' } },
      'run.prompts.passage is not a setting; known are anchor, positive.',
    ],
    [{ ...LEAST, evaluation: { every: 2 } }, 'run.evaluation.data is missing: give the path of a file.'],
    [
      { ...LEAST, evaluation: { task: 'rank', data: 'x' } },
      'run.evaluation.task is "rank"; "retrieval" or "sts" or "triplets" or "binary" or "clustering" or "translation" or "reranking" is needed.',
    ],
    [
      { ...LEAST, evaluation: { task: 'sts', loss: true, data: 'x', columns: ['a', 'b'] } },
      'run.evaluation.columns is ["a","b"]; 3 columns for sts is needed.',
    ],
    [
      { ...LEAST, checkpoint: { minutes: 0 } },
      'run.checkpoint.minutes is 0; a finite number above 0 is needed.',
    ],
    [{ ...LEAST, checkpoint: 5 }, 'run.checkpoint is 5; true, false or { every, minutes, keep } is needed.'],
    [
      { ...LEAST, model: { config: {} } },
      'run.model.tokenizer is missing: give the path of a tokenizer.json.',
    ],
    [
      { ...LEAST, schedule: { warmup: 2.5 } },
      'run.schedule.warmup is 2.5; a whole number of steps, or a part of all steps below 1 is needed.',
    ],
    [
      { ...LEAST, loss: { learned: true, temperature: 0.005 } },
      'run.loss.temperature is 0.005; a number from 0.01 to 1, where a learned temperature stays (temperatureBounds), is needed.',
    ],
    [{ ...LEAST, seed: -1 }, 'run.seed is -1; a whole number from 0 is needed.'],
    [{ ...LEAST, shuffle: 'yes' }, 'run.shuffle is "yes"; true, false or { buffer: rows } is needed.'],
    [{ ...LEAST, resume: 3 }, 'run.resume is 3; true, false or the path of a checkpoint folder is needed.'],
  ];
  for (const [value, message] of mistakes) {
    assert.throws(() => readTrainConfig(value, 'run'), { code: 'INPUT', message });
  }
  assert.throws(() => readTrainConfig('run.json', 'run'), {
    code: 'INPUT',
    message: 'run is "run.json"; an object is needed.',
  });
});

test('settings of weights that do not go together are refused, each by its name', () => {
  const wrong: [object, RegExp][] = [
    [{ masterWeights: 'none' }, /masterWeights is 'none', for a run with precision 'bfloat16'/],
    [{ masterWeights: 'cpu', precision: 'bfloat16' }, /masterWeights is "cpu"/],
    [{ embeddingGradients: 'rows', divideOptimizer: true }, /embeddingGradients is 'rows', whose moments/],
    [{ masterWeights: 'host', precision: 'bfloat16', divideOptimizer: true }, /is not divided over ranks/],
    [
      { masterWeights: 'host', precision: 'bfloat16', embeddingGradients: 'rows' },
      /keeps moments on the device/,
    ],
    [{ masterWeights: 'none', precision: 'bfloat16', memory: { capacity: 9, momentum: 0.9 } }, /too coarse/],
  ];
  for (const [more, message] of wrong)
    assert.throws(() => readTrainConfig({ ...LEAST, ...more }), { code: 'INPUT', message });
});
