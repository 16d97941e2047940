import type { GradCacheError } from '../errors.js';
import type { TrainEvent, TrainResult } from '../training/events.js';
import type { SettingError } from '../options/fields.js';
import { readNewRun, trainAsGiven } from '../training/train.js';
import type { Command } from './command.js';
import type { Arguments } from './flags.js';
import {
  formatBytes,
  formatCount,
  formatFigure,
  formatRate,
  formatSeconds,
  type ProgressLine,
} from './terminal.js';
import { plural } from '../options/plural.js';
import { hubNameOf, watching } from './hub.js';
import { dataSetFlagOf } from './data-set-flags.js';
import { settingOf, toldByFlag } from './flag-settings.js';
import { runTraining, sayEvent, whereOf } from './run.js';
import { scoreTable } from './score-table.js';
import { TRAIN_SECTIONS } from './train-flags.js';
import { flagOf, settingsOf } from './train-settings.js';

/** `gradcache train` */
export const trainCommand: Command = {
  usage: 'gradcache train --model FOLDER|NAME --data FILE --output FOLDER --batch N [FLAGS]',
  about:
    'Trains a text encoder on pairs, or CLIP or SigLIP on pictures and captions, with a batch as large as you like at the\n' +
    'memory of a chunk. Settings come from a JSON file (--config), from flags, or both, where flags win. The output folder gets\n' +
    'the trained model in model/, checkpoints, metrics.jsonl and settings.json. Ctrl-C ends after the current chunk, with a\n' +
    'checkpoint. --resume FOLDER goes on from the newest checkpoint of a run, with its settings: flags that are not given are\n' +
    'as before. Other values for the length, the schedule, the optimizer, the device, the chunk, evaluation and checkpoints\n' +
    'are used and told; of what decides the batches or the gradient they are refused.',
  sections: TRAIN_SECTIONS,
  examples: [
    'gradcache train --model sentence-transformers/all-MiniLM-L6-v2 --data pairs.jsonl --output runs/a --batch 4096',
    'gradcache train --config run.json --lr 1e-5 --output runs/b',
    'gradcache train --config run.json --dataset nli=nli.parquet --dataset qa=qa.jsonl --dataset-weight qa=2 --output runs/c',
    'gradcache train --resume runs/a',
    'gradcache train --config run.json --gpus all',
  ],
  run(args, console) {
    const display = new TrainDisplay(console.progress);
    return runTraining<TrainEvent, TrainResult>(args, console, {
      needed: [['model'], ['data', 'datasets'], ['output'], ['batch']],
      settings: (args, given) => withHubName(settingsOf(args, given), console.progress),
      train: trainAsGiven,
      check: readNewRun,
      show: (event) => display.event(event),
      close: scoreTable,
      byFlag,
    });
  },
};

/** `owner/name` is a model of the hub where there is no such folder. */
function withHubName(settings: Record<string, unknown>, progress: ProgressLine): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const setting of ['model', 'imageModel']) {
    const given = settings[setting];
    const name = typeof given === 'string' ? hubNameOf(given, progress) : undefined;
    if (name !== undefined) found[setting] = name;
  }
  return { ...settings, ...found };
}

/** A mistake in a setting, told where the user made it: in a flag, or in the configuration file. */
function byFlag(error: SettingError, args: Arguments, file: string | undefined): GradCacheError {
  const [setting, element] = settingOf(error);
  const ofSet = dataSetFlagOf(error.path.replace(/^config\.?/, ''), args);
  if (ofSet !== undefined) return toldByFlag(error, ofSet.flag, ` ${ofSet.key}=…`, { args, file });
  const flag = flagOf(setting, args, file === undefined ? 'any' : 'given');
  const [, column] = /^prompts\.(.+?)(\.prefix|\.name)?$/.exec(setting) ?? [];
  const [, heldOut] = flag === 'eval-set' ? (/^evaluation\.sets\.(.+)$/.exec(setting) ?? []) : [];
  const about = column ?? heldOut;
  return toldByFlag(error, flag, (about === undefined ? '' : ` ${about}=…`) + element, { args, file });
}

/** Shows the events of a run to people. */
class TrainDisplay {
  /** How many there are, as the line shows it. */
  #steps = '…';
  /** What the last step showed; kept on the line while the next one is computed. */
  #figures = '';

  constructor(readonly progress: ProgressLine) {}

  event(event: TrainEvent): void {
    const { progress } = this;
    switch (event.type) {
      case 'start':
        this.#steps = shownSteps(event.steps);
        progress.say(
          `${formatCount(event.parameters)} parameters in ${event.precision} on ${whereOf(event)}, ${event.steps === null ? 'steps (being counted)' : plural(event.steps, 'step')}` +
            (event.rows === null ? '' : `, ${plural(event.rows, 'row')}`) +
            (event.leftOver ? ` (${event.leftOver} of them left over in an epoch)` : '') +
            ` of ${event.columns.join(', ')}` +
            (event.resumed === null ? '' : `, from step ${event.done} in ${event.resumed}`),
        );
        if (event.device !== 'cpu' && event.precision === 'float32')
          progress.say(`--precision bfloat16 is several times as fast on ${event.device}`);
        break;
      case 'reading':
        progress.show(`reading … ${plural(event.rows, 'row')}`);
        break;
      case 'fetch':
        watching(progress).onProgress(event);
        break;
      case 'chunk': {
        const { step, phase, chunk, chunks } = event;
        progress.show(`step ${step}/${this.#steps} · ${phase} ${chunk}/${chunks}${this.#figures}`, {
          passing: true,
        });
        break;
      }
      case 'step':
        this.#steps = shownSteps(event.steps);
        this.#figures =
          ` · loss ${formatFigure(event.loss)} · lr ${formatRate(event.lr)} · ${plural(event.pairs, 'pair')} · ` +
          `${formatCount(event.pairsPerSecond)} pairs/s · ` +
          `${formatCount(event.tokensPerSecond)} tokens/s · ${formatBytes(event.peakMemory)}` +
          (event.secondsLeft === null ? '' : ` · ${formatSeconds(event.secondsLeft)} left`);
        progress.show(`step ${event.step}/${this.#steps}${this.#figures}`, {
          always: event.step === 1 || event.step === event.steps,
        });
        break;
      default:
        sayEvent(progress, event);
    }
  }
}

const shownSteps = (steps: number | null): string => (steps === null ? '…' : String(steps));
