import { spawnSync } from 'node:child_process';
import { reasonOf } from '../../options/realms.js';

/** What a program answered, or why it could not be asked. */
export type Answer =
  | {
      readonly status: number | null;
      readonly stdout: string;
      readonly stderr: string;
      readonly reason?: undefined;
    }
  | { readonly status: null; readonly stdout: ''; readonly stderr: ''; readonly reason: string };

/** Runs a program to its end. Never throws, also where Node's permission model allows no processes. */
export function askProgram(command: string, args: readonly string[], environment: NodeJS.ProcessEnv): Answer {
  const none = { status: null, stdout: '', stderr: '' } as const;
  try {
    const answer = spawnSync(command, args, { encoding: 'utf8', env: environment, timeout: 20_000 });
    if (answer.error === undefined) return answer;
    const { code } = answer.error as NodeJS.ErrnoException;
    return { ...none, reason: code === 'ENOENT' ? 'is not on PATH' : reasonOf(answer.error) };
  } catch (error) {
    return { ...none, reason: `may not be run: ${reasonOf(error)}` };
  }
}
