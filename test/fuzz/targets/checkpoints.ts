import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AdamW, infoNCE, TextEncoder, train } from '../../../lib/index.js';
import { readCheckpoint } from '../../../lib/training/checkpoint.js';
import { findResumed } from '../../../lib/training/resume.js';
import { resumeConfig } from '../../../lib/training/resume-pairs.js';
import { pairs, saveTinyModel, writeRows } from '../../training/support.js';
import { mutateBytes, mutateJson, mutateText, type Json } from '../mutations.js';
import type { Random } from '../random-arguments.js';
import type { Target } from '../target.js';

const FILES = ['trainer.json', 'optimizer.safetensors'] as const;

/** A run of two steps that left a checkpoint after the first of them. */
async function trainOnce(): Promise<Map<string, Buffer>> {
  const model = await saveTinyModel('start');
  const data = await writeRows('pairs.jsonl', pairs());
  const loss = { learned: true };
  await train({
    model,
    data,
    output: 'trained',
    batch: 20,
    steps: 1,
    device: 'cpu',
    loss,
    checkpoint: { every: 1 },
  });
  return new Map(FILES.map((name) => [name, readFileSync(join('trained', 'checkpoint-1', name))]));
}

function damage(name: string, file: Buffer, random: Random): Buffer {
  if (!name.endsWith('.json') || random.next() < 0.1) return mutateBytes(file, random);
  if (random.next() < 0.2) return Buffer.from(mutateText(file.toString(), random));
  const holder = { json: JSON.parse(file.toString()) as Json };
  for (let changes = 1 + random.below(3); changes > 0; changes--) mutateJson(holder, random);
  return Buffer.from(JSON.stringify(holder.json) ?? '');
}

/** Checkpoints of which a file is damaged, up to the settings and the state of the optimizer that a run goes on with. */
export const checkpoints: Target = {
  count: 100,
  prepare: async () => {
    const files = await trainOnce();
    const encoder = await TextEncoder.load('start');
    const loss = infoNCE({ temperature: { initial: 0.05, learned: true } });
    const folder = join('run', 'checkpoint-1');
    return async (random, tell) => {
      const damaged = random.pick(FILES);
      tell(damaged);
      rmSync('run', { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      for (const [name, file] of files)
        writeFileSync(join(folder, name), name === damaged ? damage(name, file, random) : file);
      const resumed = await findResumed({ output: 'run', resume: true });
      if (resumed === null) throw new Error('the checkpoint was not found');
      resumeConfig({ output: 'run', resume: true }, resumed);
      const { optimizer } = await readCheckpoint(folder);
      const adam = new AdamW([...encoder.parameters(), ...loss.parameters()], { lr: 1 });
      adam.loadState(optimizer);
      adam.dispose();
    };
  },
};
