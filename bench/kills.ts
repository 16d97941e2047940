/*
 * `npm run bench -- kills [--kills N] [--seed N]`: kills a run at random moments, half of them while it writes a checkpoint,
 * goes on with its folder each time, and compares every file with that of a run that was never killed.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { Random } from '../lib/data/random.js';
import type { TrainConfig } from '../lib/training/config.js';
import { killAndResume, uninterrupted, type Moment } from '../test/training/kills.js';
import { pairs, saveTinyModel, writeRows } from '../test/training/support.js';

const { values } = parseArgs({
  options: { kills: { type: 'string', default: '100' }, seed: { type: 'string', default: '1' } },
});
const [kills, seed] = [Number(values.kills), Number(values.seed)];
const random = new Random(seed);
const drawn = (): number => random.next() / 2 ** 32;

const folder = await mkdtemp(join(tmpdir(), 'gradcache-kills-'));
try {
  const config: TrainConfig = {
    model: await saveTinyModel(join(folder, 'start')),
    data: await writeRows(join(folder, 'pairs.jsonl'), pairs()),
    output: join(folder, 'run'),
    batch: 20,
    chunk: { sequences: 8 },
    steps: 40,
    loss: { learned: true, temperature: 0.1 },
    optimizer: { lr: 1e-2 },
    checkpoint: { every: 3, keep: 2 },
    device: 'cpu',
  };
  const { seconds, ...expected } = await uninterrupted({ ...config, output: join(folder, 'whole') });
  const saves = Math.floor(config.steps! / 3) + 1;
  const found = new Map<string, number>();
  const different: string[] = [];
  for (let kill = 1; kill <= kills; kill++) {
    const moment: Moment =
      kill % 2 === 0
        ? { save: 1 + Math.floor(drawn() * saves), milliseconds: drawn() * 12 }
        : { seconds: drawn() * seconds };
    const { outcome, left } = await killAndResume(config, moment);
    found.set(left, (found.get(left) ?? 0) + 1);
    const same = isDeepStrictEqual(outcome, expected);
    if (!same) different.push(`${JSON.stringify(moment)}, which left ${left}`);
    console.log(
      `${kill}: ${JSON.stringify(moment)} left ${left}; ${same ? 'the same bytes' : 'OTHER BYTES'}`,
    );
  }
  console.log(`${kills} kills left: ${[...found].map(([left, count]) => `${left} ${count}`).join(', ')}`);
  console.log(different.length === 0 ? 'Every run ended with the same bytes.' : different.join('\n'));
  process.exitCode = different.length === 0 ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
