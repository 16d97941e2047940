/** Starts ranks as processes of this machine, as a launcher does. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from '../../lib/distributed/launch.js';

/** How a rank ended. */
export interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  /** From the start of all, in seconds. */
  readonly seconds: number;
}

export interface Started {
  readonly children: readonly ChildProcess[];
  /** Settles when a line of the rank's standard output is this. */
  readonly said: (rank: number, line: string) => Promise<void>;
  readonly ends: Promise<End[]>;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** All are killed after so many seconds. Default 300: far more than any needs, also on a busy machine. */
  readonly limit?: number;
  /** Milliseconds by which the last rank is late. */
  readonly late?: number;
  /** Of rank 1 and all others where it differs. */
  readonly envOf?: (rank: number) => Readonly<Record<string, string>>;
  /** What the command line of a rank begins with. */
  readonly through?: (rank: number) => readonly string[];
}

/** Starts `size` ranks of a program of this folder. */
export async function startRanks(
  size: number,
  program: string,
  args: readonly string[] = [],
  { env = {}, limit = 300, late = 0, envOf = () => ({}), through = () => [] }: StartOptions = {},
): Promise<Started> {
  const port = await freePort();
  const begin = performance.now();
  const children: ChildProcess[] = [];
  const waits: { rank: number; line: string; resolve: () => void }[] = [];
  const outputs = Array.from({ length: size }, () => ({ stdout: '', stderr: '' }));
  const ends: Promise<End>[] = [];
  for (let rank = 0; rank < size; rank++) {
    if (rank === size - 1 && late > 0) await new Promise((resolve) => setTimeout(resolve, late));
    const [first = process.execPath, ...others] = [
      ...through(rank),
      process.execPath,
      join(import.meta.dirname, program),
      ...args,
    ];
    const child = spawn(first, others, {
      env: {
        ...process.env,
        RANK: String(rank),
        WORLD_SIZE: String(size),
        LOCAL_RANK: String(rank),
        MASTER_ADDR: '127.0.0.1',
        MASTER_PORT: String(port),
        OMP_NUM_THREADS: '1',
        ...env,
        ...envOf(rank),
      },
    });
    children.push(child);
    const output = outputs[rank]!;
    child.stdout.on('data', (data: Buffer) => {
      output.stdout += data.toString();
      for (const wait of waits.filter((each) => each.rank === rank))
        if (output.stdout.split('\n').includes(wait.line)) wait.resolve();
    });
    child.stderr.on('data', (data: Buffer) => (output.stderr += data.toString()));
    ends.push(
      once(child, 'close').then(([code, signal]) => ({
        code: code as number | null,
        signal: signal as NodeJS.Signals | null,
        ...output,
        seconds: (performance.now() - begin) / 1000,
      })),
    );
  }
  const patience = setTimeout(() => children.forEach((child) => child.kill('SIGKILL')), limit * 1000);
  return {
    children,
    said: (rank, line) =>
      new Promise((resolve) => {
        if (outputs[rank]!.stdout.split('\n').includes(line)) resolve();
        else waits.push({ rank, line, resolve });
      }),
    ends: Promise.all(ends).finally(() => {
      clearTimeout(patience);
    }),
  };
}

/** Runs ranks to their end and gives the JSON that each printed last. @throws if one ends with another code than 0 */
export async function runRanks<T>(
  size: number,
  program: string,
  args: readonly string[] = [],
  options: StartOptions = {},
): Promise<T[]> {
  const { ends } = await startRanks(size, program, args, options);
  return (await ends).map(({ code, signal, stdout, stderr }, rank) => {
    if (code !== 0)
      throw new Error(`rank ${rank} ended with ${code ?? signal}: ${stdout}\n${stderr.slice(-3000)}`);
    return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
  });
}
