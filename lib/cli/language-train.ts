import type { GradCacheError } from '../errors.js';
import { ACROSS, DEFAULT_ACROSS } from '../language/across-kinds.js';
import { CELLS, LANGUAGE_SETTINGS } from '../language/language-settings.js';
import { OPTIMIZERS } from '../optim/optimizer-kinds.js';
import type { SettingError } from '../options/fields.js';
import { plural } from '../options/plural.js';
import type { LanguageTrainEvent, LanguageTrainResult } from '../training/language/events.js';
import { readNewLanguageRun, trainLanguageAsGiven } from '../training/language/train-language.js';
import type { Command } from './command.js';
import {
  allFlags,
  isResumed,
  narrowest,
  putFlags,
  refuseRivals,
  refuseTwice,
  settingOf,
  toldByFlag,
  type Rivals,
} from './flag-settings.js';
import { number, numbers, onOff, repeated, text, UsageError, type Arguments, type Flags } from './flags.js';
import { RANK_FLAGS } from './ranks.js';
import {
  CHECKPOINT_FLAGS,
  makeRoomForCheckpoints,
  RUN_RIVALS,
  runTraining,
  sayEvent,
  whereOf,
} from './run.js';
import { WATCH_FLAGS } from './watchers.js';
import { choiceHelp, flagsOf } from './setting-flags.js';
import {
  formatBytes,
  formatCount,
  formatFigure,
  formatRate,
  formatSeconds,
  type ProgressLine,
} from './terminal.js';

const SECTIONS: Readonly<Record<string, Flags>> = {
  'Data and output': {
    config: text('FILE', 'settings as JSON; flags win over it'),
    data: repeated(text('FILE', 'text, .gz too; may be repeated', 'data')),
    documents: text(
      'KIND',
      'what a document is, where the state starts anew: file (default) or line',
      'documents',
    ),
    output: text('FOLDER', 'for the model, checkpoints and metrics.jsonl', 'output'),
  },
  Model: {
    model: text(
      'FOLDER',
      'language model to start from; without it a new one is made of the settings below',
      'model',
    ),
    vocabulary: text('KIND', 'tokens of a new model: bytes (default) or characters', 'vocabulary'),
    tokenizer: text('FILE', 'tokenizer.json whose tokens a new model has', 'vocabulary.tokenizer'),
    cell: text('KIND', `${CELLS.join(', ')}; default ${CELLS[0]}`, 'model.cell'),
    'model.embedding': number('N', 'columns of the word vectors; default: the width', 'model.embedding'),
    'model.projected': number(
      'N',
      'columns in which SRU++ attends; default: a quarter of the width',
      'model.projected',
    ),
    'model.cutoffs': numbers('N,N', 'ends of the clusters of a sorted vocabulary', 'model.cutoffs'),
    ...flagsOf('model', { model: { about: '', settings: LANGUAGE_SETTINGS } }),
  },
  'Segments and gradients': {
    rows: number('N', 'parts of the text that are read side by side', 'rows'),
    length: number('TOKENS', 'of a row in a segment', 'segment.length'),
    segments: number('N', 'segments of an update; default 1', 'segment.count'),
    jitter: onOff('draw the length of each segment, and scale the learning rate by it', 'segment.jitter'),
    across: {
      ...text('KIND', choiceHelp(ACROSS, DEFAULT_ACROSS), 'across.kind'),
      choices: Object.keys(ACROSS),
    },
    ...flagsOf('across', ACROSS),
    device: text('DEVICE', 'cpu, cuda, cuda:1 or auto (default)', 'device'),
    ...RANK_FLAGS,
    precision: text('TYPE', 'float32 (default), bfloat16 or float64', 'precision'),
  },
  Optimisation: {
    epochs: number('N', 'passes over the text; default 1', 'epochs'),
    steps: number('N', 'updates, in place of epochs', 'steps'),
    optimizer: {
      ...text('NAME', choiceHelp(OPTIMIZERS, 'radam'), 'optimizer.kind'),
      choices: Object.keys(OPTIMIZERS),
    },
    ...flagsOf('optimizer', OPTIMIZERS),
    schedule: text('KIND', 'cosine (default), linear or constant', 'schedule.kind'),
    warmup: number('N', 'steps, or a part of all steps (rounded up) below 1; default 0.1', 'schedule.warmup'),
    seed: number('N', 'default 1; the same seed gives the same run', 'seed'),
  },
  'Evaluation and checkpoints': {
    'eval-data': text('FILE', 'held-out text', 'evaluation.data'),
    'eval-rows': number('N', 'parts of it that are read side by side; default: --rows', 'evaluation.rows'),
    'eval-window': number('TOKENS', "that a token attends to; default: the model's", 'evaluation.window'),
    'eval-every': number('STEPS', 'default: only at the end', 'evaluation.every'),
    ...CHECKPOINT_FLAGS,
  },
  Watching: WATCH_FLAGS,
};

const FLAGS = allFlags(SECTIONS);

const RIVALS: readonly Rivals[] = [
  ...RUN_RIVALS,
  { flags: ['vocabulary', 'tokenizer'], replaces: ['vocabulary'] },
];

/** `gradcache language train` */
export const languageTrainCommand: Command = {
  usage: 'gradcache language train --data FILE --output FOLDER --rows N --length TOKENS [FLAGS]',
  about:
    'Trains a recurrent language model on text. Each row of a batch reads its part of the text in segments and hands its state\n' +
    'from one to the next; --across says whether gradients go back from segment to segment, and how. Settings come from a JSON\n' +
    'file (--config), from flags, or both, where flags win. --resume goes on from the newest checkpoint.',
  sections: SECTIONS,
  examples: [
    'gradcache language train --data input.txt --output runs/a --rows 16 --length 64 --cell sru --model.width 512',
    'gradcache language train --data input.txt --output runs/b --rows 16 --length 32 --segments 8 --across exact',
    'gradcache language train --resume runs/a',
    'gradcache language train --config run.json --gpus all',
  ],
  run(args, console) {
    const display = new LanguageDisplay(console.progress);
    return runTraining<LanguageTrainEvent, LanguageTrainResult>(args, console, {
      needed: [['data'], ['output'], ['rows'], ['segment.length']],
      settings: settingsOf,
      train: trainLanguageAsGiven,
      check: readNewLanguageRun,
      show: (event) => display.event(event),
      byFlag,
    });
  },
};

/** Puts the flags over a configuration. */
function settingsOf(args: Arguments, config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const merged: Record<string, unknown> = structuredClone(config);
  refuseRivals(RIVALS, args, merged);
  refuseTwice(FLAGS, args);
  const model = args.text('model');
  const other = FLAGS.find(([name, { sets }]) => sets?.startsWith('model.') && args.get(name) !== undefined);
  if (model !== undefined && other !== undefined)
    throw new UsageError(`--model starts from a model and --${other[0]} is of a new one: give one of them.`);
  makeRoomForCheckpoints(args, merged);
  putFlags(FLAGS, args, merged);
  if (!isResumed(merged)) merged.model ??= {}; // a new model of the defaults
  return merged;
}

function byFlag(error: SettingError, args: Arguments, file: string | undefined): GradCacheError {
  const [setting, element] = settingOf(error);
  const named = FLAGS.flatMap(([name, { sets }]) => (sets === undefined ? [] : [[name, sets] as const]));
  const given = named.filter(([name]) => args.get(name) !== undefined).reverse();
  const groups = file === undefined ? [given, named] : [given];
  return toldByFlag(error, narrowest(setting, groups), element, { args, file });
}

/** Shows the events of a run to people. */
class LanguageDisplay {
  constructor(readonly progress: ProgressLine) {}

  event(event: LanguageTrainEvent): void {
    const { progress } = this;
    switch (event.type) {
      case 'start':
        progress.say(
          `${formatCount(event.parameters)} parameters in ${event.precision} on ${whereOf(event)}, ${plural(event.steps, 'step')}, ` +
            `${formatCount(event.tokens)} tokens of ${event.vocabulary} kinds in ${plural(event.documents, 'document')}` +
            (event.resumed === null ? '' : `, from step ${event.done} in ${event.resumed}`),
        );
        break;
      case 'step':
        progress.show(
          `step ${event.step}/${event.steps} · loss ${formatFigure(event.loss)} (${formatFigure(event.loss / Math.LN2)} bits) · lr ${formatRate(event.lr)} · ` +
            `${formatCount(event.tokensPerSecond)} tokens/s · ${formatBytes(event.peakMemory)} · ${formatSeconds(event.secondsLeft)} left`,
          { always: event.step === 1 || event.step === event.steps },
        );
        break;
      default:
        sayEvent(progress, event);
    }
  }
}
