import type { Ranks } from '../../distributed/ranks.js';
import { onEach } from '../../distributed/shared-work.js';
import { requireSame } from '../../distributed/start-check.js';
import { digestOf } from '../../distributed/weights-digest.js';
import { AcrossSegments, type SegmentStepResult } from '../../language/across-segments.js';
import { makeAcross } from '../../language/across-kinds.js';
import { encodeTexts, readTexts, type Corpus } from '../../language/corpus.js';
import { measureCorpus } from '../../language/measure.js';
import { RowStreams } from '../../language/row-streams.js';
import { rowsOfRank, rowsOfSegment } from '../../language/rows-of-ranks.js';
import { snapshotOfText, type TextModel } from '../../language/text-model.js';
import { orDispose } from '../../tensor/scope.js';
import type { Parameter } from '../../tensor/tensor.js';
import { StepMeter } from '../../step/step-meter.js';
import type { ModelSnapshot } from '../../model-folder/model-snapshot.js';
import type { UpdateEvent } from '../events.js';
import type { TraineeState } from '../checkpoint.js';
import type { Trainee, UpdateOptions } from '../trainee.js';
import type { HeldOut } from '../objectives/objective.js';
import type { Resumed } from '../resume.js';
import type { RowsRead } from '../rows-read.js';
import type { LanguageStepEvent } from './events.js';
import { storedLanguageConfig, type FilledLanguageConfig } from './read-config.js';
import { epochOf, lengthScale, segmentSteps, type SegmentBatch } from './segment-steps.js';

/** What a step of a language model tells. */
type LanguageStep = SegmentStepResult & { readonly peakMemory: number };

/** A language model over the segments of a corpus, as the loop trains it. Every rank reads all rows, and trains on its own. */
export class LanguageTraining implements Trainee<SegmentBatch, LanguageStep, LanguageStepEvent> {
  readonly #across: AcrossSegments;
  /** The pass over the corpus that the state of the rows is of. */
  #epoch: number | null;

  /** @throws GradCacheError `CHECKPOINT` where the checkpoint's streams are not those of this model */
  constructor(
    readonly config: FilledLanguageConfig,
    readonly text: TextModel,
    readonly corpus: Corpus,
    readonly read: RowsRead,
    resumed: Resumed | null,
    readonly ranks: Ranks | null = null,
  ) {
    const { seed } = config;
    this.#across = new AcrossSegments(text.model, { across: makeAcross(config.across, seed), seed, ranks });
    this.#epoch = null;
    if (resumed === null) return;
    const { streams } = resumed.checkpoint;
    orDispose(this.#across, () => this.#across.loadState(streams!)); // that there are some is checked with the settings
    this.#epoch = epochOf(corpus, config, resumed.checkpoint.state.step - 1);
  }

  /** Each rank has the state of its own rows. */
  get divided(): boolean {
    return this.ranks !== null;
  }

  parameters(): Parameter[] {
    return this.#across.parameters();
  }

  async *batches({ skip }: { skip: number }): AsyncGenerator<SegmentBatch, void, undefined> {
    yield* segmentSteps(this.corpus, this.config, skip);
  }

  async step({ segments, epoch }: SegmentBatch, { seed, signal }: UpdateOptions): Promise<LanguageStep> {
    if (epoch !== this.#epoch) this.#across.reset();
    this.#epoch = epoch;
    const meter = new StepMeter(this.text.model.device);
    const own = rowsOfRank(this.ranks, this.config.rows);
    const parts = segments.map((segment) => rowsOfSegment(segment, own));
    const result = await this.#across.step(parts, { seed, signal });
    const { peak } = meter.memory();
    if (this.ranks === null) return { ...result, peakMemory: peak };
    const peaks = await this.ranks.numbers([peak]);
    return { ...result, peakMemory: Math.max(...peaks.flat()) };
  }

  async compare({ epoch, index }: SegmentBatch, step: number): Promise<void> {
    if (this.ranks === null) return;
    const weights = await onEach(this.ranks, 'digesting the weights', () => digestOf(this.parameters()));
    await requireSame(this.ranks, {
      'the number of updates made': step,
      'the place in the text': { epoch, index },
      [`the digest of the weights after step ${step}`]: weights,
    });
  }

  lrScale(batch: SegmentBatch): number {
    const { segment } = this.config;
    return segment.jitter ? lengthScale(batch, segment) : 1;
  }

  event({ segments, epoch }: SegmentBatch, step: LanguageStep, update: UpdateEvent): LanguageStepEvent {
    const { loss, tokens, retained, gradients, synthesiser, peakMemory } = step;
    return {
      ...update,
      steps: update.steps!, // known from the start, as the text is encoded before
      secondsLeft: update.secondsLeft!,
      epoch,
      loss,
      gradients,
      synthesiserLoss: synthesiser?.loss ?? null,
      tokens,
      segments: segments.length,
      retained,
      tokensPerSecond: tokens / update.seconds,
      peakMemory,
    };
  }

  nameOf({ epoch, index }: SegmentBatch): string {
    return `(epoch ${epoch}, step ${index} of it)`;
  }

  explainNonFinite(): Promise<string> {
    return Promise.resolve('The last checkpoint is as it was.');
  }

  async loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null> {
    const { evaluation, documents } = this.config;
    if (evaluation === undefined) return null;
    const { model, vocabulary } = this.text;
    const corpus = await encodeTexts(
      await readTexts([evaluation.data], documents, signal),
      vocabulary,
      signal,
    );
    const { rows, window } = evaluation;
    // A text that cannot be measured is told of before the run, not at its end.
    new RowStreams(corpus, rows);
    return {
      measure: async (signal) => ({
        scores: { ...(await measureCorpus(model, corpus, { rows, window, signal, ranks: this.ranks })) },
      }),
    };
  }

  snapshot(): Promise<ModelSnapshot> {
    return snapshotOfText(this.text);
  }

  async state(): Promise<TraineeState> {
    const { config, read, ranks } = this;
    const together = ranks && { ranks: ranks.size, chunks: Array.from({ length: ranks.size }, () => null) };
    return {
      state: { order: {}, config: storedLanguageConfig(config), read, ...together },
      loss: new Map(),
      streams: await this.#across.state(),
    };
  }

  dispose(): void {
    this.#across.dispose();
  }
}
