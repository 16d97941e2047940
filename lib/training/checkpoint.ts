import { existsSync } from 'node:fs';
import { readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { requireChunkSize, type ChunkSize, type FixedChunkSize } from '../step/chunk-plan.js';
import { beside } from '../files/names-beside.js';
import { replaceFile } from '../files/replace-file.js';
import { replaceFolder } from '../files/replace-folder.js';
import { type StoredTensor, writeSafetensors } from '../safetensors/safetensors.js';
import { tensorsOnDemand } from '../safetensors/tensors-on-demand.js';
import { isPartOfVocabulary } from '../language/vocabulary.js';
import { belongsToModel } from '../model-folder/write-model-folder.js';
import { GradCacheError } from '../errors.js';
import { ifAbsent, onFiles } from '../files/file-error.js';
import { Fields } from '../options/fields.js';
import type { RowsRead } from './rows-read.js';

/** What trainer.json holds: where a run stands, and what its data has to be for the run to go on in the same order. */
export interface TrainerState {
  /** Updates made. */
  readonly step: number;
  /** Settings that the order of the data follows from; in format 1, the sizes of the data files too. */
  readonly order: Readonly<Record<string, unknown>>;
  /** All settings of the run, with their defaults; absent in checkpoints of earlier versions (format 1). */
  readonly config?: Readonly<Record<string, unknown>>;
  /** The data that the run had read; absent like `config`. */
  readonly read?: RowsRead;
  /** The chunk size, if measured or reduced; absent if a new run would begin with the same. */
  readonly chunk?: ChunkState;
  /** Processes that trained together; absent for one. */
  readonly ranks?: number;
  /** The chunk size of each rank, in place of `chunk`; null like an absent one. */
  readonly chunks?: readonly (ChunkState | null)[];
  /** Whether the slow encoder of a memory has followed the last update already, for a step that was interrupted. */
  readonly followed?: boolean;
  /** Whether held-out data was to be measured after the last update, and was not: the run was interrupted. */
  readonly unmeasured?: boolean;
}

/** A chunk size that was measured, or halved when memory ran out. */
export interface ChunkState {
  /** The configuration's, and the kind of device that it was made for: for others it says nothing. */
  readonly asked: ChunkSize;
  readonly device: string;
  readonly size: FixedChunkSize;
}

/** Everything a checkpoint holds besides the model. */
export interface Checkpoint {
  readonly state: TrainerState;
  /** State of the optimizer, as `Optimizer.state` gives it. */
  readonly optimizer: ReadonlyMap<string, StoredTensor>;
  /** Parameters of the loss, by name: a learned temperature. */
  readonly loss: ReadonlyMap<string, StoredTensor>;
  /** The state of a language model's streams and of the synthesiser, as `AcrossSegments.state` gives them. */
  readonly streams?: ReadonlyMap<string, StoredTensor>;
}

/** What a run tells of itself for a checkpoint, besides its model and its optimizer. */
export type TraineeState = Omit<Checkpoint, 'optimizer' | 'state'> & {
  readonly state: Omit<TrainerState, 'step'>;
};

const OPTIMIZER_FILE = 'optimizer.safetensors';
const TRAINER_FILE = 'trainer.json';
const LOSS_PREFIX = 'loss.';
const STREAMS_PREFIX = 'streams.';
const FORMAT = 2;

/** The folder of the checkpoint made after `step` updates. */
export function checkpointFolder(output: string, step: number): string {
  return join(output, `checkpoint-${step}`);
}

/** The folder of the finished model. */
export function modelFolder(output: string): string {
  return join(output, 'model');
}

/**
 * Writes a checkpoint: a model folder with optimizer.safetensors and trainer.json in it. It is made beside its place
 * and renamed into it, so that a folder of this name is always complete.
 *
 * @param saveModel writes the model folder to the path it is given
 */
export async function writeCheckpoint(
  folder: string,
  saveModel: (folder: string) => Promise<void>,
  checkpoint: Checkpoint,
): Promise<void> {
  await replaceFolder(folder, {
    write: async (fresh) => {
      await saveModel(fresh);
      const tensors: [string, StoredTensor][] = [...checkpoint.optimizer];
      for (const [name, tensor] of checkpoint.loss) tensors.push([LOSS_PREFIX + name, tensor]);
      for (const [name, tensor] of checkpoint.streams ?? []) tensors.push([STREAMS_PREFIX + name, tensor]);
      await writeSafetensors(join(fresh, OPTIMIZER_FILE), tensors);
      const json = JSON.stringify({ format: FORMAT, ...checkpoint.state }, null, 2) + '\n';
      await replaceFile(join(fresh, TRAINER_FILE), (file) => file.writeFile(json));
    },
    recognise: (names) => names.includes(TRAINER_FILE),
    belongs: isPartOfCheckpoint,
  });
}

/** True if a run wrote this entry of a checkpoint or model folder; all others are the user's. */
export function isPartOfCheckpoint(name: string): boolean {
  return [TRAINER_FILE, OPTIMIZER_FILE].includes(name) || belongsToModel(name) || isPartOfVocabulary(name);
}

/**
 * Reads what a checkpoint folder holds besides the model.
 *
 * @throws GradCacheError `CHECKPOINT` for a folder without these files, or with damaged ones
 */
export async function readCheckpoint(folder: string): Promise<Checkpoint> {
  const path = join(folder, TRAINER_FILE);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new GradCacheError(
      'CHECKPOINT',
      `${folder} is not a checkpoint of a training run: ${(error as Error).message}. ` +
        `Give a folder that holds ${TRAINER_FILE}, or train from its model without resuming.`,
      { cause: error },
    );
  }
  const state = readState(value, path);
  const optimizer = new Map<string, StoredTensor>();
  const loss = new Map<string, StoredTensor>();
  const streams = new Map<string, StoredTensor>();
  // The state of an optimizer can be larger than the model: it is read where it is loaded, all else now.
  const read = ({ dtype, shape, bytes }: StoredTensor): StoredTensor => ({ dtype, shape, bytes });
  for (const [name, tensor] of await tensorsOnDemand(join(folder, OPTIMIZER_FILE))) {
    if (name.startsWith(LOSS_PREFIX)) loss.set(name.slice(LOSS_PREFIX.length), read(tensor));
    else if (name.startsWith(STREAMS_PREFIX)) streams.set(name.slice(STREAMS_PREFIX.length), read(tensor));
    else optimizer.set(name, tensor);
  }
  return { state, optimizer, loss, ...(streams.size > 0 && { streams }) };
}

/** Whether a folder is a checkpoint, by what it holds. */
export function isCheckpoint(folder: string): boolean {
  return existsSync(join(folder, TRAINER_FILE));
}

/** The steps for which there are complete checkpoints in `output`, lowest first. */
export async function listCheckpoints(output: string): Promise<number[]> {
  const names = await onFiles('INPUT', output, 'read', () => readdir(output).catch(ifAbsent<string[]>([])));
  const steps: number[] = [];
  for (const name of names) {
    const match = /^checkpoint-(\d+)$/.exec(name);
    if (match !== null) steps.push(Number(match[1]));
  }
  return steps.sort((a, b) => a - b);
}

/** Removes all but the newest `keep` checkpoints. */
export async function pruneCheckpoints(output: string, keep: number): Promise<void> {
  const steps = await listCheckpoints(output);
  for (const step of steps.slice(0, Math.max(0, steps.length - keep))) {
    // Renamed first: half a folder must not look like a checkpoint.
    const folder = checkpointFolder(output, step);
    const gone = beside(folder, 'tmp');
    await onFiles('INPUT', folder, 'removed', async () => {
      await rename(folder, gone);
      await rm(gone, { recursive: true, force: true });
    });
  }
}

function readState(value: unknown, path: string): TrainerState {
  try {
    const fields = new Fields(value, path);
    const format = fields.count('format');
    if (format === undefined || format > FORMAT)
      throw new Error(`${path} has format ${format}; this version reads formats 1 to ${FORMAT}.`);
    const chunk = readChunkState(fields.object('chunk'));
    const ranks = fields.count('ranks');
    const [followed, unmeasured] = [fields.boolean('followed'), fields.boolean('unmeasured')];
    const config = readObject(fields, 'config');
    const read = readRows(fields.object('read'));
    if (format > 1 && (config === undefined || read === undefined))
      throw new Error(`${path} lacks config or read: the file is damaged.`);
    return {
      step: fields.number('step', { from: 0, whole: true }) ?? damaged(fields, 'step'),
      order: readObject(fields, 'order') ?? damaged(fields, 'order'),
      ...(config && { config }),
      ...(read && { read }),
      ...(chunk && { chunk }),
      ...(followed && { followed }),
      ...(unmeasured && { unmeasured }),
      ...(ranks !== undefined && ranks > 1 && { ranks, chunks: readChunks(fields, ranks) }),
    };
  } catch (error) {
    throw new GradCacheError('CHECKPOINT', (error as Error).message, { cause: error });
  }
}

function damaged(fields: Fields, name: string): never {
  return fields.missing(name, 'the file is damaged');
}

function readObject(fields: Fields, name: string): Record<string, unknown> | undefined {
  fields.object(name); // refuses what is not an object
  return fields.raw(name) as Record<string, unknown> | undefined;
}

function readRows(fields: Fields | undefined): RowsRead | undefined {
  if (fields === undefined) return undefined;
  return {
    rows: fields.count('rows') ?? damaged(fields, 'rows'),
    sha256: fields.string('sha256') ?? damaged(fields, 'sha256'),
    all: fields.boolean('all') ?? damaged(fields, 'all'),
  };
}

function readChunks(fields: Fields, ranks: number): (ChunkState | null)[] {
  const list = fields.raw('chunks');
  if (!Array.isArray(list) || list.length !== ranks) damaged(fields, 'chunks');
  return (list as unknown[]).map((chunk, rank) => {
    const state = chunk === null ? undefined : new Fields(chunk, `${fields.at('chunks')}[${rank}]`);
    return readChunkState(state) ?? null;
  });
}

function readChunkState(fields: Fields | undefined): ChunkState | undefined {
  if (fields === undefined) return undefined;
  const device = fields.string('device') ?? damaged(fields, 'device');
  const [asked, size] = ['asked', 'size'].map((name) => fields.raw(name)) as [ChunkSize, FixedChunkSize];
  requireChunkSize(size);
  return { asked, device, size };
}
