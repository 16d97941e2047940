import { readFile, stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ChunkSize } from '../step/chunk-plan.js';
import { TextEncoder } from '../encoders/text-encoder.js';
import { Tokenizer } from '../tokenizer/tokenizer.js';
import type { StoredTensor } from '../safetensors/safetensors.js';
import { fromStored } from '../safetensors/stored-tensor.js';
import { GradCacheError } from '../errors.js';
import { fileError } from '../files/file-error.js';
import { GradCache } from '../step/gradcache.js';
import type { TrainedLoss } from '../losses/loss-kind.js';
import { makeLoss } from '../losses/loss-kinds.js';
import type { Optimizer } from '../optim/optimizer.js';
import { makeOptimizer } from '../optim/optimizer-kinds.js';
import { constantSchedule, cosineSchedule, linearSchedule } from '../optim/schedules.js';
import type { Schedule } from '../optim/schedules.js';
import type { Parameter } from '../tensor/tensor.js';
import type { Checkpoint, ChunkState } from './checkpoint.js';
import type { FilledTrainConfig } from './config.js';
import { chooseDevice } from './device.js';
import { SettingError } from '../options/fields.js';
import { savePrompts } from './prompts.js';
import type { Resumed } from './resume.js';

/** The parts of a training run, made from its configuration and, when it is resumed, from a checkpoint. */
export interface Run {
  readonly model: TextEncoder;
  readonly gradcache: GradCache;
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  /** Updates in all. */
  readonly steps: number;
  /** Updates made before. */
  readonly done: number;
  /** The checkpoint folder that the run goes on from. */
  readonly resumed: string | null;
  readonly loss: TrainedLoss;
  /** The settings that the order of the data follows from; kept in checkpoints. */
  readonly order: Readonly<Record<string, unknown>>;
}

/**
 * Makes the parts of a run.
 *
 * @param steps updates in all
 * @param resumed the checkpoint that the run goes on from, or null
 * @throws GradCacheError `INPUT` when the checkpoint was made from other data or settings that order it
 */
export async function openRun(
  config: FilledTrainConfig,
  steps: number,
  resumed: Resumed | null,
): Promise<Run> {
  const order = dataOrder(config);
  if (resumed !== null) await checkSameOrder(resumed, config, order);
  const checkpoint = resumed?.checkpoint ?? null;
  const done = checkpoint?.state.step ?? 0;
  const schedule = makeSchedule(config, steps);
  const model = await openModel(config, resumed?.folder ?? null);
  let optimizer: Optimizer | undefined;
  try {
    savePrompts(config, model);
    model.setSimilarity(config.loss.similarity); // saved with the model
    const loss = makeLoss(config.loss);
    const gradcache = new GradCache({
      encoders: config.columns.map(() => model),
      loss,
      chunk: chunkSize(config, model, checkpoint),
      retain: typeof config.retain === 'number' ? { bytes: config.retain } : config.retain,
      seed: config.seed,
    });
    optimizer = makeOptimizer(gradcache.parameters(), config.optimizer);
    if (checkpoint !== null) {
      optimizer.loadState(checkpoint.optimizer);
      restore(loss.parameters(), checkpoint.loss);
    }
    return {
      model,
      gradcache,
      optimizer,
      schedule,
      steps,
      done,
      resumed: resumed?.folder ?? null,
      loss,
      order,
    };
  } catch (error) {
    optimizer?.dispose();
    model.dispose();
    throw error;
  }
}

async function openModel(config: FilledTrainConfig, checkpoint: string | null): Promise<TextEncoder> {
  const { model, precision, maxLength, dropout, seed } = config;
  const options = { device: chooseDevice(config.device), precision, maxLength, dropout };
  const folder = checkpoint ?? (typeof model === 'string' ? model : null);
  if (folder !== null) return TextEncoder.load(folder, options);
  const { config: given, tokenizer, pooling, normalize } = model as Exclude<typeof model, string>;
  const architecture = typeof given === 'string' ? await readJson(given) : given;
  return TextEncoder.create(architecture, await Tokenizer.fromFile(tokenizer), {
    ...options,
    pooling,
    normalize,
    seed,
  });
}

/** The masks of dropout follow the chunks: a resumed run cuts them as the run before it did, if it is asked the same. */
function chunkSize(
  { chunk: asked }: FilledTrainConfig,
  model: TextEncoder,
  checkpoint: Checkpoint | null,
): ChunkSize {
  const stored = checkpoint?.state.chunk;
  const same = isDeepStrictEqual(stored?.asked, asked) && stored?.device === deviceKind(model);
  return stored !== undefined && same ? stored.size : asked;
}

/** What a checkpoint keeps of the chunk size: nothing where a new run would begin with the same. */
export function chunkState(
  { gradcache, model }: Run,
  { chunk: asked }: FilledTrainConfig,
): {
  chunk?: ChunkState;
} {
  const size = gradcache.chunkSizes()[0]!;
  const first = asked === 'auto' ? model.automaticChunk : asked;
  return isDeepStrictEqual(size, first) ? {} : { chunk: { asked, device: deviceKind(model), size } };
}

const deviceKind = ({ device }: TextEncoder): string => device.split(':')[0]!;

async function readJson(path: string): Promise<Record<string, unknown>> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    throw fileError('INPUT', path, "read as a model's config", error);
  }
}

function makeSchedule(config: FilledTrainConfig, steps: number): Schedule {
  const { kind, warmup: given } = config.schedule;
  const { lr } = config.optimizer;
  // A part is rounded up, as transformers does: a short run has a warm-up too.
  const warmup = given < 1 ? Math.ceil(given * steps) : given;
  if (warmup > steps) {
    throw new SettingError(
      'config.schedule.warmup',
      `is ${warmup}, but the run has ${steps} step${steps === 1 ? '' : 's'}: give at most as many, or a part of them below 1.`,
    );
  }
  if (kind === 'constant') return constantSchedule({ lr, warmup });
  return (kind === 'cosine' ? cosineSchedule : linearSchedule)({ lr, warmup, total: steps });
}

/** The settings that decide which rows are in which batch. The rows themselves are compared while they are read. */
function dataOrder({
  columns,
  batch,
  seed,
  shuffle,
  uniqueTexts,
}: FilledTrainConfig): Record<string, unknown> {
  return { columns, batch, seed, shuffle, uniqueTexts };
}

async function checkSameOrder(
  { folder, checkpoint }: Resumed,
  config: FilledTrainConfig,
  order: Readonly<Record<string, unknown>>,
): Promise<void> {
  const { state } = checkpoint;
  for (const [name, now] of Object.entries(order)) requireSame(folder, `${name} was`, state.order[name], now);
  // Checkpoints of format 1 hold no digest of the rows, but the sizes of the files that they were in.
  if (state.read === undefined) {
    const now = await Promise.all(config.data.map(sizeOf));
    requireSame(folder, 'the sizes of the data files were', state.order.bytes, now);
  }
}

function requireSame(folder: string, what: string, then: unknown, now: unknown): void {
  if (JSON.stringify(then) === JSON.stringify(now)) return;
  throw new GradCacheError(
    'INPUT',
    `${folder} cannot be resumed: ${what} ${JSON.stringify(then)}, now ${JSON.stringify(now)}, and the order of the data ` +
      'would be another. Use the same setting, or start a new run from the model in that folder.',
  );
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    throw fileError('INPUT', path, 'read', error);
  }
}

function restore(parameters: readonly Parameter[], stored: ReadonlyMap<string, StoredTensor>): void {
  for (const { name, tensor } of parameters) {
    const value = stored.get(name);
    if (value === undefined || value.shape.join() !== tensor.shape.join() || value.dtype !== tensor.dtype) {
      throw new GradCacheError(
        'CHECKPOINT',
        `The checkpoint does not fit the loss: its ${name} is missing or of another shape.`,
      );
    }
    const source = fromStored(value, tensor.device);
    tensor.copyFrom(source);
    source.dispose();
  }
}
