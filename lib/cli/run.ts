/*
 * What the commands that train have in common.
 */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Ranks } from '../distributed/ranks.js';
import type { GradCacheError } from '../errors.js';
import { readNamedObject } from '../files/json-file.js';
import { SettingError } from '../options/fields.js';
import { show } from '../options/option-values.js';
import { plural } from '../options/plural.js';
import { isPlainObject } from '../options/realms.js';
import { isCheckpoint, listCheckpoints } from '../training/checkpoint.js';
import type {
  EvaluationEvent,
  NoteEvent,
  SavedEvent,
  SkippedEvent,
  SkippedTotalEvent,
} from '../training/events.js';
import { requireApart } from '../training/inputs-apart.js';
import type { Console } from './command.js';
import { isResumed, type Rivals } from './flag-settings.js';
import { areNeeded, number, offSwitch, optional, text, UsageError, type Arguments } from './flags.js';
import { interruptible } from './interrupt.js';
import { takeRankSettings, withRanks } from './ranks.js';
import type { ProgressLine } from './terminal.js';
import { openWatchers, type Watchers } from './watchers.js';

export const CHECKPOINT_FLAGS = {
  'checkpoint-every': number(
    'STEPS',
    'default: 1000; none by steps with --checkpoint-minutes alone',
    'checkpoint.every',
  ),
  'checkpoint-minutes': number(
    'MINUTES',
    'default: 15; none by time with --checkpoint-every alone',
    'checkpoint.minutes',
  ),
  'checkpoint-keep': number('N', 'newest checkpoints to keep; default 2', 'checkpoint.keep'),
  checkpoint: offSwitch('write nothing but the finished model, at Ctrl-C neither', 'checkpoint'),
  resume: optional(
    text(
      'FOLDER',
      'go on with the run of this output folder (by itself: of --output), from its newest checkpoint, or from this one',
      'resume',
    ),
  ),
  'resume-from': text('FOLDER', 'go on from this checkpoint, into another --output', 'resume'),
};

/** Flags that exclude each other in every command that trains. */
export const RUN_RIVALS: readonly Rivals[] = [
  { flags: ['epochs', 'steps'], replaces: ['epochs', 'steps'] },
  { flags: ['resume', 'resume-from'] },
  ...['every', 'minutes', 'keep'].map((name) => ({ flags: ['checkpoint', `checkpoint-${name}`] })),
];

/** The flags of single settings of checkpoints count, whatever the configuration file says of all of them together. */
export function makeRoomForCheckpoints(args: Arguments, merged: Record<string, unknown>): void {
  const given = ['every', 'minutes', 'keep'].some((name) => args.get(`checkpoint-${name}`) !== undefined);
  if (given && typeof merged.checkpoint === 'boolean') delete merged.checkpoint;
}

/**
 * `--resume FOLDER` names the output folder of a run, or one of its checkpoints.
 *
 * @throws UsageError for what is neither, and beside another output folder
 */
function withResumedFolder(
  config: Readonly<Record<string, unknown>>,
  args: Arguments,
): Readonly<Record<string, unknown>> {
  const folder = args.get('resume');
  if (typeof folder !== 'string') return config;
  if (!existsSync(folder)) throw new UsageError(`--resume is ${show(folder)}, and there is no such folder.`);
  const { output } = config;
  if (isCheckpoint(folder)) return { ...config, resume: folder, output: output ?? dirname(resolve(folder)) };
  if (typeof output === 'string' && resolve(output) !== resolve(folder))
    throw new UsageError(
      `--resume is ${show(folder)}, the output folder of a run, and output is ${show(output)}: leave one of them out. ` +
        '--resume-from CHECKPOINT goes on in another folder.',
    );
  return { ...config, resume: true, output: folder };
}

/** A run as a command knows it. */
interface RunOf<Event, Result> {
  /**
   * The settings that a run needs, unless it is resumed, each with those that can take its place. The last part of the first is the flag
   * that sets it.
   */
  readonly needed: readonly (readonly string[])[];
  /** Puts the flags over the content of the configuration file. */
  readonly settings: (
    args: Arguments,
    given: Readonly<Record<string, unknown>>,
  ) => Readonly<Record<string, unknown>>;
  readonly train: (
    config: unknown,
    hooks: { signal: AbortSignal; onEvent: (event: Event) => void; ranks?: Ranks | null },
  ) => Promise<Result>;
  /** Reads a configuration, so that a mistake is told before several processes are started. */
  readonly check: (config: unknown) => void;
  /** Shows an event to people. */
  readonly show: (event: Event) => void;
  /** Lines about what the run came to; absent: none. */
  readonly close?: (result: Result) => readonly string[];
  /** A mistake in a setting, told where the user made it: in a flag, or in the configuration file. */
  readonly byFlag: (error: SettingError, args: Arguments, file: string | undefined) => GradCacheError;
}

/** Events that are of interest at their moment alone. */
const PASSING: ReadonlySet<string> = new Set(['chunk', 'fetch', 'reading']);

/** Trains with the settings of the configuration file, if any, and of the flags. Returns the exit code. */
export async function runTraining<
  Event extends { readonly type: string },
  Result extends { readonly model: string },
>(args: Arguments, console: Console, run: RunOf<Event, Result>): Promise<number> {
  const file = args.text('config');
  // `$schema` is for the editor that the file was written in.
  const { $schema: _, ...given } = file === undefined ? {} : await readNamedObject(file, 'a configuration');
  const config = withResumedFolder(run.settings(args, given), args);
  const { output } = config;
  // A resumed run has the settings of its checkpoint. If there is no checkpoint, the training says what is missing.
  const missing = (isResumed(config) ? [['output']] : run.needed).filter((paths) =>
    paths.every((path) => settingAt(config, path) === undefined),
  );
  if (file === undefined && missing.length > 0)
    throw new UsageError(
      `${areNeeded(missing.map(([path]) => `--${path?.split('.').at(-1)}`))}, or a --config FILE that has ${missing.length > 1 ? 'them' : 'it'}.`,
    );
  if (file !== undefined && typeof output === 'string')
    await requireApart(output, [{ name: '--config', path: file }]);
  const told = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      throw error instanceof SettingError ? run.byFlag(error, args, file) : error;
    });
  const work = async (): Promise<number> => {
    const { ranks, others } = takeRankSettings(config);
    run.check(others);
    return withRanks(args, ranks, console, (ranks, own) => trainHere(args, own, run, others, ranks));
  };
  return told(work());
}

function settingAt(config: Readonly<Record<string, unknown>>, path: string): unknown {
  return path
    .split('.')
    .reduce<unknown>((value, name) => (isPlainObject(value) ? value[name] : undefined), config);
}

async function trainHere<Event extends { readonly type: string }, Result extends { readonly model: string }>(
  args: Arguments,
  { progress, print }: Console,
  run: RunOf<Event, Result>,
  config: Readonly<Record<string, unknown>>,
  ranks?: Ranks | null,
): Promise<number> {
  const { output } = config;
  const json = args.on('json');
  const onEvent = (event: Event): void => {
    const { hardest: _, ...told } = event as Event & { readonly hardest?: unknown };
    if (json && !PASSING.has(event.type)) print(JSON.stringify(told));
    else if (!json) run.show(event);
    watchers.add(event);
  };
  const watchers = await openWatchers(args, output as string, progress, ranks ?? null);
  const result = await whileOpen(watchers, () =>
    interruptible(
      (signal) => run.train(config, { signal, onEvent, ...(ranks && { ranks }) }),
      progress,
      () => whatIsLeft(output as string),
    ),
  );
  progress.clear();
  if (json) print(JSON.stringify({ type: 'result', ...result }));
  else {
    for (const line of run.close?.(result) ?? []) print(line);
    print(`The model is in ${result.model}`);
  }
  return 0;
}

/** Closes watchers at the end of a work, whatever it is; the first error is the one to tell. */
async function whileOpen<T>(watchers: Watchers, work: () => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await watchers.close().catch(() => undefined);
    throw error;
  }
  await watchers.close();
  return result;
}

/** What an interrupted run can go on from. */
async function whatIsLeft(output: string): Promise<string> {
  const last = (await listCheckpoints(output)).at(-1);
  return last === undefined
    ? 'There is no checkpoint to go on from: none is written before the first update, or with --no-checkpoint.'
    : `The checkpoint of step ${last} is complete; --resume ${output} goes on from it.`;
}

/** What was skipped in all: lines, pictures or both. */
function skippedIn({ lines, files, pictures = 0 }: SkippedTotalEvent): string {
  const ofLines = lines > 0 ? `${plural(lines, 'line')} in all${amongFiles(files)}` : '';
  const ofPictures = pictures > 0 ? `${plural(pictures, 'picture')} in all that cannot be decoded` : '';
  return [ofLines, ofPictures].filter((part) => part !== '').join(', ');
}

/** How many lines each of several files had. */
function amongFiles(files: SkippedTotalEvent['files']): string {
  const counts = Object.entries(files);
  return counts.length < 2 ? '' : `: ${counts.map(([file, lines]) => `${lines} of ${file}`).join(', ')}`;
}

/** Where a run computes: `cuda:0`, or `4 × cuda`. */
export function whereOf({ device, ranks }: { readonly device: string; readonly ranks: number }): string {
  return ranks === 1 ? device : `${ranks} × ${device.split(':')[0]}`;
}

/** Scores as they are shown, those of each set of held-out data (`sts.spearman`) together. */
function bySet(scores: EvaluationEvent['scores']): string[][] {
  const sets = new Map<string, string[]>();
  for (const [name, score] of Object.entries(scores)) {
    const set = name.slice(0, name.indexOf('.') + 1);
    sets.set(set, [...(sets.get(set) ?? []), `${name} ${score.toFixed(4)}`]);
  }
  return [...sets.values()];
}

/** Says an event that is not of a step. */
export function sayEvent(
  progress: ProgressLine,
  event: EvaluationEvent | SavedEvent | SkippedEvent | SkippedTotalEvent | NoteEvent,
): void {
  switch (event.type) {
    case 'evaluation':
      for (const scores of bySet(event.scores)) progress.say(`step ${event.step}: ${scores.join(', ')}`);
      break;
    case 'saved':
      progress.say(`step ${event.step}: wrote ${event.folder}`);
      break;
    case 'skipped':
      progress.say(`skipped ${event.message}`);
      break;
    case 'skippedTotal':
      progress.say(`skipped ${skippedIn(event)}`);
      break;
    case 'note':
      progress.say(event.message);
      break;
  }
}
