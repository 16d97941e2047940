import { createHash } from 'node:crypto';
import type { Ranks } from '../distributed/ranks.js';
import { fromEach, onEach } from '../distributed/shared-work.js';
import { requireSame } from '../distributed/start-check.js';
import { digestOf } from '../distributed/weights-digest.js';
import type { ModelSnapshot } from '../model-folder/model-snapshot.js';
import { dataOrder } from './data-order.js';
import type { RunData, TokenizedBatch } from './data.js';
import type { ChunkEvent, NoteEvent, StepEvent, UpdateEvent } from './events.js';
import type { TraineeState } from './checkpoint.js';
import type { Trainee, UpdateOptions } from './trainee.js';
import type { HeldOut, Objective, ObjectiveStep, Texts } from './objectives/objective.js';
import { isNothing, type NothingLeft } from './passed-over.js';
import type { FilledTrainConfig } from './read-config.js';
import { countMaskedRows } from './masked-rows.js';
import { storedConfig } from './resume-pairs.js';

/** An objective over the batches of files of pairs, as the loop trains it. */
export class Pairs implements Trainee<TokenizedBatch, ObjectiveStep, StepEvent> {
  #toldOfMasked = false;

  constructor(
    readonly config: FilledTrainConfig,
    readonly objective: Objective,
    readonly data: RunData,
    readonly emit: (event: ChunkEvent | NoteEvent) => void,
    readonly ranks: Ranks | null = null,
  ) {}

  batches(options: { skip: number; signal: AbortSignal | undefined }): AsyncIterable<TokenizedBatch> {
    return this.data.batches(this.objective, options);
  }

  epochOf({ epoch }: TokenizedBatch): number {
    return epoch;
  }

  async step(batch: TokenizedBatch, options: UpdateOptions): Promise<ObjectiveStep | NothingLeft> {
    const { inputs, texts, labels, ids, shares } = batch;
    const masked = countMaskedRows(this.config, texts, ids);
    // A row of a memory is a candidate of all rows of a batch, or of none.
    const others = masked > 0 ? (this.objective.candidatesBeside?.(texts, ids) ?? 0) : 0;
    const maskedRows = others > 0 ? 0 : masked;
    const step = await this.objective.step(inputs, texts, {
      ...options,
      labels,
      ids,
      shares,
      onProgress: ({ phase, chunk, chunks }) =>
        this.emit({ type: 'chunk', step: options.step, phase, chunk, chunks }),
    });
    if (maskedRows === 0 || isNothing(step)) return step;
    if (maskedRows === step.pairs) this.#sayAllMasked(batch, options.step);
    return { ...step, maskedRows };
  }

  /** The first time. */
  #sayAllMasked(batch: TokenizedBatch, step: number): void {
    if (this.#toldOfMasked) return;
    this.#toldOfMasked = true;
    const what = this.config.ids === undefined ? 'a text' : 'an id or a text';
    this.emit({
      type: 'note',
      message:
        `step ${step} ${this.nameOf(batch)}: each row shares ${what} with every other, so that none is a negative. The loss is 0, and ` +
        'the batch teaches nothing. Other such batches are counted (maskedRows of the metrics); shuffle the rows, or take larger ' +
        'batches (shuffle, --batch).',
    });
  }

  together(steps: readonly ObjectiveStep[]): ObjectiveStep {
    const sum = (name: Exclude<keyof ObjectiveStep, 'peakMemory'>): number =>
      steps.reduce((total, step) => total + (step[name] ?? 0), 0);
    const maskedRows = sum('maskedRows');
    return {
      loss: sum('loss') / steps.length,
      pairs: sum('pairs'),
      tokens: sum('tokens'),
      truncated: sum('truncated'),
      ...(maskedRows > 0 && { maskedRows }),
      chunks: sum('chunks'),
      retained: sum('retained'),
      peakMemory: Math.max(...steps.map(({ peakMemory }) => peakMemory)),
    };
  }

  event({ epoch, set }: TokenizedBatch, step: ObjectiveStep, update: UpdateEvent): StepEvent {
    const { type, steps, lr, gradNorm, seconds, secondsLeft } = update;
    const { loss, pairs, tokens, truncated, maskedRows, chunks, retained, peakMemory } = step;
    return {
      type,
      step: update.step,
      steps,
      epoch,
      loss,
      lr,
      gradNorm,
      temperature: this.objective.temperature,
      pairs,
      tokens,
      truncated,
      ...(maskedRows !== undefined && { maskedRows }),
      chunks,
      retained,
      seconds,
      pairsPerSecond: pairs / seconds,
      tokensPerSecond: tokens / seconds,
      peakMemory,
      secondsLeft,
      ...(set !== undefined && this.config.accumulate === 1 && { dataset: this.config.datasets![set]!.name }),
    };
  }

  async compare({ texts, epoch, index }: TokenizedBatch, step: number): Promise<void> {
    if (this.ranks === null) return;
    const { ranks, objective } = this;
    const weights = await onEach(ranks, 'digesting the weights', () => digestOf(objective.parameters()));
    await requireSame(ranks, {
      'the number of updates made': step,
      [`the digest of the rows of batch ${index} of epoch ${epoch}`]: digestOfTexts(texts),
      [`the digest of the weights after step ${step}`]: weights,
    });
  }

  nameOf({ epoch, index }: TokenizedBatch): string {
    return `(epoch ${epoch}, batch ${index})`;
  }

  explainNonFinite({ texts }: TokenizedBatch): Promise<string> {
    return this.objective.explainNonFinite(texts);
  }

  loadHeldOut(signal: AbortSignal | undefined): Promise<HeldOut | null> {
    return this.objective.loadHeldOut(signal);
  }

  snapshot(): Promise<ModelSnapshot> {
    return this.objective.snapshot();
  }

  async state({ alone }: { alone: boolean }): Promise<TraineeState> {
    const { config, data, ranks } = this;
    const together = alone ? null : ranks;
    const { loss, chunk, followed } = await onEach(together, 'reading the state of the run', () =>
      this.objective.state(),
    );
    const own = chunk ?? null;
    const all =
      together === null
        ? Array.from({ length: ranks?.size ?? 1 }, (_, rank) => (rank === (ranks?.rank ?? 0) ? own : null))
        : await fromEach(together, 'telling the chunk sizes', own);
    const chunks = ranks === null ? chunk && { chunk } : { ranks: ranks.size, chunks: all };
    const order = dataOrder(config);
    const state = { order, config: storedConfig(config), read: data.read, ...(followed && { followed }) };
    return { state: { ...state, ...chunks }, loss };
  }
}

function digestOfTexts(texts: Texts): string {
  const hash = createHash('sha256');
  for (const column of Object.values(texts)) hash.update(JSON.stringify(column));
  return hash.digest('hex');
}
