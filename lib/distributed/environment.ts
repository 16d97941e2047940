import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';

/** A process's place among those that train together, and where they meet. */
export interface Place {
  readonly rank: number;
  /** How many ranks there are. */
  readonly size: number;
  /** Number among the ranks of this machine. */
  readonly localRank: number;
  readonly host: string;
  readonly port: number;
  /** Whether this process opens the store at host:port; else it is there already. */
  readonly server: boolean;
  /** Keeps what several starts of a run leave in a store apart. */
  readonly prefix: string;
}

/** Variables of a process by name. */
export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * The place that a launcher gave this process in RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT (LOCAL_RANK), as torchrun and
 * `gradcache train --gpus` set them. Null if it gave none: the process trains alone.
 *
 * @throws GradCacheError `INPUT` for variables that make no sense
 */
export function placeFromLauncher(variables: Variables): Place | null {
  if (unset(variables, 'WORLD_SIZE') && unset(variables, 'RANK')) return null;
  const [rank, size] = rankAmong(variables, 'RANK', 'WORLD_SIZE');
  // The agent of torchrun keeps the store itself, over restarts of its processes.
  const agent = variables.TORCHELASTIC_USE_AGENT_STORE === 'True';
  const { TORCHELASTIC_RUN_ID: run = '', TORCHELASTIC_RESTART_COUNT: restart = '0' } = variables;
  return {
    rank,
    size,
    localRank: unset(variables, 'LOCAL_RANK') ? rank : whole(variables, 'LOCAL_RANK'),
    host: text(variables, 'MASTER_ADDR'),
    port: portFrom(variables),
    server: rank === 0 && !agent,
    prefix: `gradcache/${run}/${restart}`,
  };
}

/**
 * The place that `srun` gave this process. The first machine of the step holds the store, at MASTER_PORT or a port that
 * follows from the job's number.
 *
 * @throws GradCacheError `INPUT` outside a step of Slurm
 */
export function placeFromSlurm(variables: Variables): Place {
  const [rank, size] = rankAmong(variables, 'SLURM_PROCID', 'SLURM_NTASKS');
  const job = whole(variables, 'SLURM_JOB_ID');
  return {
    rank,
    size,
    localRank: whole(variables, 'SLURM_LOCALID'),
    host: unset(variables, 'MASTER_ADDR')
      ? firstHost(text(variables, 'SLURM_STEP_NODELIST'))
      : variables.MASTER_ADDR!,
    port: unset(variables, 'MASTER_PORT') ? 20_000 + (job % 20_000) : portFrom(variables),
    server: rank === 0,
    prefix: `gradcache/${job}/${variables.SLURM_STEP_ID ?? ''}/${variables.SLURM_RESTART_COUNT ?? '0'}`,
  };
}

/** The first of Slurm's list of machines, such as `gpu[03-05,11],cpu1`. */
export function firstHost(list: string): string {
  const [, name = '', first = ''] = /^([^,[]+)(?:\[([^,\]-]+)[^\]]*\])?/.exec(list) ?? [];
  if (name === '') throw refused('SLURM_STEP_NODELIST', list, 'a list of machines');
  return name + first;
}

function rankAmong(variables: Variables, rankName: string, sizeName: string): [number, number] {
  const [rank, size] = [whole(variables, rankName), whole(variables, sizeName)];
  if (size < 1) throw refused(sizeName, size, 'a number of ranks from 1');
  if (rank >= size)
    throw refused(rankName, rank, `a rank below ${sizeName}, which is ${size}; ranks count from 0`);
  return [rank, size];
}

function portFrom(variables: Variables): number {
  const port = whole(variables, 'MASTER_PORT');
  if (port < 1 || port > 65_535) throw refused('MASTER_PORT', port, 'a port from 1 to 65535');
  return port;
}

const unset = (variables: Variables, name: string): boolean => (variables[name] ?? '') === '';

function text(variables: Variables, name: string): string {
  if (!unset(variables, name)) return variables[name]!;
  throw new GradCacheError(
    'INPUT',
    `${name} is not set, and other variables of a launcher are: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT belong ` +
      'together (under Slurm: SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, SLURM_JOB_ID and SLURM_STEP_NODELIST)',
  );
}

function whole(variables: Variables, name: string): number {
  const value = text(variables, name);
  if (!/^\d{1,15}$/.test(value)) throw refused(name, value, 'a whole number');
  return Number(value);
}
