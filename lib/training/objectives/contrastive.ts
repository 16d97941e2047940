import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { RoutedEncoder } from '../../encoders/routed-encoder.js';
import type { TextEncoder } from '../../encoders/text-encoder.js';
import type { Ranks } from '../../distributed/ranks.js';
import type { Batch } from '../../data/batches.js';
import { kindOf, makeLoss, similarityOf, stepOptionsOf } from '../../losses/loss-kinds.js';
import { withGradients, type LossOptions, type LossWithGradients } from '../../losses/loss.js';
import { adaptiveLayer } from '../../losses/adaptive-layer.js';
import { matryoshka } from '../../losses/matryoshka.js';
import { loadLoss, LOSS_FILE, snapshotBeside, storedWeightsOf } from '../../losses/stored-loss.js';
import type { ModelSnapshot } from '../../model-folder/model-snapshot.js';
import type { TextTask } from '../../model-folder/late-interaction.js';
import { SettingError } from '../../options/fields.js';
import { show } from '../../options/option-values.js';
import type { AnyEncoder } from '../../step/encoder.js';
import { GradCache } from '../../step/gradcache.js';
import type { Parameter } from '../../tensor/tensor.js';
import type { TokenBatch } from '../../tokenizer/tokenizer.js';
import { requireWithin } from '../matryoshka.js';
import type { RunObjects } from '../objects.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Resumed } from '../resume.js';
import { chunkState, firstChunkSize } from './chunk-size.js';
import { stepSettings } from './step-settings.js';
import { openGuide } from './guide.js';
import { loadHeldOutTexts } from './held-out-texts.js';
import { explainNonFinite } from './non-finite-rows.js';
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
import { beyondCard } from '../../encoders/beyond-card.js';
import { openModel } from './open-model.js';
import { promptOf, savePrompts } from './prompts.js';
import { haveOthers, present, requireSamePrompt, spreadLists, towersOf } from './spread-lists.js';
import { restore } from '../../safetensors/restore.js';
import { idOptions, textsOfRows } from './row-identities.js';
import type { BatchIds } from '../../data/row-ids.js';
import { openMemory, type RunMemory } from './run-memory.js';

/**
 * Opens the contrastive objective: one text encoder for all columns, whose representations of matching texts are drawn
 * together. The gradient is that of the whole batch, computed in chunks.
 *
 * @param resumed the checkpoint that the run goes on from, or null
 * @param ranks the processes that take each step together, or null
 * @param objects what the program gave in place of settings; its encoder stays its own
 */
export async function openContrastive(
  config: FilledTrainConfig,
  resumed: Resumed | null,
  ranks: Ranks | null,
  objects: RunObjects,
): Promise<Objective> {
  const model = objects.model ?? (await openModel(config, resumed?.folder ?? null));
  let memory: RunMemory | null = null;
  let guide: TextEncoder | null = null;
  try {
    if (model.parameters().length === 0)
      throw new SettingError(
        'config.frozen',
        'names every parameter of the model: nothing is left to train.',
      );
    // What a loss of the program takes, it says itself.
    if (objects.loss === null) {
      requirePerToken(config.loss, model);
      requireLossFor(model, config);
    }
    savePrompts(config, model);
    requireSamePrompt(config);
    if (objects.loss === null) model.setSimilarity(similarityOf(config.loss)); // saved with the model
    guide = await openGuide(config);
    const made = (): LossWithGradients =>
      makeLoss(config.loss, {
        dimension: lengthOf(model),
        device: model.device,
        dtype: model.precision === 'float64' ? 'float64' : 'float32',
        bfloat16: model.precision === 'bfloat16',
        seed: config.seed,
        guide: guide ?? undefined,
      });
    const loss = objects.loss === null ? made() : withGradients(objects.loss);
    if (config.matryoshka !== undefined)
      requireWithin('matryoshka.dimensions', config.matryoshka.dimensions, lengthOf(model));
    const whole = wrapped(loss, config, model);
    memory =
      model instanceof RoutedEncoder ? null : await openMemory(config, { loss: whole, model, resumed });
    const encoders = towersOf(config).map((_, place) => encoderOf(model, place));
    const chunk = firstChunkSize(config, model, resumed?.checkpoint.state.chunk);
    const stepsOf = (encoders: readonly AnyEncoder[]): Steps => ({
      evaluator: new GradCache<readonly AnyEncoder[]>({ encoders, loss: whole, chunk }),
      gradcache: new GradCache<readonly AnyEncoder[]>({
        encoders: [...encoders, ...(memory?.encoders() ?? [])],
        loss: memory?.rows ?? whole,
        chunk,
        ...stepSettings(config, ranks),
      }),
    });
    const steps = stepsOf(encoders);
    // A batch in which nothing is in the lists besides the first positives has a tower less.
    const plain = config.lists === undefined ? null : stepsOf(encoders.slice(1));
    if (resumed !== null) restore(loss.parameters(), resumed.checkpoint.loss);
    else if (config.lossFrom !== undefined) await beginFrom(loss, config.lossFrom);
    const draws = whole.takesSeed === true;
    return new Contrastive(config, objects, model, loss, draws, steps, plain, memory, guide, ranks);
  } catch (error) {
    memory?.dispose();
    guide?.dispose();
    if (objects.model === null) model.dispose();
    throw error;
  }
}

/** What the loss trains begins as an earlier run has left it. @throws GradCacheError `INPUT`, `CHECKPOINT` */
async function beginFrom(loss: LossWithGradients, folder: string): Promise<void> {
  if (loss.parameters().length === 0)
    throw new SettingError('config.lossFrom', `is ${show(folder)}, and the loss trains nothing of its own.`);
  await loadLoss(loss, folder);
}

/** The loss at the lengths and layers that a run trains. @throws GradCacheError `INPUT` */
function wrapped(
  loss: LossWithGradients,
  { matryoshka: lengths, adaptiveLayer: asked }: FilledTrainConfig,
  { layers }: Trained,
): LossWithGradients {
  const inner = lengths === undefined ? loss : matryoshka(loss, lengths);
  if (asked === undefined) return inner;
  const others = layers.length - 1;
  if (others === 0)
    throw new SettingError(
      'config.adaptiveLayer.layers',
      `is ${show(asked.layers)}, of which the model has none before its last layer.`,
    );
  const { layersPerStep = 1 } = asked;
  if (layersPerStep > others)
    throw new SettingError(
      'config.adaptiveLayer.layersPerStep',
      `is ${layersPerStep}, and the run trains ${others} layers before the last; a whole number from 1 to that is needed.`,
    );
  return adaptiveLayer(inner, { ...asked, layers });
}

/** The length of a representation of one layer. */
const lengthOf = ({ trainedDimension, layers }: Trained): number => trainedDimension / layers.length;

/** @throws GradCacheError `INPUT` for a loss that compares token by token and a model that pools, or the reverse */
function requirePerToken(loss: FilledTrainConfig['loss'], { perToken }: Trained): void {
  const wanted = kindOf(loss).perToken === true;
  if (wanted === perToken) return;
  throw new SettingError(
    'config.loss.kind',
    wanted
      ? `is ${show(loss.kind)}, which compares texts token by token: give the model no pooling (pooling: "none").`
      : `is ${show(loss.kind)}, which takes one representation of a text, and the model has one for each token; the ` +
          'losses called "multi-vector-…" take these.',
  );
}

/** What the texts of a column are for a model with a representation for each token. */
function taskOf(place: number, { perToken }: Trained): TextTask | undefined {
  if (!perToken) return undefined;
  return place === 0 ? 'query' : 'document';
}

/** @throws GradCacheError `INPUT` for a loss of dense representations with a sparse model, and the other way round */
function requireLossFor(model: Trained, { loss }: FilledTrainConfig): void {
  const { sparse = false } = kindOf(loss);
  if (sparse === model.sparse) return;
  throw new SettingError(
    'config.loss.kind',
    sparse
      ? `is ${show(loss.kind)}, for sparse representations, and the model's are dense: start from a masked language model, ` +
          'from a folder of sentence-transformers\' SparseEncoder, or from random weights with pooling "splade".'
      : `is ${show(loss.kind)}, and the model is a sparse encoder: "splade" or a loss whose name begins with it is needed.`,
  );
}

/** What a run trains: a text encoder, or the two of a folder with a Router. */
type Trained = TextEncoder | RoutedEncoder;

/** The encoder of a tower. */
function encoderOf(model: Trained, place: number): TextEncoder {
  if (!(model instanceof RoutedEncoder)) return model;
  return place === 0 ? model.query : model.document;
}

/** Steps of the training, and losses of held-out batches. */
interface Steps {
  readonly gradcache: GradCache;
  readonly evaluator: GradCache;
}

class Contrastive implements Objective {
  constructor(
    readonly config: FilledTrainConfig,
    readonly objects: RunObjects,
    readonly model: Trained,
    readonly loss: LossWithGradients & { readonly temperature?: number },
    /** Whether a step draws lengths or layers. */
    readonly draws: boolean,
    readonly steps: Steps,
    /** For batches with a tower less; null without lists. */
    readonly plain: Steps | null,
    readonly memory: RunMemory | null,
    /** Encodes the texts of each batch, for the loss to judge by. */
    readonly guide: TextEncoder | null,
    readonly ranks: Ranks | null,
  ) {}

  get device(): string {
    return this.model.device;
  }

  get precision(): Objective['precision'] {
    return this.model.precision;
  }

  get maxLength(): number {
    return this.model.maxLength;
  }

  get temperature(): number | null {
    return this.loss.temperature ?? null;
  }

  get notes(): readonly string[] {
    const { dimensions } = this.config.matryoshka ?? {};
    const length = lengthOf(this.model);
    const notes = beyondCard(this.model);
    if (dimensions !== undefined && !dimensions.includes(length))
      notes.push(
        `the whole length of representations, ${length}, is not one of the matryoshka dimensions: it is not trained`,
      );
    const left = this.#leftLoss();
    if (left !== null)
      notes.push(
        `${left} has what a loss trained beside its model (${LOSS_FILE}). This run begins with its own; ` +
          'lossFrom (--loss-from) goes on from there',
      );
    return notes;
  }

  /** The model folder that the run starts from, if it has what a loss trained and the loss of this run begins anew. */
  #leftLoss(): string | null {
    const { model, lossFrom, resume } = this.config;
    if (typeof model !== 'string' || lossFrom !== undefined || resume !== false) return null;
    return this.loss.parameters().length > 0 && existsSync(join(model, LOSS_FILE)) ? model : null;
  }

  parameters(): readonly Parameter[] {
    return this.steps.gradcache.parameters();
  }

  /** Gives one entry a column: towers in the order of `config.columns`. */
  tokenize(
    texts: Texts,
    length?: number,
    { rows, set }: Pick<BatchPlace, 'rows' | 'set'> = {},
  ): Promise<readonly TokenBatch[]> {
    const { config, model } = this;
    const columns = towersOf(config);
    const towers = this.#towers(texts, rows);
    return Promise.all(
      towers.map((own, place) => {
        const column = columns[place]!;
        return encoderOf(model, place).tokenize(own, {
          prompt: promptOf(config, column, set),
          maxLength: length,
          task: taskOf(place, model),
        });
      }),
    );
  }

  /** The texts of each tower. */
  #towers(texts: Texts, rows: Uint32Array | undefined): readonly (readonly string[])[] {
    const { columns, lists } = this.config;
    if (lists === undefined) return columns.map((column) => ofRows(texts[column] ?? [], rows));
    const { towers, others } = spreadLists(texts, columns, lists, rows);
    // Of several ranks one may have no other text, and all need as many towers.
    const has = others.length > 0 || (rows !== undefined && haveOthers(texts, columns, lists));
    return has ? [...towers, others] : towers;
  }

  /** The steps for so many towers. */
  #stepsFor({ length }: readonly TokenBatch[]): Steps {
    return length < towersOf(this.config).length ? this.plain! : this.steps;
  }

  async step(
    inputs: readonly TokenBatch[],
    texts: Texts,
    { labels, ids, shares, step, steps, ...options }: ObjectiveStepOptions,
  ): Promise<ObjectiveStep> {
    const { memory } = this;
    const { gradcache } = this.#stepsFor(inputs);
    const rows = shares?.own;
    const loss = {
      ...this.#draws(options.seed),
      ...this.#judged(texts, ids, rows),
      ...(steps !== null && stepOptionsOf(this.config.loss, { step, steps })),
      ...this.#beside(labels, rows),
    };
    if (memory === null) return gradcache.step(present(inputs), { ...options, loss });
    await memory.follow();
    const result = await gradcache.step(memory.inputs(inputs), {
      ...options,
      loss: { ...loss, ...memory.options(texts, ids, rows) },
    });
    memory.stepped();
    const own = inputs.reduce((sum, batch) => sum + batch.truncated, 0); // each text once
    const all = this.ranks === null ? [[own]] : await this.ranks.numbers([own]);
    return { ...result, truncated: all.reduce((sum, [truncated]) => sum + truncated!, 0) };
  }

  candidatesBeside(texts: Texts, ids: BatchIds): number {
    return this.memory?.joining(texts, ids) ?? 0;
  }

  /** What the data has beside the texts of a batch. No loss takes both. */
  #beside(given: ObjectiveStepOptions['labels'], rows?: Uint32Array): LossOptions {
    if (given === undefined) return {};
    const numbers = ofRows(given, rows);
    return this.config.weights === undefined ? { labels: numbers } : { weights: numbers };
  }

  /** A run that is resumed draws the lengths and layers of a step as one that was not interrupted. */
  #draws(seed: number): LossOptions {
    return this.draws ? { seed } : {};
  }

  /** What the loss is to know of the texts, and what rows are about. */
  #judged(texts: Texts, ids: BatchIds, rows?: Uint32Array): LossOptions {
    const { config } = this;
    if (config.lists !== undefined) {
      const spread = spreadLists(texts, config.columns, config.lists, rows);
      return { ...spread.options, ...idOptions(config, () => spread.rows, ids, rows) };
    }
    const columns = config.columns.map((column) => ofRows(texts[column] ?? [], rows));
    return {
      ...(this.guide !== null && { texts: columns }),
      ...idOptions(config, () => textsOfRows(columns), ids, rows),
    };
  }

  explainNonFinite(texts: Texts): Promise<string> {
    return explainNonFinite(texts, (place) => encoderOf(this.model, place), this.config);
  }

  loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null> {
    const { config, model, ranks, objects } = this;
    const lossOf = (batch: Batch, signal: AbortSignal | undefined) => this.#lossOf(batch, signal);
    return loadHeldOutTexts(config, { model, ranks, evaluators: objects.evaluators, lossOf }, signal);
  }

  /** The loss of a batch in evaluation. A memory of earlier batches has no part in it. */
  async #lossOf({ columns, labels, ids }: Batch, signal: AbortSignal | undefined): Promise<number> {
    const loss = { ...this.#draws(0), ...this.#judged(columns, ids), ...this.#beside(labels) };
    const inputs = await this.tokenize(columns);
    return this.#stepsFor(inputs).evaluator.lossOf(inputs, { loss, signal });
  }

  async snapshot(): Promise<ModelSnapshot> {
    return snapshotBeside(await this.model.snapshot(), this.loss);
  }

  async state(): Promise<ObjectiveState> {
    const loss = await storedWeightsOf(this.loss);
    if (this.memory !== null) for (const [name, tensor] of await this.memory.state()) loss.set(name, tensor);
    const followed = this.memory?.followed === true;
    return { loss, chunk: chunkState(this.config, this.model, this.steps.gradcache), followed };
  }

  dispose(): void {
    this.memory?.dispose();
    this.guide?.dispose();
    if (this.objects.model === null) this.model.dispose();
  }
}
