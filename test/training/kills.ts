import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { TrainConfig } from '../../lib/training/config.js';
import { settingsFile } from '../../lib/training/stored-settings.js';
import { train } from '../../lib/training/train.js';
import { digests } from './support.js';

const PROGRAM = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** What a run came to: its files, and the losses of its updates. */
export interface Outcome {
  readonly files: Readonly<Record<string, string>>;
  readonly losses: readonly number[];
}

/** What was found where a run was killed. */
export interface Killed {
  readonly outcome: Outcome;
  /** What the killed process left: nothing, a half-written checkpoint, checkpoints. */
  readonly left: 'nothing' | 'half a save' | 'checkpoints' | 'settings' | 'a finished run';
}

/** When a run is killed: at random, or while it writes a checkpoint. */
export type Moment = { readonly seconds: number } | { readonly save: number; readonly milliseconds: number };

/** The run without a kill. */
export async function uninterrupted(config: TrainConfig): Promise<Outcome & { readonly seconds: number }> {
  const started = performance.now();
  await training(config, () => undefined);
  return { ...(await outcomeOf(config)), seconds: (performance.now() - started) / 1000 };
}

/** Starts the run in a process of its own, kills that, goes on with its folder, and removes the folder. */
export async function killAndResume(config: TrainConfig, moment: Moment): Promise<Killed> {
  const { output } = config;
  await training(config, (kill) => void killAt(moment, output, kill));
  const left = await leftIn(output);
  // The folder is enough, once it has the settings.
  await train(existsSync(settingsFile(output)) ? { output, resume: true } : { ...config, resume: true });
  const outcome = await outcomeOf(config);
  await rm(output, { recursive: true });
  return { outcome, left };
}

/** Runs `gradcache train` until its end, or until it is killed. */
async function training(config: TrainConfig, begun: (kill: () => void) => void): Promise<void> {
  const file = `${config.output}.json`;
  await writeFile(file, JSON.stringify(config));
  const child = spawn(process.execPath, [PROGRAM, 'train', '--config', file, '--json'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  begun(() => child.kill('SIGKILL'));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code !== 0 && signal !== 'SIGKILL') throw new Error(`The run ended with ${code ?? signal}: ${said}`);
}

async function killAt(moment: Moment, output: string, kill: () => void): Promise<void> {
  if ('seconds' in moment) await wait(moment.seconds * 1000);
  else {
    const seen = new Set<string>();
    for (let tries = 0; seen.size < moment.save && tries < 60_000; tries++) {
      for (const name of await halves(output)) seen.add(name.split('.')[0]!);
      if (seen.size < moment.save) await wait(1);
    }
    await wait(moment.milliseconds);
  }
  kill();
}

async function halves(output: string): Promise<string[]> {
  const names = await readdir(output).catch((): string[] => []);
  return names.filter((name) => /^(checkpoint-\d+|model)\..*(tmp|old)$/.test(name));
}

async function leftIn(output: string): Promise<Killed['left']> {
  const names = await readdir(output).catch((): string[] => []);
  if ((await halves(output)).length > 0) return 'half a save';
  if (names.includes('model')) return 'a finished run';
  if (names.some((name) => name.startsWith('checkpoint-'))) return 'checkpoints';
  return names.includes('settings.json') ? 'settings' : 'nothing';
}

async function outcomeOf({ output }: TrainConfig): Promise<Outcome> {
  const files = await digests(output);
  const lines = (await readFile(join(output, 'metrics.jsonl'), 'utf8')).split('\n');
  const steps = lines.filter((line) => line.includes('"type":"step"'));
  const losses = steps.map((line) => (JSON.parse(line) as { loss: number }).loss);
  delete files['metrics.jsonl']; // it has times, and says where the run was resumed
  return { files, losses };
}
