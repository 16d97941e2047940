import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Command } from '../../lib/cli/command.js';
import { COMMON_FLAGS, type Flags } from '../../lib/cli/flags.js';
import { parseFlags } from '../../lib/cli/parse-flags.js';
import { ProgressLine } from '../../lib/cli/terminal.js';

const PROGRAM = fileURLToPath(new URL('../../lib/cli/main.js', import.meta.url));

/** What a run of the program left. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs `gradcache` in a process of its own.
 *
 * @param options.env variables beside those of this process
 * @param options.input text for its standard input; null: it stays open, and nothing comes
 * @param options.onOutput called with everything written so far, whenever something is written
 */
export function gradcache(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return run(PROGRAM, args, options);
}

interface RunOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | null;
  readonly onOutput?: (child: ChildProcess, written: string) => void;
}

function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: 'pipe',
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      options.onOutput?.(child, stdout + stderr);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      options.onOutput?.(child, stdout + stderr);
    });
    child.stdin.on('error', () => undefined); // a program that ends early does not read it
    if (options.input !== null) child.stdin.end(options.input ?? '');
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** Arguments with some flags in place of the same ones, which may not be given twice. All flags of `args` take a value. */
export function withFlags(args: readonly string[], ...flags: readonly string[]): string[] {
  const isReplaced = (place: number): boolean =>
    args[place]?.startsWith('--') === true && flags.includes(args[place]);
  return [...args.filter((_, place) => !isReplaced(place) && !isReplaced(place - 1)), ...flags];
}

/** Runs calls of `gradcache` one after another in one process, for what ends soon: starting one takes longer than they do. */
export async function gradcacheEach(calls: readonly (readonly string[])[]): Promise<Ended[]> {
  const program = fileURLToPath(new URL('./calls-program.js', import.meta.url));
  const { code, stdout, stderr } = await run(program, [JSON.stringify(calls)]);
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as Ended[];
}

/**
 * Runs one command of `gradcache` in this process.
 *
 * @param onProgress called with every text that is to be shown, also those that come too fast for a screen
 */
export async function runCommand(
  command: Command,
  args: readonly string[],
  onProgress: (text: string) => void = () => undefined,
): Promise<{ said: string; printed: string[] }> {
  const flags = Object.assign({}, ...Object.values(command.sections), COMMON_FLAGS) as Flags;
  let said = '';
  const printed: string[] = [];
  class Heard extends ProgressLine {
    override show(text: string, options?: Parameters<ProgressLine['show']>[1]): void {
      onProgress(text);
      super.show(text, options);
    }
  }
  const progress = new Heard({ write: (text) => (said += text) });
  await command.run(parseFlags(flags, args), { progress, print: (line) => printed.push(line) });
  return { said, printed };
}
