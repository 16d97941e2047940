import { resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { DEFAULT_LOSS, guideOf } from '../losses/loss-kinds.js';
import { DEFAULT_OPTIMIZER } from '../optim/optimizer-kinds.js';
import { isPlainObject } from '../options/realms.js';
import { lastingPath } from './from-hub.js';
import { idsPath } from './id-settings.js';
import { changeFiles, changeSets } from './held-out-sets.js';
import { OBJECT } from './objects.js';
import { readTrainConfig, usualColumns, type FilledTrainConfig } from './read-config.js';
import type { Resumed } from './resume.js';
import {
  mayChangeOf,
  resumeSettings,
  type KindOfSection,
  type ResumableSettings,
} from './resume-settings.js';

/**
 * Settings that may change when a run is resumed; the run reports each change. All others decide the batches or the
 * gradient: with another value it would be a different run.
 */
const mayChangeByName = mayChangeOf([
  'format',
  'header',
  'quoting',
  'delimiter',
  'chunk',
  'retain',
  'divideOptimizer',
  'exchange',
  'overlap',
]);

function mayChange(name: string, now: unknown, was: unknown): boolean {
  // As `data`: the contents are compared.
  if (name === 'datasets') return isDeepStrictEqual(withoutFiles(now), withoutFiles(was));
  // With 'throw' no line has been skipped so far, so the batches are the same with 'skip'.
  return mayChangeByName(name) || (name === 'onBadLine' && now === 'skip');
}

function withoutFiles(datasets: unknown): unknown {
  return Array.isArray(datasets) ? datasets.map((set: object) => ({ ...set, data: undefined })) : datasets;
}

/** Data sets that are named again have the settings that are stored of them, where these are not given. */
function joinSets(stored: unknown, given: unknown): unknown {
  if (!Array.isArray(stored) || !Array.isArray(given)) return given;
  return given.map((set: unknown, place) => {
    if (!isPlainObject(set)) return set;
    const { name = `data set ${place + 1}` } = set;
    const before: unknown = stored.find((each: { readonly name?: unknown }) => each.name === name);
    return { ...(before as object | undefined), ...set };
  });
}

/** Settings that are objects: given fields override the stored ones. */
const SECTIONS = [
  'lateInteraction',
  'lora',
  'loss',
  'matryoshka',
  'adaptiveLayer',
  'memory',
  'curriculum',
  'optimizer',
  'schedule',
  'prompts',
  'evaluation',
  'checkpoint',
];

/** Sections with a kind that decides their other settings. */
const KINDS: Readonly<Record<string, KindOfSection>> = {
  evaluation: { key: 'task', kept: ['sets', 'every', 'before', 'best', 'patience'] },
  loss: { key: 'kind', default: DEFAULT_LOSS },
  optimizer: { key: 'kind', default: DEFAULT_OPTIMIZER },
};

/** Judgements of held-out data, or a file of rows. */
const REPLACED = {
  evaluation: {
    data: ['queries', 'corpus', 'judgements'],
    judgements: [
      'data',
      'documents',
      'documentColumn',
      'columns',
      'ids',
      'format',
      'header',
      'quoting',
      'delimiter',
    ],
  },
};

/** Without windows there is no overlap of them. */
const DETAILS = { evaluation: { windows: ['windowOverlap'] } };

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
export const PAIRS: ResumableSettings<FilledTrainConfig> = {
  read: readFilled,
  sections: SECTIONS,
  kinds: KINDS,
  replaced: REPLACED,
  details: DETAILS,
  mayChange,
  joined: { datasets: joinSets },
  following: (given) => (idsPath(given) === undefined ? [] : ['loss.maskDuplicates']),
  nothing: OBJECT, // measures of the program stand beside held-out data, or alone
  stored: storedConfig,
};

/** Reads a configuration whose columns are known: those of a run that was resumed are in its checkpoint. */
function readFilled(given: Readonly<Record<string, unknown>>, path?: string): FilledTrainConfig {
  const config = readTrainConfig(given, path);
  return { ...config, columns: config.columns ?? usualColumns(config.loss, config.images) };
}

/** What a checkpoint keeps of a configuration: all but where the run writes, with paths that hold in any folder. */
export function storedConfig(config: FilledTrainConfig): Record<string, unknown> {
  const { output: _, resume: __, ...settings } = withFullPaths(config);
  // Of several data sets each has its files.
  return settings.datasets === undefined ? settings : { ...settings, data: undefined };
}

function withFullPaths(config: FilledTrainConfig): FilledTrainConfig {
  const { model, imageModel, data, datasets, loss, lossFrom, evaluation } = config;
  const guide = guideOf(loss);
  return {
    ...config,
    loss: loss.kind === 'gist-embed' && guide !== null ? { ...loss, guide: lastingPath(guide) } : loss,
    lossFrom: lossFrom === undefined ? undefined : resolve(lossFrom),
    model:
      typeof model === 'string'
        ? lastingPath(model)
        : {
            ...model,
            config: typeof model.config === 'string' ? resolve(model.config) : model.config,
            tokenizer: resolve(model.tokenizer),
          },
    imageModel: imageModel === undefined ? undefined : lastingPath(imageModel),
    data: data.map(lastingPath),
    datasets: datasets?.map((set) => ({ ...set, data: set.data.map(lastingPath) })),
    evaluation: evaluation && changeSets(evaluation, (set) => changeFiles(set, lastingPath)),
  };
}
