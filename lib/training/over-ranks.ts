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
import { readCheckpoint } from './checkpoint.js';
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
  const once = readOnceAmong(config.data);
  if (once !== undefined) throw refuse('config.data', once, 'a regular file, which every rank reads,');
  if (config.batch < ranks.size)
    throw refuse('config.batch', config.batch, `at least ${ranks.size}, a row for each rank,`);
  const [kind = ''] = ranks.device.split(':');
  const { device = 'auto' } = settings;
  if (device !== 'auto' && device !== kind && device !== ranks.device)
    throw refuse(
      'config.device',
      device,
      `${JSON.stringify(ranks.device)}, which the ranks have joined with,`,
    );
  return { ...config, device: kind };
}

/** What all ranks must have in common, by the name that a message calls it. */
export async function factsOf(
  config: FilledTrainConfig,
  run: Run,
  counted: { readonly rows: number } | null,
): Promise<Record<string, unknown>> {
  const facts: Record<string, unknown> = {
    'the version of gradcache': packageVersion(),
    'the version of libtorch': loadedLibtorch().libtorch.version,
    'the version of Node.js': process.version,
    'the number of updates': run.steps,
    'the number of updates made before': run.done,
    'the number of rows': counted?.rows,
    'the number of parameters': run.objective.parameters().reduce((sum, { tensor }) => sum + tensor.size, 0),
  };
  // Machines may have the same files at other places.
  const { model: _, data: __, evaluation, ...settings } = storedConfig(config);
  Object.assign(settings, evaluation && { evaluation: { ...evaluation, data: undefined } });
  for (const [name, value] of Object.entries(settings)) facts[`config.${name}`] = value;
  for (const [place, path] of config.data.entries()) {
    const { size } = await onFiles('INPUT', path, 'read', () => stat(path));
    facts[`the size of config.data[${place}]`] = size;
  }
  return facts;
}

/** Opens something on every rank. What one has opened is disposed where another cannot. */
export async function openOnEach(ranks: Ranks | null, open: () => Promise<Run>): Promise<Run> {
  let run: Run | undefined;
  try {
    await onEach(ranks, 'opening the model', async () => {
      run = await open();
    });
    return run!;
  } catch (error) {
    run?.optimizer.dispose();
    run?.objective.dispose();
    throw error;
  }
}
