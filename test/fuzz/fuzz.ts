import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** The seconds that one input may take, on a machine that has other work as well. */
const SECONDS = 60;

/** KiB of data that the process may have: an input that asks for all memory must not get it. */
const MEMORY = 8 * 2 ** 20;

/** After so many failures in one target there is enough to mend. */
const ENOUGH = 50;

/** An input after which the process ended, an error came that is no GradCacheError, or nothing came at all. */
export interface Failure {
  /** `npm run fuzz -- TARGET --seed S --only NUMBER` repeats it. */
  readonly number: number;
  readonly what: string;
}

/** What became of the inputs of one target. */
export interface Outcome {
  answered: number;
  refused: number;
  readonly failures: Failure[];
}

/** Which inputs to try: `count` of them from number `first` (default 0). */
export interface Inputs {
  readonly seed: number;
  readonly first?: number;
  readonly count: number;
}

/**
 * Tries inputs of a target in a process of its own. Where an input ends the process, another one goes on with the next.
 *
 * @param onReport told each line of the process's reports
 */
export async function fuzz(
  target: string,
  { seed, first = 0, count }: Inputs,
  onReport: (line: string) => void = () => undefined,
): Promise<Outcome> {
  const outcome: Outcome = { answered: 0, refused: 0, failures: [] };
  const end = first + count;
  for (let next = first; next < end && outcome.failures.length < ENOUGH;)
    next = (await runOn(target, { seed, next, end }, outcome, onReport)) + 1;
  return outcome;
}

/** Runs one process until it ends, and returns the last input that it tried. */
async function runOn(
  target: string,
  { seed, next, end }: { seed: number; next: number; end: number },
  outcome: Outcome,
  onReport: (line: string) => void,
): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcache-fuzz-'));
  const program = [process.execPath, join(import.meta.dirname, 'attempts.js'), target];
  const child = spawn(
    '/bin/sh',
    ['-c', `ulimit -S -d ${MEMORY}; exec "$@"`, 'sh', ...program, `${seed}`, `${next}`, `${end}`],
    {
      cwd: folder,
      env: { ...process.env, OMP_NUM_THREADS: '1' },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    },
  );
  let said = '';
  child.stderr!.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-3000)));
  const closed = new Promise<string>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve(signal ?? `exit code ${code}`));
  });
  let tried: number | undefined;
  let calls: string[] = [];
  let ended = false;
  let hung = false;
  const watch = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
  }, SECONDS * 1000);
  const fail = (what: string): void => {
    if (tried === undefined) throw new Error(`${target} could not be prepared: ${what}`);
    outcome.failures.push({ number: tried, what: [calls.join(', '), what].filter(Boolean).join(': ') });
  };
  for await (const line of createInterface({ input: child.stdio[3] as NodeJS.ReadableStream })) {
    onReport(line);
    watch.refresh();
    const [kind] = line.split(' ', 1) as [string];
    const text = JSON.parse(line.slice(kind.length + 1)) as unknown;
    if (kind === 'try') [tried, calls] = [text as number, []];
    else if (kind === 'calls') calls.push(text as string);
    else if (kind === 'untyped') fail(text as string);
    else if (kind === 'end') ended = true;
    else outcome[kind as 'answered' | 'refused']++;
  }
  const how = await closed;
  clearTimeout(watch);
  await rm(folder, { recursive: true, force: true });
  if (hung) fail(`no answer in ${SECONDS} s`);
  else if (!ended || how !== 'exit code 0') fail(`${how}\n${said}`);
  return ended ? end : tried!;
}
