import { beyondCard } from '../../encoders/beyond-card.js';
import type { Batch } from '../../data/batches.js';
import { rankingPairs } from '../../data/ranking-pairs.js';
import { textsIn } from '../../data/text-lists.js';
import type { Ranks } from '../../distributed/ranks.js';
import type { CrossEncoder } from '../../encoders/cross-encoder.js';
import { sharedScorer } from '../../evaluation/shared-encoder.js';
import { windowedScorer } from '../../evaluation/windowed.js';
import type { PairRows } from '../../losses/loss-kind.js';
import { makeLoss, negativesOf } from '../../losses/loss-kinds.js';
import type { LossOptions, LossWithGradients } from '../../losses/loss.js';
import type { ModelSnapshot } from '../../model-folder/model-snapshot.js';
import { SettingError } from '../../options/fields.js';
import { plural } from '../../options/plural.js';
import { drawSeed } from '../../options/seeds.js';
import { GradCache } from '../../step/gradcache.js';
import type { Parameter } from '../../tensor/tensor.js';
import type { TextPair, TokenBatch } from '../../tokenizer/tokenizer.js';
import { placeOf } from '../held-out-sets.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Resumed } from '../resume.js';
import { chunkState, firstChunkSize } from './chunk-size.js';
import { stepSettings } from './step-settings.js';
import { loadHeldOutBatches, meanLoss } from './held-out-loss.js';
import { loadHeldOutPairs } from './held-out-pairs.js';
import { windowsOf } from './held-out-windows.js';
import { loadAllHeldOut } from './all-held-out.js';
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
import { openCrossEncoder } from './open-model.js';
import { promptOf, savePrompts } from './prompts.js';

/**
 * Opens the objective of a cross-encoder: a model that reads the two texts of each pair together, and a loss of its logits.
 *
 * @param pairs how the loss has pairs made of rows
 * @param resumed the checkpoint that the run goes on from, or null
 * @param ranks the processes that take each step together, or null
 */
export async function openCrossEncoderObjective(
  config: FilledTrainConfig,
  pairs: PairRows<never>,
  resumed: Resumed | null,
  ranks: Ranks | null,
): Promise<Objective> {
  const model = await openCrossEncoder(config, resumed?.folder ?? null);
  try {
    requireLabels(config, model, pairs);
    if (model.parameters().length === 0)
      throw new SettingError(
        'config.frozen',
        'names every parameter of the model: nothing is left to train.',
      );
    savePrompts(config, model);
    const loss = makeLoss(config.loss, {
      dimension: model.labels,
      device: model.device,
      dtype: model.precision === 'float64' ? 'float64' : 'float32',
      seed: config.seed,
    });
    const gradcache = new GradCache({
      encoders: [model],
      loss,
      chunk: firstChunkSize(config, model, resumed?.checkpoint.state.chunk),
      ...stepSettings(config, ranks),
    });
    return new PairsOfTexts(config, pairs, model, loss, gradcache, ranks);
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** @throws SettingError for a model with another number of labels than the loss is for */
function requireLabels(
  { loss, model: given }: FilledTrainConfig,
  { labels }: CrossEncoder,
  pairs: PairRows<never>,
): void {
  if ((pairs.labels === 'one') === (labels === 1)) return;
  const needed = pairs.labels === 'one' ? 'one' : 'two or more';
  throw new SettingError(
    'config.model',
    `${typeof given === 'string' ? `is ${given}, which` : 'is new and'} has ${plural(labels, 'label')}; the loss ${loss.kind} needs ` +
      `a model with ${needed}. A new head has as many as newHead (--new-head) says.`,
  );
}

/** What the rows of a batch became. */
interface Made {
  readonly pairs: readonly TextPair[];
  /** The number of pairs of each row, where the loss takes them. */
  readonly lists?: readonly number[];
}

/** The pairs of some rows; all where no rows are given. Each row has a pair, or the list of them that the loss takes. */
function ofTheRows({ pairs, lists }: Made, rows: Uint32Array | undefined): Made {
  if (rows === undefined) return { pairs, ...(lists && { lists }) };
  if (lists === undefined) return { pairs: ofRows(pairs, rows) };
  const begins = [0];
  for (const count of lists) begins.push(begins.at(-1)! + count);
  const own = Array.from(rows, (row) => pairs.slice(begins[row], begins[row + 1]));
  return { pairs: own.flat(), lists: ofRows(lists, rows) };
}

class PairsOfTexts implements Objective {
  readonly temperature = null;
  get notes(): readonly string[] {
    return beyondCard(this.model);
  }
  /** The pairs of each batch that is prepared. */
  readonly #made = new WeakMap<Texts, Made>();

  constructor(
    readonly config: FilledTrainConfig,
    readonly pairs: PairRows<never>,
    readonly model: CrossEncoder,
    readonly loss: LossWithGradients,
    readonly gradcache: GradCache<readonly [CrossEncoder]>,
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

  parameters(): readonly Parameter[] {
    return this.gradcache.parameters();
  }

  /** Gives one entry, all pairs of the batch. */
  async tokenize(
    texts: Texts,
    length: number | undefined,
    place: BatchPlace,
  ): Promise<readonly TokenBatch[]> {
    const made = ofTheRows(this.#pairsOf(texts, place), place.rows);
    this.#made.set(texts, made);
    const prompt = promptOf(this.config, this.config.columns[0]!, place.set);
    return [await this.model.tokenize(made.pairs, { prompt, maxLength: length })];
  }

  /** The draw of negatives follows from the place of the batch: a run that is resumed draws the same. */
  #pairsOf(texts: Texts, { epoch, index }: BatchPlace): Made {
    const columns = this.config.columns.map((column) => texts[column] ?? []);
    const [queries = [], ...others] = columns;
    switch (this.pairs.rows) {
      case 'pair':
        return { pairs: queries.map((query, row) => [query, others[0]![row]!]) };
      case 'ranking': {
        const seed = drawSeed('negatives', this.config.seed, epoch * 2 ** 32 + index);
        return rankingPairs(columns, { negatives: negativesOf(this.config.loss), seed });
      }
      case 'documents': {
        const documents = queries.map((_, row) =>
          others.length === 1 ? textsIn(others[0]![row]!) : others.map((column) => column[row]!),
        );
        return {
          pairs: documents.flatMap((list, row) => list.map((text): TextPair => [queries[row]!, text])),
          lists: documents.map(({ length }) => length),
        };
      }
    }
  }

  async step(
    inputs: readonly TokenBatch[],
    texts: Texts,
    { labels, shares, signal, seed, onProgress }: ObjectiveStepOptions,
  ): Promise<ObjectiveStep> {
    const loss = this.#lossOptions(texts, labels && ofRows(labels, shares?.own));
    return this.gradcache.step([inputs[0]!], { signal, seed, onProgress, loss });
  }

  #lossOptions(texts: Texts, labels: ObjectiveStepOptions['labels']): LossOptions {
    const lists = this.#made.get(texts)?.lists;
    return { ...(lists && { lists }), ...(labels && { labels }) };
  }

  async explainNonFinite(texts: Texts): Promise<string> {
    const { pairs } = this.#made.get(texts)!;
    const prompt = promptOf(this.config, this.config.columns[0]!);
    const scores = await this.model.predict(pairs, { prompt, activation: 'identity' });
    const wrong = scores.findIndex((score) => !Number.isFinite(score));
    if (wrong < 0)
      return 'All scores of the batch are finite without dropout; a lower learning rate may help.';
    const [first, second] = pairs[Math.floor(wrong / this.model.labels)]!;
    const shown = [first, second].map((text) => JSON.stringify(text.slice(0, 60))).join(' and ');
    return `The score of ${shown} is ${scores[wrong]}.`;
  }

  loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null> {
    const { config, model, ranks } = this;
    const prompt = promptOf(config, config.columns[0]!);
    return loadAllHeldOut(config.evaluation, async (set) => {
      if (set.set.task !== undefined && model.labels > 1)
        throw new SettingError(
          `config.${placeOf(set.name)}.task`,
          `is "${set.set.task}", by one score of a pair, and the model has ${model.labels} labels: measure the loss in its place.`,
        );
      const batches = await loadHeldOutBatches(set, config, signal);
      const shared = sharedScorer(windowedScorer(model, windowsOf(set, model)), ranks);
      if (batches === null) return loadHeldOutPairs(set, shared, prompt, signal);
      return {
        names: ['loss'],
        measure: async (signal) => {
          const loss = await meanLoss(batches, ranks, (batch) => this.#lossOf(batch, signal));
          return { scores: { loss } };
        },
      };
    });
  }

  /** The loss of a batch in evaluation. Its negatives are drawn by its place: each measurement has the same. */
  async #lossOf(batch: Batch, signal: AbortSignal | undefined): Promise<number> {
    const { columns, labels } = batch;
    const [pairs] = await this.tokenize(columns, undefined, batch);
    return this.gradcache.lossOf([pairs!], { loss: this.#lossOptions(columns, labels), signal });
  }

  snapshot(): Promise<ModelSnapshot> {
    return this.model.snapshot();
  }

  async state(): Promise<ObjectiveState> {
    return { loss: new Map(), followed: false, chunk: chunkState(this.config, this.model, this.gradcache) };
  }

  dispose(): void {
    this.model.dispose();
  }
}
