import type { FileHeads } from '../data/file-heads.js';
import { GradCacheError } from '../errors.js';
import { drawSeed } from '../options/seeds.js';
import { checkpointFolder, modelFolder, pruneCheckpoints, writeCheckpoint } from './checkpoint.js';
import type { FilledTrainConfig } from './read-config.js';
import { dataOrder } from './data-order.js';
import type { RunData, TokenizedBatch } from './data.js';
import type { TrainEvent, TrainResult } from './events.js';
import type { MetricsFile } from './metrics.js';
import type { HeldOut, Objective } from './objectives/objective.js';
import type { OutputLock } from './output-lock.js';
import { storedConfig, type Resumed } from './resume.js';
import type { Run } from './run.js';

/** A run whose settings are known and whose folder is locked. */
export interface Prepared {
  readonly config: FilledTrainConfig;
  readonly resumed: Resumed | null;
  readonly notes: readonly string[];
  readonly heads: FileHeads;
  readonly lock: OutputLock;
  readonly metrics: MetricsFile;
  readonly emit: (event: TrainEvent) => void;
  readonly signal: AbortSignal | undefined;
}

/** The loop over batches, and what happens between them. */
export class Loop {
  #loss: number | null = null;
  #scores: Readonly<Record<string, number>> | null = null;
  /** Moving average of the seconds of a step, evaluation and checkpoints included. */
  #pace: number | null = null;

  constructor(
    readonly prepared: Prepared,
    readonly parts: Run,
    readonly data: RunData,
  ) {}

  async run(): Promise<TrainResult> {
    const { config, lock, metrics, emit, signal } = this.prepared;
    const { parts } = this;
    const heldOut = await parts.objective.loadHeldOut(signal);
    let step = parts.done;
    if (step < parts.steps) {
      for await (const batch of this.data.batches(parts.objective, { skip: step, signal })) {
        // Only now is the data known to be that of the run before: nothing of its file has been touched yet.
        await metrics.open();
        const started = performance.now();
        step++;
        await this.#update(step, batch);
        const last = step === parts.steps;
        if (heldOut !== null && (last || isDue(step, config.evaluation?.every)))
          await this.#evaluate(step, heldOut);
        if (isDue(step, config.checkpoint?.every)) await this.#checkpoint(step);
        const seconds = (performance.now() - started) / 1000;
        this.#pace = this.#pace === null ? seconds : 0.9 * this.#pace + 0.1 * seconds;
        if (last) break;
      }
    } else if (heldOut !== null) {
      await this.#evaluate(step, heldOut);
    }
    await metrics.open();
    const model = modelFolder(config.output);
    await lock.require();
    await parts.objective.save(model);
    emit({ type: 'saved', step, folder: model });
    const { skipped } = this.data;
    if (skipped > 0) emit({ type: 'skippedTotal', lines: skipped });
    return {
      steps: step,
      loss: this.#loss,
      temperature: parts.objective.temperature,
      model,
      scores: this.#scores,
      skipped,
    };
  }

  async #update(step: number, batch: TokenizedBatch): Promise<void> {
    const { config, emit, signal } = this.prepared;
    const { parts } = this;
    const lr = parts.schedule(step - 1);
    const started = performance.now();
    try {
      const result = await parts.objective.step(batch.inputs, {
        signal,
        // Made from the number of the step, so that a resumed run drops out what an uninterrupted one does.
        seed: drawSeed('update', config.seed, step),
        onProgress: ({ phase, chunk, chunks }) => emit({ type: 'chunk', step, phase, chunk, chunks }),
      });
      if (!Number.isFinite(result.loss))
        throw new GradCacheError('NON_FINITE', `The loss is ${result.loss}.`);
      parts.optimizer.lr = lr;
      const { gradNorm } = await parts.optimizer.step();
      const seconds = (performance.now() - started) / 1000;
      this.#loss = result.loss;
      emit({
        type: 'step',
        step,
        steps: parts.steps,
        epoch: batch.epoch,
        loss: result.loss,
        lr,
        gradNorm,
        temperature: parts.objective.temperature,
        pairs: result.pairs,
        tokens: result.tokens,
        truncated: result.truncated,
        chunks: result.chunks,
        retained: result.retained,
        seconds,
        pairsPerSecond: result.pairs / seconds,
        tokensPerSecond: result.tokens / seconds,
        peakMemory: result.peakMemory,
        secondsLeft: (parts.steps - step) * (this.#pace ?? seconds),
      });
    } catch (error) {
      if (error instanceof GradCacheError && error.code === 'NON_FINITE') {
        throw await notMade(error, step, batch, parts.objective);
      }
      throw error;
    }
  }

  async #evaluate(step: number, heldOut: HeldOut): Promise<void> {
    const { emit, signal } = this.prepared;
    this.#scores = await heldOut.measure(signal);
    emit({ type: 'evaluation', step, scores: this.#scores });
  }

  async #checkpoint(step: number): Promise<void> {
    const { config, lock, emit } = this.prepared;
    const { parts } = this;
    const folder = checkpointFolder(config.output, step);
    await lock.require();
    const { loss, chunk } = await parts.objective.state();
    await writeCheckpoint(folder, (path) => parts.objective.save(path), {
      state: { step, order: dataOrder(config), config: storedConfig(config), read: this.data.read, chunk },
      optimizer: await parts.optimizer.state(),
      loss,
    });
    await pruneCheckpoints(config.output, config.checkpoint?.keep ?? 1);
    emit({ type: 'saved', step, folder });
  }
}

/** The error of a step that was not made: it names the step and the texts at fault. */
async function notMade(
  error: GradCacheError,
  step: number,
  { epoch, index, texts }: TokenizedBatch,
  objective: Objective,
): Promise<GradCacheError> {
  const where = await objective.explainNonFinite(texts);
  return new GradCacheError(
    'NON_FINITE',
    `Step ${step} (epoch ${epoch}, batch ${index}) was not made: ${error.message} ${where}`,
    { cause: error },
  );
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && step % every === 0;
}
