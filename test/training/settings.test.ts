import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  AdamW,
  batches,
  constantSchedule,
  cosineSchedule,
  evaluateRetrieval,
  evaluateSts,
  GradCache,
  infoNCE,
  linearSchedule,
  readPairs,
  saveLoss,
  readRetrievalPairs,
  readSts,
  TextEncoder,
  Tokenizer,
} from '../../lib/index.js';
import { flattenScores } from '../../lib/evaluation/scores.js';
import { drawSeed } from '../../lib/options/seeds.js';
import { train } from '../../lib/training/train.js';
import { digests, pairs, root, temporaryFolder, TINY_CONFIG, writeRows } from './support.js';

// Every setting differs from its default in one of these, and each run must be the very loop that it stands for: a setting
// that does not reach its part, or reaches another, gives other bits.
const runs = {
  'cosine, dot product, both directions, own AdamW settings, prompts': {
    loss: {
      temperature: 2,
      learned: true,
      temperatureBounds: [0.1, 4] as [number, number],
      similarity: 'dot',
      symmetric: true,
    },
    optimizer: { lr: 2e-2, weightDecay: 0.3, betas: [0.8, 0.95], eps: 1e-4, maxGradNorm: 0.5 },
    schedule: { kind: 'cosine', warmup: 0.2 },
    prompts: { anchor: 'query', positive: 'document' },
    seed: 9,
    dropout: 0.3,
    maxLength: 9,
    shuffle: true,
    uniqueTexts: true,
  },
  'constant, cosine similarity, one direction, rows in their order, a text twice': {
    loss: { temperature: 0.1, learned: false, similarity: 'cosine', symmetric: false },
    optimizer: { lr: 1e-2, weightDecay: 0, betas: [0.9, 0.999], eps: 1e-8, maxGradNorm: 1 },
    schedule: { kind: 'constant', warmup: 2 },
    prompts: { anchor: 'document', positive: 'query' },
    seed: 4,
    dropout: 0,
    frozen: ['embeddings.word_embeddings', 'encoder.layer.0.output'],
    maxLength: 12,
    shuffle: false,
    uniqueTexts: false,
  },
  'linear, random within a buffer': {
    loss: { temperature: 0.2, learned: true, similarity: 'cosine', symmetric: true },
    optimizer: { lr: 1e-2, weightDecay: 0.01, betas: [0.9, 0.99], eps: 1e-6, maxGradNorm: 100 },
    schedule: { kind: 'linear', warmup: 0.25 },
    prompts: { anchor: 'query', positive: 'query' },
    seed: 1,
    dropout: 0.1,
    maxLength: 8,
    shuffle: { buffer: 7 },
    uniqueTexts: true,
  },
} as const;

const schedules = { cosine: cosineSchedule, linear: linearSchedule } as const;
const columns = ['anchor', 'positive', 'negative'];
const size = 24; // of 60 rows: the third batch of an epoch is the smallest that is taken
const steps = 5;

for (const [name, settings] of Object.entries(runs)) {
  test(`a run is the loop that it stands for: ${name}`, async (t) => {
    const folder = await temporaryFolder(t);
    const start = join(folder, 'start');
    const tokenizer = await Tokenizer.fromFile(join(root, 'examples', 'quickstart', 'tokenizer.json'));
    const source = TextEncoder.create(TINY_CONFIG, tokenizer, { seed: 3, normalize: false });
    await source.save(start);
    source.dispose();
    const prompts = { query: 'find the', document: 'a text of' };
    await writeFile(join(start, 'config_sentence_transformers.json'), JSON.stringify({ prompts }));
    const rows = pairs().map((pair, row, all) => ({
      ...pair,
      negative: row % 4 === 0 ? all[(row + 5) % 60]!.positive : `no ${pair.positive}`,
    }));
    const data = await writeRows(join(folder, 'pairs.jsonl'), rows);
    const scored = rows.map(({ anchor, positive, negative }, row) => ({
      sentence1: anchor,
      sentence2: row % 2 === 0 ? positive : negative,
      score: (row * 7) % 11,
    }));
    const sts = await writeRows(join(folder, 'sts.jsonl'), scored);
    const task = settings.seed === 4 ? 'sts' : 'retrieval';

    const result = await train({
      ...settings,
      model: start,
      data,
      output: join(folder, 'run'),
      batch: size,
      steps,
      chunk: { sequences: 8 },
      device: 'cpu',
      evaluation: { task, data: task === 'sts' ? sts : data },
    });

    const { loss, optimizer: ofOptimizer, schedule: given, seed, dropout, maxLength } = settings;
    const frozen = 'frozen' in settings ? settings.frozen : [];
    const model = await TextEncoder.load(start, { dropout, maxLength, frozen });
    const { temperature: initial, learned, similarity, symmetric } = loss;
    const bounds = 'temperatureBounds' in loss ? { bounds: loss.temperatureBounds } : {};
    const trainedLoss = infoNCE({ temperature: { initial, learned, ...bounds }, similarity, symmetric });
    const gradcache = new GradCache({
      encoders: [model, model, model],
      loss: trainedLoss,
      chunk: { sequences: 8 },
    });
    const optimizer = new AdamW(gradcache.parameters(), ofOptimizer);
    const { lr } = ofOptimizer;
    const warmup = given.warmup < 1 ? Math.ceil(given.warmup * steps) : given.warmup;
    const schedule =
      given.kind === 'constant'
        ? constantSchedule({ lr, warmup })
        : schedules[given.kind]({ lr, warmup, total: steps });
    const { shuffle, uniqueTexts } = settings;
    const all = batches(readPairs(data, { columns }), { size, seed, epochs: 9, shuffle, uniqueTexts });
    const prompt = (column: string): string =>
      column === 'anchor' ? settings.prompts.anchor : settings.prompts.positive; // that of the positives is the negatives' too
    let step = 0;
    for await (const batch of all) {
      if (batch.size < size / 2) continue;
      const inputs = columns.map((column) =>
        model.tokenize(batch.columns[column]!, { prompt: prompt(column) }),
      );
      await gradcache.step(inputs, { seed: drawSeed('update', seed, step + 1) });
      optimizer.lr = schedule(step);
      await optimizer.step();
      if (++step === steps) break;
    }
    model.setSimilarity(similarity); // the trained one is saved with the model
    await model.save(join(folder, 'expected'));
    if (learned) await saveLoss(trainedLoss, join(folder, 'expected'));
    const trained = await TextEncoder.load(join(folder, 'run', 'model'));
    assert.equal(trained.maxLength, 32, 'of the folder that was trained, whatever the length in training');
    trained.dispose();
    assert.deepEqual(await digests(join(folder, 'run', 'model')), await digests(join(folder, 'expected')));

    const [query, document] = [prompt('anchor'), prompt('positive')];
    const expected =
      task === 'sts'
        ? await evaluateSts(model, await readSts(sts), { prompt: query })
        : await evaluateRetrieval(model, await readRetrievalPairs(data), {
            similarity,
            prompts: { query, document },
          });
    assert.deepEqual(result.scores, flattenScores(expected));
    model.dispose();
  });
}
