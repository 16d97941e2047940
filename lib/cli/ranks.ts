/*
 * How a command comes to run on several GPUs: it starts the processes (--gpus), or is one of those that a launcher started.
 */
import { fileURLToPath } from 'node:url';
import { loadInChild } from '../addon/runtime/doctor.js';
import { isLaunched, launchRanks } from '../distributed/launch.js';
import { OtherRank, Ranks } from '../distributed/ranks.js';
import { GradCacheError } from '../errors.js';
import { Fields, refuse } from '../options/fields.js';
import { watchParent } from '../processes/end-with-parent.js';
import { devices } from '../tensor/memory.js';
import { EXIT, type Console } from './command.js';
import { number, onOff, UsageError, type Arguments, type Flags } from './flags.js';
import { ProgressLine } from './terminal.js';

const PROGRAM = fileURLToPath(new URL('./main.js', import.meta.url));

export const RANK_FLAGS = {
  gpus: {
    ...number('N', 'GPUs of this machine to use together, a process on each; or all; default: one', 'gpus'),
    words: ['all'],
  },
  timeout: number(
    'SECONDS',
    'give up on a process that gives no sign of life for so long; default 600',
    'timeout',
  ),
  slurm: onOff('be one of the processes that srun started; those of torchrun need no flag'),
  // Like --gpus, on the device that is given: for tests.
  ranks: { ...number('N', 'processes to start'), hidden: true },
} as const satisfies Flags;

/** How many processes there are to be, and how they meet. */
export interface RankSettings {
  readonly gpus: number | 'all' | undefined;
  readonly timeout: number | undefined;
  /** Where each computes: `auto`, or what the user asks for. */
  readonly device: string;
}

/** Takes `gpus` and `timeout` out of a configuration: what is trained does not depend on them. @throws SettingError */
export function takeRankSettings(settings: Readonly<Record<string, unknown>>): {
  ranks: RankSettings;
  others: Record<string, unknown>;
} {
  const { gpus, timeout, ...others } = settings;
  const fields = new Fields({ gpus, timeout }, 'config');
  if (typeof gpus === 'string' && gpus !== 'all') throw refuse('config.gpus', gpus, 'a number, or "all"');
  const device = typeof others.device === 'string' ? others.device : 'auto';
  return {
    ranks: {
      gpus: gpus === 'all' ? gpus : fields.count('gpus'),
      timeout: fields.number('timeout', { from: 1, to: 1e6 }),
      device,
    },
    others,
  };
}

/** The same of a command that has no configuration. @throws UsageError */
export function rankSettingsOf(args: Arguments): RankSettings {
  const [gpus, timeout] = [args.get('gpus'), args.number('timeout')];
  if (timeout !== undefined && !(timeout >= 1))
    throw new UsageError(`--timeout is ${timeout}; a number of seconds from 1 is needed.`);
  return { gpus: gpus === 'all' ? gpus : args.count('gpus'), timeout, device: args.device() };
}

/**
 * Runs work on as many processes as are asked for. Where this process only starts them, it waits for their end. Of the
 * processes the first alone says what happens.
 *
 * @param work what each process does; `ranks` is null where there is no other
 * @returns the exit code
 */
export async function withRanks(
  args: Arguments,
  settings: RankSettings,
  console: Console,
  work: (ranks: Ranks | null, console: Console) => Promise<number>,
): Promise<number> {
  const launched = isLaunched(process.env);
  if (!launched) {
    const ranks = await ranksToStart(args, settings);
    if (ranks > 1) return launchRanks({ ranks, program: PROGRAM, args: process.argv.slice(2) });
  } else watchParent();
  const ranks = await joinRanks(args, settings);
  if (ranks === null) return work(null, console);
  try {
    return await work(ranks, ranks.rank === 0 ? console : SILENT);
  } catch (error) {
    ranks.fail(error);
    if (ranks.rank === 0 || !(error instanceof OtherRank)) throw error;
    return error.code === 'ABORTED' ? EXIT.interrupted : EXIT.failed; // the rank at fault says what it was
  } finally {
    await ranks.close();
  }
}

const SILENT: Console = { progress: new ProgressLine({ write: () => true }), print: () => undefined };

/** How many processes this one is to start; 1: it does the work itself. @throws UsageError */
async function ranksToStart(args: Arguments, { gpus, device }: RankSettings): Promise<number> {
  const ranks = args.count('ranks');
  if (ranks === undefined && gpus === undefined) return 1;
  const flag = ranks === undefined ? 'gpus' : 'ranks';
  const { WORLD_SIZE: size } = process.env;
  if (size !== undefined)
    throw new UsageError(
      `--${flag} starts processes, and this one is one of ${size} that a launcher started (WORLD_SIZE). Leave it out.`,
    );
  if (args.on('slurm'))
    throw new UsageError(`--${flag} starts processes, and --slurm takes those of srun: give one of them.`);
  if (ranks !== undefined) return ranks;
  const isOne = gpus === 1 && device.startsWith('cuda:');
  if (!isOne && device !== 'auto' && device !== 'cuda')
    throw new UsageError(
      `--gpus ${gpus} and --device ${device} contradict each other: leave one of them out.`,
    );
  if (gpus === 'all') return countGpus();
  // This process does the work itself, and would do it on the CPU.
  if (gpus === 1 && device === 'auto' && !hasGpu()) throw noGpu(gpus);
  return gpus!;
}

/** The GPUs that libtorch can use here, as a child process sees them: this one does without libtorch. */
async function countGpus(): Promise<number> {
  const load = await loadInChild({});
  if (!load.ok) throw new GradCacheError(load.code as GradCacheError['code'], load.message);
  const count = load.devices.filter((device) => device.startsWith('cuda')).length;
  if (count > 0) return count;
  throw noGpu('all');
}

const hasGpu = (): boolean => devices().some((device) => device.startsWith('cuda'));

function noGpu(asked: number | 'all'): GradCacheError {
  return new GradCacheError(
    'CUDA_UNAVAILABLE',
    `--gpus ${asked}: libtorch can use no GPU here. \`gradcache doctor --device cuda\` says why.`,
  );
}

async function joinRanks(args: Arguments, { timeout, device, gpus }: RankSettings): Promise<Ranks | null> {
  const slurm = args.on('slurm');
  if (!slurm && process.env.WORLD_SIZE === undefined) return null;
  const where = gpus === undefined ? deviceOfRank(device) : 'cuda';
  const from = slurm ? 'slurm' : 'launcher';
  return Ranks.join({ device: where, from, ...(timeout !== undefined && { timeout }) });
}

/** Without a device that is asked for: each rank has a GPU of its own, if there are any. */
function deviceOfRank(device: string): string {
  if (device !== 'auto') return device;
  return hasGpu() ? 'cuda' : 'cpu';
}
