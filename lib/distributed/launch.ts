import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { availableParallelism, constants } from 'node:os';
import { createInterface } from 'node:readline';
import { GradCacheError } from '../errors.js';

/** Set in the processes that {@link launchRanks} starts: the number of them. */
const LAUNCHED = 'GRADCACHE_LAUNCHED';

/** Seconds that the others get to end by themselves after one rank ended badly; half as long again to end on SIGTERM. */
const PATIENCE = 10;

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Whether {@link launchRanks} started this process. */
export function isLaunched(environment: NodeJS.ProcessEnv): boolean {
  return environment[LAUNCHED] !== undefined;
}

/** What {@link launchRanks} starts, and where it says what happened. */
export interface Launch {
  /** How many ranks. */
  readonly ranks: number;
  /** A script for Node.js, and what follows it on the command line. */
  readonly program: string;
  readonly args: readonly string[];
  /** Seconds that the others get to end after one rank ended badly. Default: 10. */
  readonly patience?: number;
  /** Takes lines for people. Default: standard error. */
  readonly say?: (line: string) => void;
  /** Default: this process's own. */
  readonly environment?: NodeJS.ProcessEnv;
}

/**
 * Runs a program as several ranks on this machine, each in a process of its own that finds its place in RANK, WORLD_SIZE,
 * LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as under torchrun. Rank 0 has the standard output and error of this process. What
 * other ranks write goes to standard error, each line behind `[rank 3]`.
 *
 * A signal (Ctrl-C) is passed on to all ranks, and so is a second one. Where a rank ends badly, the others get some seconds to
 * end too, and are then ended. They do not outlive this process, if they call `watchParent`.
 *
 * @returns the exit code of the rank that ended badly first, else 0
 * @throws GradCacheError `DISTRIBUTED` where a process cannot be started
 */
export async function launchRanks(launch: Launch): Promise<number> {
  const { ranks, patience = PATIENCE, say = (line) => void process.stderr.write(`${line}\n`) } = launch;
  const place = { port: await freePort(), ranks };
  const children: ChildProcess[] = [];
  const signalAll = (name: NodeJS.Signals): void => children.forEach((child) => child.kill(name));
  const passOn = (name: NodeJS.Signals): void => signalAll(name === 'SIGHUP' ? 'SIGTERM' : name);
  for (const name of SIGNALS) process.on(name, passOn);
  const timers: NodeJS.Timeout[] = [];
  let code = 0;
  const ended = (rank: number, how: { code: number | null; signal: NodeJS.Signals | null }): void => {
    if (how.signal !== null) say(`[rank ${rank}] was ended by ${how.signal}`);
    const own = how.code ?? 128 + (how.signal === null ? 0 : constants.signals[how.signal]);
    if (own === 0 || code !== 0) return;
    code = own;
    timers.push(setTimeout(() => signalAll('SIGTERM'), patience * 1000));
    timers.push(setTimeout(() => signalAll('SIGKILL'), patience * 1500));
  };
  try {
    for (let rank = 0; rank < ranks; rank++) children.push(start(launch, { rank, ...place }, say));
    await Promise.all(children.map(async (child, rank) => ended(rank, await endOf(child))));
    return code;
  } catch (error) {
    signalAll('SIGKILL');
    throw new GradCacheError('DISTRIBUTED', `A rank cannot be started: ${(error as Error).message}.`, {
      cause: error,
    });
  } finally {
    timers.forEach(clearTimeout);
    for (const name of SIGNALS) process.removeListener(name, passOn);
  }
}

function start(
  { program, args, environment = process.env }: Launch,
  { rank, ranks, port }: { rank: number; ranks: number; port: number },
  say: (line: string) => void,
): ChildProcess {
  const child = spawn(process.execPath, [...optionsOfNode(), program, ...args], {
    env: {
      // All ranks compute at once, on the processors of one machine.
      OMP_NUM_THREADS: String(Math.max(1, Math.floor(availableParallelism() / ranks))),
      ...environment,
      [LAUNCHED]: String(ranks),
      RANK: String(rank),
      LOCAL_RANK: String(rank),
      WORLD_SIZE: String(ranks),
      LOCAL_WORLD_SIZE: String(ranks),
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: String(port),
    },
    // Standard input stays open as long as this process lives, which is how a child knows.
    stdio: rank === 0 ? ['pipe', 'inherit', 'inherit'] : 'pipe',
    // A terminal gives Ctrl-C to a whole group of processes. Each child shall get it once, from this one.
    detached: true,
  });
  child.stdin?.on('error', () => undefined); // a child that has ended reads no more
  for (const stream of [child.stdout, child.stderr])
    if (stream !== null) createInterface(stream).on('line', (line) => say(`[rank ${rank}] ${line}`));
  return child;
}

/** How a process ended, once all that it wrote has been read. */
async function endOf(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { code, signal };
}

/** A debugger's port is for one process. */
function optionsOfNode(): string[] {
  return process.execArgv.filter((option) => !option.startsWith('--inspect'));
}

/**
 * A port of this machine on which nothing listens. It is looked for below those that the system gives to outgoing connections:
 * one of these could take the port before a rank listens on it.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const port = await listenOnce(randomInt(20_000, 32_768));
    if (port !== null) return port;
  }
  return (await listenOnce(0))!;
}

/** Listens on a port for a moment; null where another process does. */
async function listenOnce(asked: number): Promise<number | null> {
  const server = createServer().listen(asked, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    if (asked !== 0) return null;
    throw error;
  }
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
