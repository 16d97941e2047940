/*
 * What a run over several ranks does before it begins: all must have the same settings, files and checkpoint.
 */
import { stat } from 'node:fs/promises';
import { packageVersion } from '../addon/runtime/paths.js';
import { loadedLibtorch } from '../addon/native.js';
import type { Ranks } from '../distributed/ranks.js';
import { fromFirst, onEach } from '../distributed/shared-work.js';
import { readOnceAmong } from '../data/source.js';
import { onFiles } from '../files/file-error.js';
import { refuse } from '../options/fields.js';
import { plural } from '../options/plural.js';
import type { Parameter } from '../tensor/tensor.js';
import { readCheckpoint } from './checkpoint.js';
import {
  changeFiles,
  changeSets,
  FILES_OF_SET,
  placeOf,
  setsOf,
  type HeldOutSettings,
} from './held-out-sets.js';
import { OBJECT } from './objects.js';
import type { FilledTrainConfig } from './read-config.js';
import type { GivenConfig } from './read-run.js';
import { findResumed, type Resumed } from './resume.js';
import { storedConfig } from './resume-pairs.js';
import type { Run } from './run.js';

/** The checkpoint that a run goes on from: the first rank looks for it, and all read it. */
export async function resumedOn(ranks: Ranks | null, given: GivenConfig): Promise<Resumed | null> {
  if (ranks === null) return findResumed(given);
  let found: Resumed | null = null;
  const folder = await fromFirst(ranks, 'looking for a checkpoint', async () => {
    found = await findResumed(given);
    return found?.folder ?? null;
  });
  if (folder === null) return null;
  const checkpoint = await onEach(
    ranks,
    'reading the checkpoint',
    async () => found?.checkpoint ?? readCheckpoint(folder),
  );
  return { folder, checkpoint: withOwnChunk(checkpoint, ranks) };
}

/** Each rank has a chunk size of its own. With another number of ranks, they begin as in a new run. */
function withOwnChunk(checkpoint: Resumed['checkpoint'], ranks: Ranks): Resumed['checkpoint'] {
  const { chunk: _, ...state } = checkpoint.state;
  const own = state.ranks === ranks.size ? state.chunks?.[ranks.rank] : undefined;
  return { ...checkpoint, state: { ...state, ...(own && { chunk: own }) } };
}

/** What the user should know of a run that goes on with another number of ranks. */
export function otherRanks(ranks: Ranks | null, resumed: Resumed | null): string[] {
  if (resumed === null) return [];
  const [then, now] = [resumed.checkpoint.state.ranks ?? 1, ranks?.size ?? 1];
  return then === now
    ? []
    : [
        `the run was on ${plural(then, 'rank')}, now on ${now}: sums are rounded in another way, and dropout drops other ` +
          'elements',
      ];
}

/** Settings that are about several processes alone, each with the value that it has by default. */
const AMONG_RANKS = { divideOptimizer: false, reduction: 'own', exchange: 'gather', overlap: false } as const;

/**
 * What the user should know of a run that is one process and asks for what only several do. It is not refused: it changes no update,
 * and a configuration for several GPUs is tried out on one, and a run of several resumed there.
 */
export function unusedAlone(ranks: Ranks | null, config: FilledTrainConfig): string[] {
  if (ranks !== null && ranks.size > 1) return [];
  const names = Object.entries(AMONG_RANKS)
    .filter(([name, standard]) => config[name as keyof typeof AMONG_RANKS] !== standard)
    .map(([name]) => name);
  if (names.length === 0) return [];
  return [
    `not used, as the run is one process: ${names.join(', ')}. --gpus, or a launcher such as torchrun, starts several processes`,
  ];
}

/**
 * A configuration as ranks can train by it, with the kind of device that they have.
 *
 * @throws GradCacheError `INPUT`
 */
export function suitedTo(
  ranks: Ranks | null,
  config: FilledTrainConfig,
  { settings }: GivenConfig,
): FilledTrainConfig {
  if (ranks === null) return config;
  requireForRanks(ranks, config.data, { name: 'config.batch', count: config.batch });
  for (const { name, set } of setsOf(config.evaluation))
    for (const file of FILES_OF_SET) {
      const held = readOnceAmong(set[file] === undefined ? [] : [set[file]]);
      if (held !== undefined)
        throw refuse(`config.${placeOf(name)}.${file}`, held, 'a regular file, which every rank reads,');
    }
  return { ...config, device: kindOfDevice(ranks, settings) };
}

/** @throws GradCacheError `INPUT` for data that can be read once, and for a batch with fewer rows than ranks */
export function requireForRanks(
  ranks: Ranks,
  data: readonly string[],
  rows: { readonly name: string; readonly count: number },
): void {
  const once = readOnceAmong(data);
  if (once !== undefined) throw refuse('config.data', once, 'a regular file, which every rank reads,');
  if (rows.count < ranks.size)
    throw refuse(rows.name, rows.count, `at least ${ranks.size}, a row for each rank,`);
}

/** The kind of device that ranks have. @throws GradCacheError `INPUT` where another one is asked for */
export function kindOfDevice(ranks: Ranks, { device = 'auto' }: GivenConfig['settings']): string {
  const [kind = ''] = ranks.device.split(':');
  if (device === 'auto' || device === kind || device === ranks.device) return kind;
  throw refuse('config.device', device, `${JSON.stringify(ranks.device)}, which the ranks have joined with,`);
}

/** What all ranks must have in common whatever they train, by the name that a message calls it. */
export function factsOfRun(
  { length, done }: Pick<Run, 'length' | 'done'>,
  parameters: readonly Parameter[],
): Record<string, unknown> {
  return {
    'the version of gradcache': packageVersion(),
    'the version of libtorch': loadedLibtorch().libtorch.version,
    'the version of Node.js': process.version,
    'the number of updates': length.known,
    'the number of updates made before': done,
    'the number of parameters': parameters.reduce((sum, { tensor }) => sum + tensor.size, 0),
  };
}

/** Settings that all ranks must have in common. Machines may have the same files at other places. */
export function factsOfSettings(stored: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { model, data: _, datasets, evaluation, ...settings } = stored;
  // The settings of a new model count, the folder of one that exists does not.
  if (typeof model === 'object') Object.assign(settings, { model });
  if (Array.isArray(datasets))
    Object.assign(settings, { datasets: datasets.map((set: object) => ({ ...set, data: undefined })) });
  if (evaluation !== undefined)
    Object.assign(settings, {
      evaluation: changeSets(evaluation as HeldOutSettings, (set) => changeFiles(set, () => undefined)),
    });
  return Object.fromEntries(Object.entries(settings).map(([name, value]) => [`config.${name}`, value]));
}

/** What all ranks must have in common to train on pairs. */
export async function factsOf(
  config: FilledTrainConfig,
  run: Run,
  counted: { readonly rows: number } | null,
): Promise<Record<string, unknown>> {
  const facts: Record<string, unknown> = {
    ...factsOfRun(run, run.objective.parameters()),
    'the number of rows': counted?.rows,
    ...factsOfSettings(storedConfig(config)),
  };
  for (const [place, path] of config.data.entries()) {
    if (path === OBJECT) continue;
    const { size } = await onFiles('INPUT', path, 'read', () => stat(path));
    facts[`the size of config.data[${place}]`] = size;
  }
  return facts;
}

/** Opens something on every rank. What one has opened is closed where another cannot. */
export async function openOnEach<T>(
  ranks: Ranks | null,
  open: () => Promise<T>,
  close: (opened: T) => void,
): Promise<T> {
  let opened: { readonly it: T } | undefined;
  try {
    await onEach(ranks, 'opening the model', async () => {
      opened = { it: await open() };
    });
    return opened!.it;
  } catch (error) {
    if (opened !== undefined) close(opened.it);
    throw error;
  }
}
