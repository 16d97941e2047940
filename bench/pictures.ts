/*
 * `npm run bench -- pictures [--kind clip|siglip] [--epochs N] [--package FOLDER] [--write]`: trains both towers of a small CLIP or
 * SigLIP from random weights on nine tenths of the 3,786 pictures and names of npm's emoji-datasource-twitter, as `gradcache train`
 * does, and measures recall@1 of the last tenth before and after, among its 378 pictures and names. It fails where that has not
 * become ten times what it was.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { train, type TrainConfig } from '../lib/index.js';
import { projectRoot } from '../test/oracle/python.js';
import { emoji, type Named } from './support/emoji.js';
import { table, writeResults } from './support/results.js';

const { values } = parseArgs({
  options: {
    kind: { type: 'string', default: 'clip' },
    epochs: { type: 'string', default: '30' },
    package: { type: 'string' },
    device: { type: 'string', default: 'cpu' },
    write: { type: 'boolean', default: false },
  },
});
const { kind, device } = values;
const epochs = Number(values.epochs);
if ((kind !== 'clip' && kind !== 'siglip') || !Number.isInteger(epochs) || epochs < 1)
  throw new Error('--kind is clip or siglip, and --epochs a whole number from 1.');

const TENTH = 10;
const BATCH = 256;
const SIZES = { hidden_size: 96, num_attention_heads: 4, intermediate_size: 192 };
const CONFIG = {
  model_type: kind,
  projection_dim: 96,
  vision_config: { ...SIZES, num_hidden_layers: 3, image_size: 32, patch_size: 8 },
  text_config: {
    ...{ ...SIZES, num_hidden_layers: 2, vocab_size: 8192, max_position_embeddings: 32 },
    ...{ bos_token_id: 2, eos_token_id: 3, pad_token_id: 0 },
  },
};
const SCORES = ['image-to-text', 'text-to-image'].flatMap((way) => [`${way}/recall@1`, `${way}/recall@10`]);

const folder = await mkdtemp(join(tmpdir(), 'gradcache-pictures-'));
try {
  const pairs = emoji(values.package);
  const lines = async (name: string, some: readonly Named[]): Promise<string> => {
    const path = join(folder, name);
    await writeFile(path, some.map((pair) => `${JSON.stringify(pair)}\n`).join(''));
    return path;
  };
  const own = pairs.filter((_, place) => place % TENTH !== TENTH - 1);
  const held = pairs.filter((_, place) => place % TENTH === TENTH - 1);
  console.log(`${own.length} pairs to train with, ${held.length} held out`);
  const config: TrainConfig = {
    model: { config: CONFIG, tokenizer: join(projectRoot, 'examples', 'quickstart', 'tokenizer.json') },
    data: await lines('own.jsonl', own),
    output: join(folder, 'run'),
    batch: BATCH,
    epochs,
    chunk: { sequences: 64 },
    optimizer: { lr: 1e-3 },
    schedule: { kind: 'cosine' },
    evaluation: { data: await lines('held.jsonl', held), before: true, every: 'epoch' },
    checkpoint: false,
    device,
  };
  const started = performance.now();
  const { before, scores, steps } = await train(config, {
    onEvent: (event) => {
      if (event.type !== 'evaluation') return;
      const shown = SCORES.map((name) => `${name} ${event.scores[name]!.toFixed(4)}`);
      console.log(
        `step ${event.step}: ${shown.join(', ')}, ${((performance.now() - started) / 1000).toFixed(0)} s`,
      );
    },
  });
  const { user, system } = process.cpuUsage();
  const minutes = ((user + system) / 6e7).toFixed(1);
  const rows = SCORES.map((name) => [name, before![name]!.toFixed(4), scores![name]!.toFixed(4)]);
  const body = table(['', 'before', 'after'], rows);
  console.log(body);
  if (values.write)
    writeResults(
      `Pictures and names: ${kind === 'clip' ? 'CLIP' : 'SigLIP'}`,
      `npm run bench -- pictures --kind ${kind} --epochs ${epochs} --write`,
      `Both towers from random weights (3 and 2 layers of 96, pictures of 32 x 32 points) on ${own.length} pictures of emoji and their ` +
        `names, ${steps} steps of ${BATCH} pairs in ${minutes} minutes of processor time, with a measurement after each of the ` +
        `${epochs} epochs. Scores are of ${held.length} others, among themselves: every tenth, so that most have kin among those ` +
        `that were trained on, such as the same gesture in another tone of skin.\n\n${body}`,
    );
  const first = SCORES.filter((name) => name.endsWith('@1'));
  const grown = first.every((name) => scores![name]! >= 10 * Math.max(before![name]!, 1 / held.length));
  if (!grown) {
    console.error('recall@1 has not become ten times what it was');
    process.exitCode = 1;
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
