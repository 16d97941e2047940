import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import type { ResumeConfig, TrainConfig } from '../../lib/training/config.js';
import type { StepEvent, TrainEvent } from '../../lib/training/events.js';
import { train } from '../../lib/training/train.js';

/** The root of the repository, seen from a compiled test. */
export const root = fileURLToPath(new URL('../../..', import.meta.url));

const TOKENIZER = join(root, 'examples', 'quickstart', 'tokenizer.json');

/** A BERT of a few thousand parameters apart from its vocabulary. */
export const TINY_CONFIG = {
  model_type: 'bert',
  vocab_size: 8192,
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 32,
  max_position_embeddings: 32,
  type_vocab_size: 2,
  hidden_dropout_prob: 0.1,
  attention_probs_dropout_prob: 0.1,
};

/** A new empty folder that is removed when the test ends. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcache-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Saves a tiny model with random weights. */
export async function saveTinyModel(folder: string): Promise<string> {
  const model = TextEncoder.create(TINY_CONFIG, await Tokenizer.fromFile(TOKENIZER), { seed: 3 });
  await model.save(folder);
  model.dispose();
  return folder;
}

const THINGS = ['dog', 'river', 'engine', 'bread', 'mountain', 'violin', 'ship', 'garden', 'clock', 'winter'];
const KINDS = ['old', 'small', 'broken', 'quiet', 'red', 'distant'];

/** Up to 60 different pairs with something to learn: `{ anchor: 'an old dog', positive: 'dog that is old' }`. */
export function pairs(count = 60): { anchor: string; positive: string }[] {
  return THINGS.flatMap((thing) =>
    KINDS.map((kind) => ({ anchor: `the ${kind} ${thing}`, positive: `${thing} that is ${kind}` })),
  ).slice(0, count);
}

/** Writes rows as JSON lines. */
export async function writeRows(path: string, rows: readonly object[]): Promise<string> {
  await writeFile(path, rows.map((row) => JSON.stringify(row) + '\n').join(''));
  return path;
}

/** Model, data and settings of a short run in a folder of its own. */
export async function shortRun(t: TestContext): Promise<{ folder: string; config: TrainConfig }> {
  const folder = await temporaryFolder(t);
  const config: TrainConfig = {
    model: await saveTinyModel(join(folder, 'start')),
    data: await writeRows(join(folder, 'pairs.jsonl'), pairs()),
    output: join(folder, 'run'),
    batch: 20,
    chunk: { sequences: 8 },
    steps: 6,
    optimizer: { lr: 1e-2 },
    device: 'cpu',
  };
  return { folder, config };
}

/** A digest of every file in a folder, by path. */
export async function digests(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found[path.slice(folder.length + 1)] = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
  }
  return found;
}

/** Runs a training and collects what it tells. */
export async function record(
  config: TrainConfig | ResumeConfig,
  signal?: AbortSignal,
): Promise<{ events: TrainEvent[]; steps: StepEvent[] }> {
  const events: TrainEvent[] = [];
  await train(config, { signal, onEvent: (event) => events.push(event) });
  return { events, steps: events.filter((event) => event.type === 'step') };
}
