import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { DEFAULT_LOSS } from '../losses/loss-kinds.js';
import { DEFAULT_OPTIMIZER } from '../optim/optimizer-kinds.js';
import { checkpointFolder, listCheckpoints, modelFolder, readCheckpoint } from './checkpoint.js';
import type { Checkpoint } from './checkpoint.js';
import { resumeSettings, type ResumableSettings } from './resume-settings.js';
import { DEFAULT_COLUMNS, readTrainConfig, type FilledTrainConfig, type GivenConfig } from './read-config.js';

/**
 * Settings that may change when a run is resumed; the run reports each change. All others decide the batches or the
 * gradient: with another value it would be a different run.
 */
const MAY_CHANGE = new Set([
  'data', // its rows are compared while they are read
  'format',
  'header',
  'quoting',
  'device',
  'chunk',
  'retain',
  'optimizer',
  'schedule',
  'epochs',
  'steps',
  'evaluation',
  'checkpoint',
]);

function mayChange(name: string, now: unknown): boolean {
  if (name === 'optimizer.kind') return false; // its state is another
  // With 'throw' no line has been skipped so far, so the batches are the same with 'skip'.
  return MAY_CHANGE.has(name.split('.')[0]!) || (name === 'onBadLine' && now === 'skip');
}

/** Settings that are objects: given fields override the stored ones. */
const SECTIONS = [
  'loss',
  'memory',
  'curriculum',
  'optimizer',
  'schedule',
  'prompts',
  'evaluation',
  'checkpoint',
];

/** Sections with a kind that decides their other settings. The default is the kind of earlier versions. */
const KINDS: Readonly<Record<string, { readonly key: string; readonly default?: string }>> = {
  evaluation: { key: 'task' },
  loss: { key: 'kind', default: DEFAULT_LOSS },
  optimizer: { key: 'kind', default: DEFAULT_OPTIMIZER },
};

/** A run that continues from a checkpoint. */
export interface Resumed {
  readonly folder: string;
  readonly checkpoint: Checkpoint;
}

/** Finds and reads the checkpoint to resume from; null for a run from the start. Earlier results are never overwritten unasked. */
export async function findResumed(place: Pick<GivenConfig, 'output' | 'resume'>): Promise<Resumed | null> {
  const folder = await findCheckpoint(place);
  if (folder === null) return null;
  const checkpoint = await readCheckpoint(folder);
  await checkNoneLater(place.output, checkpoint.state.step, folder);
  return { folder, checkpoint };
}

/**
 * The configuration of a resumed run: what was given, and the checkpoint's settings where nothing was given.
 *
 * @param given the configuration as the caller gave it, not yet checked
 * @returns the configuration filled in, and a sentence for each setting that has changed
 * @throws GradCacheError `INPUT` for a change that is not allowed, and as {@link readTrainConfig}; `CHECKPOINT` if the
 * stored settings are damaged
 */
export function resumeConfig(
  given: Readonly<Record<string, unknown>>,
  { folder, checkpoint }: Resumed,
): { config: FilledTrainConfig; notes: string[] } {
  const { config: stored } = checkpoint.state;
  if (stored === undefined) {
    const note =
      `${folder} was written by an earlier version and does not hold the settings of its run: those given now are used, ` +
      'and defaults where none is given';
    return { config: readFilled(given), notes: [note] };
  }
  return resumeSettings(given, stored, folder, PAIRS);
}

/** How the settings of a run on pairs are resumed. */
const PAIRS: ResumableSettings<FilledTrainConfig> = {
  read: readFilled,
  sections: SECTIONS,
  kinds: KINDS,
  mayChange,
  stored: storedConfig,
};

/** Reads a configuration whose columns are known: those of a run that was resumed are in its checkpoint. */
function readFilled(given: Readonly<Record<string, unknown>>, path?: string): FilledTrainConfig {
  const config = readTrainConfig(given, path);
  return { ...config, columns: config.columns ?? DEFAULT_COLUMNS };
}

/** What a checkpoint keeps of a configuration: all but where the run writes, with paths that hold in any folder. */
export function storedConfig(config: FilledTrainConfig): Record<string, unknown> {
  const { output: _, resume: __, ...settings } = withFullPaths(config);
  return settings;
}

function withFullPaths(config: FilledTrainConfig): FilledTrainConfig {
  const { model, data, evaluation } = config;
  return {
    ...config,
    model:
      typeof model === 'string'
        ? resolve(model)
        : {
            ...model,
            config: typeof model.config === 'string' ? resolve(model.config) : model.config,
            tokenizer: resolve(model.tokenizer),
          },
    data: data.map((path) => resolve(path)),
    evaluation: evaluation === undefined ? undefined : { ...evaluation, data: resolve(evaluation.data) },
  };
}

async function findCheckpoint({
  resume,
  output,
}: Pick<GivenConfig, 'output' | 'resume'>): Promise<string | null> {
  if (typeof resume === 'string' && dirname(resolve(resume)) === resolve(output)) return resolve(resume);
  const last = (await listCheckpoints(output)).at(-1);
  if (last !== undefined) {
    if (resume === true) return checkpointFolder(output, last);
    throw new GradCacheError(
      'INPUT',
      `${output} already holds a checkpoint of step ${last} of an earlier run. Resume that run, or give another output folder.`,
    );
  }
  if (!existsSync(modelFolder(output))) return typeof resume === 'string' ? resolve(resume) : null;
  throw new GradCacheError(
    'INPUT',
    `${output} already holds the model of an earlier run${resume === true ? ', but no checkpoint to resume it from' : ''}. Give another ` +
      `output folder, or start a new run from ${modelFolder(output)}.`,
  );
}

/** Checkpoints of a branch that was left would be taken for this run's newest. */
async function checkNoneLater(output: string, step: number, resumed: string): Promise<void> {
  const later = (await listCheckpoints(output)).filter((other) => other > step);
  if (later.length === 0) return;
  throw new GradCacheError(
    'INPUT',
    `${output} holds checkpoints after step ${step}, where ${resumed} stands: ${later.join(', ')}. Give another output folder, ` +
      'or remove them.',
  );
}
