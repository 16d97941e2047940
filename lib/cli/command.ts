import type { Arguments, Flags } from './flags.js';
import type { ProgressLine } from './terminal.js';

/** Exit codes: what a script that calls the program can tell apart. lib/cli/output.ts has two more. */
export const EXIT = { failed: 1, usage: 2, interrupted: 130 } as const;

/** What a command gets besides its arguments. */
export interface Console {
  /** Progress and messages, on standard error. */
  readonly progress: ProgressLine;
  /** One line on standard output. */
  readonly print: (line: string) => void;
}

/** One command of the program. */
export interface Command {
  readonly usage: string;
  /** What it does, for its help. */
  readonly about: string;
  /** Its flags by section of the help; those of every command are added. */
  readonly sections: Readonly<Record<string, Flags>>;
  readonly examples: readonly string[];
  /** What it takes beside flags, in this order, as its usage names them; default: nothing. */
  readonly operands?: readonly string[];
  /** Flags that every call needs, or that a call with these needs; default: none. */
  readonly needed?: readonly string[] | ((args: Arguments) => readonly string[]);
  /** Flags that are looked for in vain, because something else says it here: how that is said, as the end of a sentence. */
  readonly elsewhere?: Readonly<Record<string, string>>;
  /** Whether arguments after `--` mean something to it. */
  readonly takesRest?: boolean;
  /** Runs it; returns the exit code. */
  run(args: Arguments, console: Console): Promise<number>;
}
