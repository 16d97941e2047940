import { readFile } from 'node:fs/promises';
import { GradCacheError } from '../errors.js';
import { fileError } from '../file-error.js';
import type { TrainConfig } from '../training/config.js';
import type { TrainEvent } from '../training/events.js';
import { listCheckpoints } from '../training/checkpoint.js';
import { readTrainConfig } from '../training/read-config.js';
import { train } from '../training/train.js';
import type { Command } from './command.js';
import { UsageError } from './flags.js';
import type { Arguments } from './flags.js';
import { interruptible } from './interrupt.js';
import { formatBytes, formatCount, formatSeconds } from './terminal.js';
import type { ProgressLine } from './terminal.js';
import { settingsOf, TRAIN_SECTIONS } from './train-flags.js';

/** `gradcache train` */
export const trainCommand: Command = {
  usage: 'gradcache train --model FOLDER --data FILE --output FOLDER --batch N [FLAGS]',
  about:
    'Trains a text encoder on pairs, with a batch as large as you like at the memory of a chunk. Settings come from a JSON\n' +
    'file (--config), from flags, or both, where flags win. The output folder gets the trained model in model/, checkpoints,\n' +
    'and metrics.jsonl. Ctrl-C ends after the current chunk; --resume goes on from the newest checkpoint.',
  sections: TRAIN_SECTIONS,
  examples: [
    'gradcache train --model all-MiniLM-L6-v2 --data pairs.jsonl --output runs/a --batch 4096',
    'gradcache train --config run.json --lr 1e-5 --output runs/b',
    'gradcache train --config run.json --resume',
  ],
  async run(args, { progress, print }) {
    const config = await readConfig(args);
    const json = args.on('json');
    const show = new TrainDisplay(progress);
    const result = await interruptible(
      (signal) =>
        train(config, {
          signal,
          onEvent: (event) => {
            if (json && event.type !== 'chunk') print(JSON.stringify(event));
            else if (!json) show.event(event);
          },
        }),
      () => progress.say('Ending after the current chunk. Ctrl-C again ends at once.'),
    ).catch(async (error: unknown) => {
      throw await explainAbort(error, config);
    });
    progress.clear();
    if (json) print(JSON.stringify({ type: 'result', ...result }));
    else print(`The model is in ${result.model}`);
    return 0;
  },
};

/** The configuration file, if any, with the flags put over it. */
async function readConfig(args: Arguments): Promise<TrainConfig> {
  const path = args.text('config');
  let config: Record<string, unknown> = {};
  if (path !== undefined) {
    let value: unknown;
    try {
      value = JSON.parse(await readFile(path, 'utf8'));
    } catch (error) {
      throw fileError('INPUT', path, 'read as JSON', error);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new GradCacheError('INPUT', `${path} holds no JSON object; a configuration is one.`);
    }
    config = value as Record<string, unknown>;
  }
  const merged = settingsOf(args, config);
  if (path === undefined) {
    for (const name of ['model', 'data', 'output', 'batch']) {
      if (merged[name] === undefined)
        throw new UsageError(`--${name} is needed, or a --config FILE that has it.`);
    }
  }
  // train checks it as well; here the message can name the file.
  readTrainConfig(merged, path === undefined ? 'config' : `${path}: config`);
  return merged as unknown as TrainConfig;
}

/** Says, where the run was interrupted, what there is to go on from. */
async function explainAbort(error: unknown, config: TrainConfig): Promise<unknown> {
  if (!(error instanceof GradCacheError) || error.code !== 'ABORTED') return error;
  const last = (await listCheckpoints(config.output)).at(-1);
  const rest =
    last === undefined
      ? 'no checkpoint had been made (--checkpoint-every N makes them)'
      : `the checkpoint of step ${last} is complete; --resume goes on from it`;
  return new GradCacheError('ABORTED', `The training was interrupted; ${rest}.`, { cause: error });
}

/** Shows the events of a run to people. */
class TrainDisplay {
  #steps = 0;
  /** What the last step showed; kept on the line while the next one is computed. */
  #figures = '';

  constructor(readonly progress: ProgressLine) {}

  event(event: TrainEvent): void {
    const { progress } = this;
    switch (event.type) {
      case 'start':
        this.#steps = event.steps;
        progress.say(
          `${formatCount(event.parameters)} parameters in ${event.precision} on ${event.device}, ${event.steps} steps` +
            (event.rows === null ? '' : `, ${event.rows} rows`) +
            (event.leftOver ? ` (${event.leftOver} of them left over in an epoch)` : '') +
            ` of ${event.columns.join(', ')}` +
            (event.resumed === null ? '' : `, from step ${event.done} in ${event.resumed}`),
        );
        if (event.device !== 'cpu' && event.precision === 'float32')
          progress.say(`--precision bfloat16 is several times as fast on ${event.device}`);
        break;
      case 'chunk': {
        const { step, phase, chunk, chunks } = event;
        progress.show(`step ${step}/${this.#steps} · ${phase} ${chunk}/${chunks}${this.#figures}`, {
          passing: true,
        });
        break;
      }
      case 'step':
        this.#figures =
          ` · loss ${event.loss.toFixed(4)} · ${formatCount(event.pairsPerSecond)} pairs/s · ` +
          `${formatCount(event.tokensPerSecond)} tokens/s · ${formatBytes(event.peakMemory)} · ${formatSeconds(event.secondsLeft)} left`;
        progress.show(`step ${event.step}/${event.steps}${this.#figures}`, {
          always: event.step === 1 || event.step === event.steps,
        });
        break;
      case 'evaluation':
        progress.say(
          `step ${event.step}: ${Object.entries(event.scores)
            .map(([name, score]) => `${name} ${score.toFixed(4)}`)
            .join(', ')}`,
        );
        break;
      case 'saved':
        progress.say(`step ${event.step}: wrote ${event.folder}`);
        break;
      case 'skipped':
        progress.say(`skipped ${event.message}`);
        break;
    }
  }
}
