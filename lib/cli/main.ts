#!/usr/bin/env node
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GradCacheError } from '../errors.js';
import { isError, reasonOf } from '../options/realms.js';
import { nearest } from '../options/nearest.js';
import { packageVersion } from '../addon/runtime/paths.js';
import { nodeProblem } from '../addon/runtime/platform.js';
import { EXIT, type Command } from './command.js';
import { COMMON_FLAGS, formatHelp, UsageError, type Flags } from './flags.js';
import { parseFlags } from './parse-flags.js';
import { UNWRITABLE, wasTold, watchOutput } from './output.js';
import { ProgressLine } from './terminal.js';

/**
 * The commands. Each is loaded when it is used: `doctor` and `setup` must run even if something that the others import
 * cannot be loaded.
 */
const COMMANDS: Readonly<Record<string, { readonly summary: string; load(): Promise<Command> }>> = {
  train: {
    summary: 'train a text encoder, a cross-encoder or CLIP on pairs',
    load: async () => (await import('./train.js')).trainCommand,
  },
  report: {
    summary: 'show what runs came to, as a page',
    load: async () => (await import('./report.js')).reportCommand,
  },
  embed: {
    summary: 'turn texts or pictures into representations',
    load: async () => (await import('./embed.js')).embedCommand,
  },
  evaluate: {
    summary: 'measure a model by retrieval, sentence similarity, triplets, pairs, clustering or reranking',
    load: async () => (await import('./evaluate.js')).evaluateCommand,
  },
  mine: {
    summary: 'find hard negatives for pairs',
    load: async () => (await import('./mine.js')).mineCommand,
  },
  serve: {
    summary: 'serve a model over HTTP',
    load: async () => (await import('./serve.js')).serveCommand,
  },
  'language train': {
    summary: 'train a language model on text',
    load: async () => (await import('./language-train.js')).languageTrainCommand,
  },
  'language evaluate': {
    summary: 'measure a language model: bits per character and perplexity',
    load: async () => (await import('./language-evaluate.js')).languageEvaluateCommand,
  },
  'language sample': {
    summary: 'go on with a text',
    load: async () => (await import('./language-sample.js')).languageSampleCommand,
  },
  export: {
    summary: 'write a model as ONNX, to serve it',
    load: async () => (await import('./export.js')).exportCommand,
  },
  pull: {
    summary: 'fetch a model or a data set of the Hugging Face hub',
    load: async () => (await import('./pull.js')).pullCommand,
  },
  push: {
    summary: 'upload a model to the Hugging Face hub',
    load: async () => (await import('./push.js')).pushCommand,
  },
  completion: {
    summary: 'print a script by which bash, zsh or fish completes commands and flags',
    load: async () => (await import('./completion.js')).completionCommand(() => COMMANDS),
  },
  doctor: {
    summary: 'check everything gradcache needs, and say what is missing',
    load: async () => (await import('./doctor.js')).doctorCommand,
  },
  setup: {
    summary: 'install a libtorch where gradcache finds it',
    load: async () => (await import('./setup.js')).setupCommand,
  },
};

/** Commands that look after what the others need: they run with any Node.js. */
const WITHOUT_MODELS: ReadonlySet<string> = new Set(['doctor', 'setup']);

/**
 * Runs `gradcache`.
 *
 * @param args what follows the program's name
 * @returns the exit code: 0 done, 1 failed, 2 wrongly called, 130 ended by Ctrl-C
 */
export async function main(args: readonly string[]): Promise<number> {
  const { name, rest } = commandIn(args);
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  if (name === '--version') {
    print(packageVersion());
    return 0;
  }
  if (name === 'help' && rest.length > 0) return main([...rest, '--help']);
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    print(overview());
    return name === undefined ? EXIT.usage : 0;
  }
  const progress = new ProgressLine();
  try {
    const old = nodeProblem();
    if (old !== null && !WITHOUT_MODELS.has(name)) throw new GradCacheError('SETUP', old);
    const parts = Object.keys(COMMANDS).filter((known) => known.startsWith(`${name} `));
    if (parts.length > 0 && asksForHelp(rest)) {
      print(overview());
      return 0;
    }
    if (parts.length > 0)
      throw new UsageError(`${name} alone is not a command; there are ${parts.join(', ')}.`);
    const command = await (Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined)?.load();
    if (command === undefined) {
      const near = nearest(name, [...Object.keys(COMMANDS), '--help', '--version']);
      const hint = near === undefined ? '' : `did you mean ${near}? `;
      throw new UsageError(
        `${name} is not a command; ${hint}${near === undefined ? 'there' : 'There'} are ${Object.keys(COMMANDS).join(', ')}.`,
      );
    }
    if (asksForHelp(rest)) {
      print(formatHelp({ ...command, sections: { ...command.sections, Output: COMMON_FLAGS } }));
      return 0;
    }
    const sections: Flags[] = [...Object.values(command.sections), COMMON_FLAGS];
    const flags: Flags = Object.fromEntries(sections.flatMap((section) => Object.entries(section)));
    const parsed = parseFlags(flags, rest, command);
    const [stray] = command.takesRest ? [] : parsed.rest;
    if (stray !== undefined)
      throw new UsageError(`${name} takes nothing after --, and ${JSON.stringify(stray)} is there.`);
    return await command.run(parsed, { progress, print });
  } catch (error) {
    progress.clear();
    if (error instanceof GradCacheError && wasTold(error)) return UNWRITABLE;
    process.stderr.write(`${describe(error, rest.includes('--debug'))}\n`);
    if (error instanceof UsageError) {
      process.stderr.write(`See: gradcache ${Object.hasOwn(COMMANDS, name) ? `${name} ` : ''}--help\n`);
      return EXIT.usage;
    }
    return error instanceof GradCacheError && error.code === 'ABORTED' ? EXIT.interrupted : EXIT.failed;
  }
}

function asksForHelp(args: readonly string[]): boolean {
  const end = args.indexOf('--');
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === '--help' || arg === '-h');
}

/** The name of a command is one word, or two. */
function commandIn(args: readonly string[]): { name: string | undefined; rest: readonly string[] } {
  const [first, second, ...others] = args;
  const isFirstOfTwo = Object.keys(COMMANDS).some((name) => name.startsWith(`${first} `));
  if (isFirstOfTwo && second !== undefined && !second.startsWith('-'))
    return { name: `${first} ${second}`, rest: others };
  return { name: first, rest: args.slice(1) };
}

function overview(): string {
  const commands = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(19)}${summary}`);
  return [
    `gradcache ${packageVersion()}: trains encoders with very large contrastive batches`,
    '',
    'Usage: gradcache COMMAND [FLAGS]',
    '',
    ...commands,
    '',
    'Help on one: gradcache COMMAND --help',
  ].join('\n');
}

/** `CODE: message`; with the stack, and what caused it, where asked. */
function describe(error: unknown, debug: boolean): string {
  if (debug && isError(error)) {
    const cause = isError(error.cause) ? `\ncaused by ${error.cause.stack ?? error.cause.message}` : '';
    const code = error instanceof GradCacheError ? `${error.code}: ` : '';
    return `${code}${error.stack ?? error.message}${cause}`;
  }
  if (error instanceof GradCacheError) return `${error.code}: ${error.message}`;
  const message = reasonOf(error);
  const code = (error as NodeJS.ErrnoException | null | undefined)?.code ?? 'ERROR';
  return message.startsWith(`${code}: `) ? message : `${code}: ${message}`;
}

/** Whether this file is the program that node was started with, also through the link that npm makes for a bin. */
function isProgram(): boolean {
  const program = process.argv[1];
  try {
    return program !== undefined && realpathSync(program) === fileURLToPath(import.meta.url);
  } catch {
    return false;
  }
}

if (isProgram()) {
  watchOutput();
  void main(process.argv.slice(2)).then((code) => {
    process.exitCode = code || (process.exitCode ?? 0);
    // A pipe that is still waited for would keep the process alive.
    if (code === EXIT.interrupted) process.exit();
  });
}
