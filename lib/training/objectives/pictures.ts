import type { Batch } from '../../data/batches.js';
import type { Label } from '../../data/labels.js';
import type { Ranks } from '../../distributed/ranks.js';
import { fromEach } from '../../distributed/shared-work.js';
import { readNamedObject } from '../../files/json-file.js';
import { ImageTextModel } from '../../images/image-text-model.js';
import type { ImageTextPair } from '../../images/image-text-pair.js';
import { encodeCaptions } from '../../images/image-text-towers.js';
import { makeLoss, stepOptionsOf } from '../../losses/loss-kinds.js';
import { withGradients, type LossOptions, type LossWithGradients } from '../../losses/loss.js';
import { loadLoss, snapshotBeside, storedWeightsOf } from '../../losses/stored-loss.js';
import type { ModelSnapshot } from '../../model-folder/model-snapshot.js';
import { SettingError } from '../../options/fields.js';
import { restore } from '../../safetensors/restore.js';
import type { ChunkSize } from '../../step/chunk-plan.js';
import type { AnyEncoder } from '../../step/encoder.js';
import { GradCache } from '../../step/gradcache.js';
import { chooseDevice } from '../../tensor/memory.js';
import type { Parameter } from '../../tensor/tensor.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { RunObjects } from '../objects.js';
import { folderOfHeldOut, folderOfPictures } from '../picture-paths.js';
import type { NothingLeft } from '../passed-over.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Resumed } from '../resume.js';
import { chunkState, firstChunkSize } from './chunk-size.js';
import { freezeNamed } from './freeze-named.js';
import { loadHeldOutBatches, meanLoss } from './held-out-loss.js';
import { decodable, loadHeldOutPictures } from './held-out-pictures.js';
import { loadAllHeldOut } from './all-held-out.js';
import { nonFiniteIn, sayNonFinite } from './non-finite-rows.js';
import {
  ofRows,
  type BatchPlace,
  type HeldOut,
  type Objective,
  type ObjectiveState,
  type ObjectiveStep,
  type ObjectiveStepOptions,
  type Texts,
} from './objective.js';
import { openPair, towerPrecision } from './open-pair.js';
import { disposeTowers, PictureBatches, type OnBadPicture, type PictureRows } from './picture-batches.js';
import { idOptions, textsOfRows } from './row-identities.js';
import type { BatchIds } from '../../data/row-ids.js';
import { stepSettings } from './step-settings.js';

/**
 * Opens the objective of CLIP and SigLIP: a tower of pictures for one column, and the tower of captions for the others.
 *
 * @param resumed the checkpoint that the run goes on from, or null
 * @param ranks the processes that take each step together, or null
 * @param objects what the program gave in place of settings
 * @param onBad told of pictures that are passed over
 */
export async function openPictures(
  config: FilledTrainConfig,
  resumed: Resumed | null,
  ranks: Ranks | null,
  objects: RunObjects,
  onBad: OnBadPicture,
): Promise<Objective> {
  if (Object.keys(objects.evaluators).length > 0)
    throw new SettingError(
      'config.evaluation.evaluators',
      'measure a text encoder, and the run trains on pictures.',
    );
  const checkpoint = resumed?.folder ?? null;
  const model =
    config.imageModel === undefined
      ? await openModel(config, checkpoint)
      : await openPair(config, config.imageModel, checkpoint);
  try {
    if (model instanceof ImageTextModel) freeze(model, config.frozen ?? []);
    const { images, captions } = model;
    const loss: LossWithGradients & { readonly temperature?: number } =
      objects.loss === null
        ? makeLoss(config.loss, {
            dimension: images.dimension,
            device: images.device,
            dtype: config.precision === 'float64' ? 'float64' : 'float32',
            bfloat16: config.precision === 'bfloat16',
            seed: config.seed,
          })
        : withGradients(objects.loss);
    const encoders = config.columns.map((column) => (column === config.images ? images : captions));
    const first = firstChunkSize(config, images, resumed?.checkpoint.state.chunk);
    const chunk = encoders.map((encoder): ChunkSize => (encoder === images ? first : config.chunk));
    const gradcache = new GradCache<readonly AnyEncoder[]>({
      ...{ encoders, loss, chunk },
      ...stepSettings(config, ranks),
    });
    const evaluator = new GradCache<readonly AnyEncoder[]>({ encoders, loss, chunk });
    if (resumed !== null) restore(loss.parameters(), resumed.checkpoint.loss);
    else if (config.lossFrom !== undefined) await loadLoss(loss, config.lossFrom);
    const batches = new PictureBatches(config, model, onBad);
    return new Pictures(config, model, loss, { gradcache, evaluator }, batches, onBad, ranks);
  } catch (error) {
    model.dispose();
    throw error;
  }
}

async function openModel(
  { model, device, precision, dropout, seed }: FilledTrainConfig,
  checkpoint: string | null,
): Promise<ImageTextModel> {
  const options = {
    device: chooseDevice(device),
    precision: towerPrecision(precision),
    dropout,
  };
  if (checkpoint !== null) return ImageTextModel.load(checkpoint, options);
  if (typeof model === 'string') return ImageTextModel.load(model, options);
  const config =
    typeof model.config === 'string' ? await readNamedObject(model.config, "a model's config") : model.config;
  return ImageTextModel.create(config, await Tokenizer.fromFile(model.tokenizer), { ...options, seed });
}

/** @throws SettingError for an entry that names no parameter, and where nothing is left */
function freeze({ images, captions }: ImageTextModel, frozen: readonly string[]): void {
  const parameters = [...images.parameters(), ...captions.parameters()];
  freezeNamed(parameters, frozen);
  if (parameters.every(({ tensor }) => !tensor.requiresGrad))
    throw new SettingError('config.frozen', 'names every parameter of the model: nothing is left to train.');
}

/** What a rank has of a batch: tokens, captions that were cut, rows that are left, and the others. */
interface Counts extends Pick<PictureRows, 'tokens' | 'truncated' | 'bad'> {
  readonly rows: number;
}

class Pictures implements Objective {
  readonly notes: readonly string[] = [];
  /** Where the paths of the rows that are trained on begin. */
  readonly #folder: string;

  constructor(
    readonly config: FilledTrainConfig,
    readonly model: ImageTextModel | ImageTextPair,
    readonly loss: LossWithGradients & { readonly temperature?: number; readonly bias?: number },
    readonly steps: { readonly gradcache: GradCache; readonly evaluator: GradCache },
    readonly batches: PictureBatches,
    readonly onBad: OnBadPicture,
    readonly ranks: Ranks | null,
  ) {
    this.#folder = folderOfPictures(config.data);
  }

  get device(): string {
    return this.model.images.device;
  }

  get precision(): Objective['precision'] {
    return this.config.precision;
  }

  get maxLength(): number {
    return this.model.captions.maxLength;
  }

  get temperature(): number | null {
    return this.loss.temperature ?? null;
  }

  parameters(): readonly Parameter[] {
    return this.steps.gradcache.parameters().filter(({ tensor }) => tensor.requiresGrad);
  }

  tokenize(texts: Texts, _: number | undefined, { rows }: BatchPlace): Promise<PictureRows> {
    return this.batches.read(texts, this.#folder, rows);
  }

  async step(
    { towers, rows, bad, tokens, truncated }: PictureRows,
    texts: Texts,
    { labels, ids, step, steps, signal, seed, onProgress }: ObjectiveStepOptions,
  ): Promise<ObjectiveStep | NothingLeft> {
    try {
      const all = await this.#ofEachRank({ tokens, truncated, rows: rows.length, bad }, texts);
      const nothing = this.#noneLeft(all);
      if (nothing !== undefined) return { nothing };
      const loss = {
        ...(steps !== null && stepOptionsOf(this.config.loss, { step, steps })),
        ...this.#beside(texts, { labels, ids }, rows),
      };
      const result = await this.steps.gradcache.step(towers, { signal, seed, onProgress, loss });
      const sum = (name: 'tokens' | 'truncated'): number =>
        all.reduce((total, counts) => total + counts[name], 0);
      return { ...result, tokens: sum('tokens'), truncated: sum('truncated') };
    } finally {
      disposeTowers(towers);
    }
  }

  /** Why there is no step: all ranks take a part in one. Undefined: there is one. */
  #noneLeft(all: readonly Counts[]): string | undefined {
    const rank = all.findIndex(({ rows }) => rows === 0);
    if (rank < 0) return undefined;
    const none =
      this.ranks === null
        ? 'none of its pictures can be decoded'
        : `of the pictures of rank ${rank} none can be decoded, and all ranks take a part in a step`;
    const [first] = all[rank]!.bad;
    return first === undefined ? none : `${none}. The first: ${first.reason.replace(/[.]$/, '')}`;
  }

  /** What each rank has of a batch. Each rank hears of the bad pictures of the others. */
  async #ofEachRank(own: Counts, texts: Texts): Promise<readonly Counts[]> {
    const { ranks } = this;
    if (ranks === null) return [own];
    const numbers = await ranks.numbers([own.tokens, own.truncated, own.rows, own.bad.length]);
    const bad = numbers.some(([, , , count]) => count! > 0)
      ? await fromEach(ranks, 'telling which pictures are passed over', own.bad)
      : numbers.map(() => []);
    for (const [rank, list] of bad.entries()) {
      if (rank === ranks.rank) continue; // told when it was read
      for (const { row, reason } of list)
        this.onBad(
          PictureBatches.file(this.#folder, texts[this.config.images!]![row]!),
          `rank ${rank}: ${reason}`,
        );
    }
    return numbers.map(([tokens, truncated, rows], rank) => ({
      ...{ tokens: tokens!, truncated: truncated!, rows: rows! },
      bad: bad[rank]!,
    }));
  }

  /** What the loss is to know of the rows beside their representations. */
  #beside(
    texts: Texts,
    { labels, ids }: { labels: readonly Label[] | undefined; ids: BatchIds },
    rows: Uint32Array,
  ): LossOptions {
    const { columns, weights } = this.config;
    const ofTexts = () => textsOfRows(columns.map((column) => ofRows(texts[column]!, rows)));
    const numbers = labels && ofRows(labels, rows);
    return {
      ...(numbers && (weights === undefined ? { labels: numbers } : { weights: numbers })),
      ...idOptions(this.config, ofTexts, ids, rows),
    };
  }

  explainNonFinite(texts: Texts): Promise<string> {
    const { columns, images } = this.config;
    const { model } = this;
    return sayNonFinite(texts, columns, async (list, column) => {
      const offsets = (count: number) => Int32Array.from({ length: count + 1 }, (_, row) => row);
      if (column !== images)
        return nonFiniteIn(await encodeCaptions(model.captions, list), offsets(list.length));
      const paths = list.map((path) => PictureBatches.file(this.#folder, path));
      const { pixels, kept, bad } = await model.images.read(paths, { onBadPicture: 'skip' });
      pixels.dispose();
      const good = bad.length === 0 ? paths : kept.map((place) => paths[place]!);
      return (await nonFiniteIn(await model.images.encode(good), offsets(good.length))).map(
        (row) => kept[row]!,
      );
    });
  }

  loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null> {
    const { config, model, ranks, onBad } = this;
    return loadAllHeldOut(config.evaluation, async (named) => {
      const heldOut = await loadHeldOutPictures(named, config, { model, ranks, onBad, signal });
      const { data = '' } = named.set;
      const folder = folderOfHeldOut(data);
      const batches = await loadHeldOutBatches(named, config, signal, (rows) =>
        config.onBadLine === 'skip' ? decodable(rows, config.images!, { folder, data, onBad, signal }) : rows,
      );
      return {
        names: [...(batches ? ['loss'] : []), ...(heldOut?.names ?? [])],
        measure: async (signal) => {
          const loss = batches && {
            loss: await meanLoss(batches, ranks, (batch) => this.#lossOf(batch, folder, signal)),
          };
          const measured = await heldOut?.measure(signal);
          return { ...measured, scores: { ...loss, ...measured?.scores } };
        },
      };
    });
  }

  /** The loss of a held-out batch, without dropout. */
  async #lossOf(
    { columns: texts, labels, ids }: Batch,
    folder: string,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const { towers, rows } = await this.batches.read(texts, folder, undefined);
    try {
      return await this.steps.evaluator.lossOf(towers, {
        loss: this.#beside(texts, { labels, ids }, rows),
        signal,
      });
    } finally {
      disposeTowers(towers);
    }
  }

  /** What the loss has learned of temperature and bias is in the model; anything else is in a file beside it. */
  async snapshot(): Promise<ModelSnapshot> {
    if (!(this.model instanceof ImageTextModel))
      return snapshotBeside(await this.model.snapshot(), this.loss);
    const { temperature, bias } = this.loss;
    const hasBias = this.model.bias !== null && this.config.loss.kind === 'siglip';
    const model = await this.model.snapshot({ temperature, ...(hasBias && { bias }) });
    const inModel = temperature !== undefined ? ['loss.log_scale', ...(hasBias ? ['loss.bias'] : [])] : [];
    if (this.loss.parameters().every(({ name }) => inModel.includes(name))) return model;
    return snapshotBeside(model, this.loss);
  }

  async state(): Promise<ObjectiveState> {
    const loss = await storedWeightsOf(this.loss);
    const { images } = this.model;
    const place = this.config.columns.indexOf(this.config.images!);
    const chunkSizes = () => this.steps.gradcache.chunkSizes().slice(place);
    return { loss, followed: false, chunk: chunkState(this.config, images, { chunkSizes }) };
  }

  dispose(): void {
    this.model.dispose();
  }
}
