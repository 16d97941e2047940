/*
 * What the commands that train have in common.
 */
import type { Ranks } from '../distributed/ranks.js';
import type { GradCacheError } from '../errors.js';
import { readNamedObject } from '../files/json-file.js';
import { SettingError } from '../options/fields.js';
import { plural } from '../options/plural.js';
import { listCheckpoints } from '../training/checkpoint.js';
import type {
  EvaluationEvent,
  NoteEvent,
  SavedEvent,
  SkippedEvent,
  SkippedTotalEvent,
} from '../training/events.js';
import { requireApart } from '../training/inputs-apart.js';
import type { Console } from './command.js';
import { isResumed } from './flag-settings.js';
import { number, onOff, text, UsageError, type Arguments } from './flags.js';
import { interruptible } from './interrupt.js';
import { takeRankSettings, withRanks } from './ranks.js';
import type { ProgressLine } from './terminal.js';

export const CHECKPOINT_FLAGS = {
  'checkpoint-every': number('STEPS', 'default: none but the finished model', 'checkpoint.every'),
  'checkpoint-keep': number('N', 'newest checkpoints to keep; default 2', 'checkpoint.keep'),
  resume: onOff('go on from the newest checkpoint in --output', 'resume'),
  'resume-from': text('FOLDER', 'go on from this checkpoint', 'resume'),
};

/** A run as a command knows it. */
interface RunOf<Event> {
  /** The settings that a run needs, unless it is resumed. */
  readonly needed: readonly string[];
  /** Puts the flags over the content of the configuration file. */
  readonly settings: (
    args: Arguments,
    given: Readonly<Record<string, unknown>>,
  ) => Readonly<Record<string, unknown>>;
  readonly train: (
    config: unknown,
    hooks: { signal: AbortSignal; onEvent: (event: Event) => void; ranks?: Ranks | null },
  ) => Promise<{ readonly model: string }>;
  /**
   * Set where several processes can train together. It reads a configuration, so that a mistake is told before they are
   * started.
   */
  readonly check?: (config: unknown) => void;
  /** Shows an event to people. */
  readonly show: (event: Event) => void;
  /** A mistake in a setting, told where the user made it: in a flag, or in the configuration file. */
  readonly byFlag: (error: SettingError, args: Arguments, file: string | undefined) => GradCacheError;
}

/** Trains with the settings of the configuration file, if any, and of the flags. Returns the exit code. */
export async function runTraining<Event extends { readonly type: string }>(
  args: Arguments,
  console: Console,
  run: RunOf<Event>,
): Promise<number> {
  const file = args.text('config');
  const config = run.settings(args, file === undefined ? {} : await readNamedObject(file, 'a configuration'));
  const { output } = config;
  // A resumed run has the settings of its checkpoint. If there is no checkpoint, the training says what is missing.
  const missing = (isResumed(config) ? ['output'] : run.needed).find((name) => config[name] === undefined);
  if (file === undefined && missing !== undefined)
    throw new UsageError(`--${missing} is needed, or a --config FILE that has it.`);
  if (file !== undefined && typeof output === 'string')
    await requireApart(output, [{ name: '--config', path: file }]);
  const told = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw error instanceof SettingError ? run.byFlag(error, args, file) : error;
    });
  const { check } = run;
  if (check === undefined) return told(trainHere(args, console, run, config));
  const work = async (): Promise<number> => {
    const { ranks, others } = takeRankSettings(config);
    check(others);
    return withRanks(args, ranks, console, (ranks, own) => trainHere(args, own, run, others, ranks));
  };
  return told(work());
}

async function trainHere<Event extends { readonly type: string }>(
  args: Arguments,
  { progress, print }: Console,
  run: RunOf<Event>,
  config: Readonly<Record<string, unknown>>,
  ranks?: Ranks | null,
): Promise<number> {
  const { output } = config;
  const json = args.on('json');
  const onEvent = (event: Event): void => {
    const { hardest: _, ...told } = event as Event & { readonly hardest?: unknown };
    if (json && event.type !== 'chunk' && event.type !== 'fetch') print(JSON.stringify(told));
    else if (!json) run.show(event);
  };
  const result = await interruptible(
    (signal) => run.train(config, { signal, onEvent, ...(ranks && { ranks }) }),
    progress,
    () => whatIsLeft(output as string),
  );
  progress.clear();
  if (json) print(JSON.stringify({ type: 'result', ...result }));
  else print(`The model is in ${result.model}`);
  return 0;
}

/** What an interrupted run can go on from. */
async function whatIsLeft(output: string): Promise<string> {
  const last = (await listCheckpoints(output)).at(-1);
  return last === undefined
    ? 'No checkpoint had been made (--checkpoint-every N makes them).'
    : `The checkpoint of step ${last} is complete; --resume goes on from it.`;
}

/** Says an event that is not of a step. */
export function sayEvent(
  progress: ProgressLine,
  event: EvaluationEvent | SavedEvent | SkippedEvent | SkippedTotalEvent | NoteEvent,
): void {
  switch (event.type) {
    case 'evaluation': {
      const scores = Object.entries(event.scores).map(([name, score]) => `${name} ${score.toFixed(4)}`);
      progress.say(`step ${event.step}: ${scores.join(', ')}`);
      break;
    }
    case 'saved':
      progress.say(`step ${event.step}: wrote ${event.folder}`);
      break;
    case 'skipped':
      progress.say(`skipped ${event.message}`);
      break;
    case 'skippedTotal':
      progress.say(`skipped ${plural(event.lines, 'line')} in all`);
      break;
    case 'note':
      progress.say(event.message);
      break;
  }
}
