import type { Checkpoint, TrainerState } from './checkpoint.js';
import { dataOrder } from './data-order.js';
import type { RunData, TokenizedBatch } from './data.js';
import type { ChunkEvent, StepEvent, UpdateEvent } from './events.js';
import type { Trainee, UpdateOptions } from './loop.js';
import type { HeldOut, Objective, ObjectiveStep } from './objectives/objective.js';
import type { FilledTrainConfig } from './read-config.js';
import { storedConfig } from './resume-pairs.js';

/** An objective over the batches of files of pairs, as the loop trains it. */
export class Pairs implements Trainee<TokenizedBatch, ObjectiveStep, StepEvent> {
  constructor(
    readonly config: FilledTrainConfig,
    readonly objective: Objective,
    readonly data: RunData,
    readonly emit: (event: ChunkEvent) => void,
  ) {}

  batches(options: { skip: number; signal: AbortSignal | undefined }): AsyncIterable<TokenizedBatch> {
    return this.data.batches(this.objective, options);
  }

  step({ inputs, texts, labels }: TokenizedBatch, options: UpdateOptions): Promise<ObjectiveStep> {
    return this.objective.step(inputs, texts, {
      ...options,
      labels,
      onProgress: ({ phase, chunk, chunks }) =>
        this.emit({ type: 'chunk', step: options.step, phase, chunk, chunks }),
    });
  }

  event({ epoch }: TokenizedBatch, step: ObjectiveStep, update: UpdateEvent): StepEvent {
    const { type, steps, lr, gradNorm, seconds, secondsLeft } = update;
    const { loss, pairs, tokens, truncated, chunks, retained, peakMemory } = step;
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
      chunks,
      retained,
      seconds,
      pairsPerSecond: pairs / seconds,
      tokensPerSecond: tokens / seconds,
      peakMemory,
      secondsLeft,
    };
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

  save(folder: string): Promise<void> {
    return this.objective.save(folder);
  }

  async state(): Promise<Pick<Checkpoint, 'loss'> & { readonly state: Omit<TrainerState, 'step'> }> {
    const { config, data } = this;
    const { loss, chunk } = await this.objective.state();
    const order = dataOrder(config);
    return { state: { order, config: storedConfig(config), read: data.read, ...(chunk && { chunk }) }, loss };
  }
}
