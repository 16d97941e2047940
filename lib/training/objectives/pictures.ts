import type { Batch } from '../../data/batches.js';
import type { Label } from '../../data/labels.js';
import type { Ranks } from '../../distributed/ranks.js';
import { readNamedObject } from '../../files/json-file.js';
import { ImageTextModel } from '../../images/image-text-model.js';
import { makeLoss, stepOptionsOf } from '../../losses/loss-kinds.js';
import { withGradients, type LossOptions, type LossWithGradients } from '../../losses/loss.js';
import { loadLoss, snapshotBeside, storedWeightsOf } from '../../losses/stored-loss.js';
import type { ModelSnapshot } from '../../model-folder/model-snapshot.js';
import { SettingError } from '../../options/fields.js';
import { show } from '../../options/option-values.js';
import { escaped } from '../../options/patterns.js';
import { restore } from '../../safetensors/restore.js';
import type { ChunkSize } from '../../step/chunk-plan.js';
import type { AnyEncoder } from '../../step/encoder.js';
import { GradCache } from '../../step/gradcache.js';
import { chooseDevice } from '../../tensor/memory.js';
import type { Parameter } from '../../tensor/tensor.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import type { RunObjects } from '../objects.js';
import { folderOfHeldOut, folderOfPictures } from '../picture-paths.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Resumed } from '../resume.js';
import { chunkState, firstChunkSize } from './chunk-size.js';
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
import { PictureBatches, type OnBadPicture, type PictureRows } from './picture-batches.js';
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
  const model = await openModel(config, resumed?.folder ?? null);
  try {
    freeze(model, config.frozen ?? []);
    const { images, captions } = model;
    const loss: LossWithGradients & { readonly temperature?: number } =
      objects.loss === null
        ? makeLoss(config.loss, {
            dimension: images.dimension,
            device: images.device,
            dtype: config.precision === 'float64' ? 'float64' : 'float32',
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
    precision: precision === 'float64' ? precision : ('float32' as const),
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
  for (const [place, entry] of frozen.entries()) {
    const beginning = new RegExp(`^${entry.split('*').map(escaped).join('.*')}(\\.|$)`);
    const named = parameters.filter(({ name }) => beginning.test(name));
    if (named.length === 0)
      throw new SettingError(
        `config.frozen[${place}]`,
        `is ${show(entry)}, which begins the name of no parameter; they begin with ` +
          `${[...new Set(parameters.map(({ name }) => name.split('.')[0]))].join(', ')}.`,
      );
    for (const { tensor } of named) tensor.requiresGrad = false;
  }
  if (parameters.every(({ tensor }) => !tensor.requiresGrad))
    throw new SettingError('config.frozen', 'names every parameter of the model: nothing is left to train.');
}

class Pictures implements Objective {
  readonly notes: readonly string[] = [];
  /** Where the paths of the rows that are trained on begin. */
  readonly #folder: string;

  constructor(
    readonly config: FilledTrainConfig,
    readonly model: ImageTextModel,
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
  ): Promise<ObjectiveStep> {
    try {
      const [allTokens, allTruncated] = await this.#shared([tokens, truncated, ...bad], texts);
      const loss = {
        ...(steps !== null && stepOptionsOf(this.config.loss, { step, steps })),
        ...this.#beside(texts, { labels, ids }, rows),
      };
      const result = await this.steps.gradcache.step(towers, { signal, seed, onProgress, loss });
      return { ...result, tokens: allTokens, truncated: allTruncated };
    } finally {
      for (const tower of towers) tower.dispose();
    }
  }

  /** The sums of tokens and of cut captions over ranks, each of which hears of the bad pictures of the others. */
  async #shared(own: readonly number[], texts: Texts): Promise<[tokens: number, truncated: number]> {
    const all = this.ranks === null ? [own] : await this.ranks.numbers(own);
    for (const [rank, [, , ...bad]] of all.entries()) {
      if (rank === (this.ranks?.rank ?? 0)) continue; // told when it was read
      for (const row of bad) {
        const path = PictureBatches.file(this.#folder, texts[this.config.images!]![row]!);
        this.onBad(path, `${path} cannot be decoded as a picture (rank ${rank}).`);
      }
    }
    const sum = (place: number): number => all.reduce((total, numbers) => total + numbers[place]!, 0);
    return [sum(0), sum(1)];
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
      if (column !== images) return nonFiniteIn(await model.captions.encode(list), offsets(list.length));
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
      for (const tower of towers) tower.dispose();
    }
  }

  /** What the loss has learned of temperature and bias is in the model; anything else is in a file beside it. */
  async snapshot(): Promise<ModelSnapshot> {
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
