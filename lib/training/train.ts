import type { StoredTensor } from '../safetensors/safetensors.js';
import { toStored } from '../safetensors/stored-tensor.js';
import { GradCacheError } from '../errors.js';
import { onFiles } from '../files/file-error.js';
import { temperatureOf } from '../losses/loss-kinds.js';
import { checkKnown } from '../options/known-options.js';
import { requireFunction, requireSignal } from '../options/option-values.js';
import { drawSeed } from '../options/seeds.js';
import { checkpointFolder, modelFolder, pruneCheckpoints, writeCheckpoint } from './checkpoint.js';
import { withNegatives } from './columns.js';
import type { FilledTrainConfig, ResumeConfig, TrainConfig } from './config.js';
import { RunData, type TokenizedBatch } from './data.js';
import { requireInputsApart } from './inputs-apart.js';
import { findFinished } from './finished.js';
import { loadHeldOut } from './held-out.js';
import type { HeldOut } from './held-out.js';
import type { StepEvent, TrainEvent } from './events.js';
import { MetricsFile, metricsFile } from './metrics.js';
import { explainNonFinite } from './non-finite.js';
import { OutputLock } from './output-lock.js';
import { requireOutsideModels } from './outside-models.js';
import { readPlace, readTrainConfig } from './read-config.js';
import { findResumed, resumeConfig, storedConfig, type Resumed } from './resume.js';
import { chunkState, openRun } from './run.js';
import type { Run } from './run.js';
import { tidyOutput } from './tidy-output.js';

/** How a caller takes part in a run. */
export interface TrainHooks {
  /** Ends the run after the chunk that is being computed. */
  readonly signal?: AbortSignal | undefined;
  /** Told everything, in order; must return quickly. */
  readonly onEvent?: ((event: TrainEvent) => void) | undefined;
}

/** What a run ended with. */
export interface TrainResult {
  /** Updates made in all, those before a resume included. */
  readonly steps: number;
  /** Loss of the last update; null when a resumed run had nothing left to do. */
  readonly loss: number | null;
  /** The finished model: `output/model`. */
  readonly model: string;
  /** Of the loss at the end; it changes only where it is learned. */
  readonly temperature: number;
  /** The last scores on held-out data, or null where the configuration has none. */
  readonly scores: Readonly<Record<string, number>> | null;
  /** Lines of the data that were skipped as bad, in what this call read of it. */
  readonly skipped: number;
}

/**
 * Trains a text encoder on pairs, as `gradcache train` does: tokenised batches, the cached step, an optimizer, a schedule,
 * evaluation and checkpoints.
 *
 * `output` gets `metrics.jsonl`, `checkpoint-N` folders (each a model folder that can be opened as such, with the state of
 * the optimizer) and, at the end, `model`. A resumed run makes the same updates, bit for bit, as one that was never
 * interrupted, on the same machine and device; in float64 up to the rounding of weights to float32, which is what folders
 * store. A run that is finished is left as it is when it is resumed, unless it is to take more steps.
 *
 * One run at a time can have an output folder: `train.lock` in it says which process trains.
 *
 * @throws GradCacheError `INPUT` for a bad configuration, bad data or a folder that another run has, `ABORTED` when the signal
 * fires (the last complete checkpoint stays as it is), `NON_FINITE` with the step and the texts at fault, and what the parts
 * throw
 */
export async function train(
  config: TrainConfig | ResumeConfig,
  hooks: TrainHooks = {},
): Promise<TrainResult> {
  checkKnown('train', hooks, ['signal', 'onEvent']);
  const { signal, onEvent } = hooks;
  requireSignal('signal', signal);
  if (onEvent !== undefined) requireFunction('onEvent', onEvent);
  const { output, resume } = readPlace(config);
  if (resume === false) readTrainConfig(config); // mistakes are told before anything is made
  await requireOutsideModels(output);
  const lock = await onFiles('INPUT', output, 'locked', () => OutputLock.take(output));
  try {
    await tidyOutput(output);
    const resumed = await findResumed({ output, resume });
    const { config: filled, notes } = await fillConfig(config, resumed);
    await requireInputsApart(filled);
    const metrics = new MetricsFile(metricsFile(output), resumed?.checkpoint.state.step ?? 0);
    const emit = (event: TrainEvent): void => {
      metrics.write(event);
      onEvent?.(event);
    };
    try {
      const result = await trainInto({ config: filled, resumed, notes, lock, metrics, emit, signal });
      await metrics.finish();
      return result;
    } catch (error) {
      await metrics.finish().catch(() => undefined); // the first error is the one to tell
      throw error;
    }
  } finally {
    await lock.release();
  }
}

async function fillConfig(
  given: TrainConfig | ResumeConfig,
  resumed: Resumed | null,
): Promise<{ config: FilledTrainConfig; notes: readonly string[] }> {
  if (resumed !== null) {
    const { config, notes } = resumeConfig({ ...given }, resumed);
    return { config, notes };
  }
  if (given.resume === true && (given.model ?? null) === null) {
    throw new GradCacheError(
      'INPUT',
      `${given.output} holds no checkpoint to go on from. Give the output folder of the run, or, for a new one, its model, ` +
        'data and batch.',
    );
  }
  const config = readTrainConfig(given);
  return { config: (given.columns ?? null) === null ? await withNegatives(config) : config, notes: [] };
}

/** A run whose settings are known and whose folder is locked. */
interface Prepared {
  readonly config: FilledTrainConfig;
  readonly resumed: Resumed | null;
  readonly notes: readonly string[];
  readonly lock: OutputLock;
  readonly metrics: MetricsFile;
  readonly emit: (event: TrainEvent) => void;
  readonly signal: AbortSignal | undefined;
}

async function trainInto(prepared: Prepared): Promise<TrainResult> {
  const { config, resumed, notes, emit, signal } = prepared;
  const data = new RunData(config, {
    onSkip: (message) => emit({ type: 'skipped', message }),
    expected: resumed?.checkpoint.state.read,
  });
  // A run whose length is given in steps starts without going through all of the data first.
  const counted = config.steps === undefined ? await data.count(signal) : null;
  const steps = counted === null ? (config.steps as number) : counted.batches;
  const finished = resumed === null ? null : await findFinished(config.output);
  if (finished !== null && finished.step >= steps) {
    emit({ type: 'note', message: leftAsItIs(finished.step, notes) });
    return {
      steps: finished.step,
      loss: null,
      model: modelFolder(config.output),
      temperature: finished.temperature ?? temperatureOf(config.loss),
      scores: finished.scores,
      skipped: data.skipped,
    };
  }
  const run = await openRun(config, steps, resumed);
  try {
    emit(startEvent(run, config.columns, counted));
    for (const message of notes) emit({ type: 'note', message });
    return await new Loop(prepared, run, data).run();
  } finally {
    run.optimizer.dispose();
    run.model.dispose();
  }
}

/** @param notes settings that are others than before: they are not used */
function leftAsItIs(done: number, notes: readonly string[]): string {
  const unused = notes.length === 0 ? '' : ` Not used: ${notes.join('; ')}.`;
  return (
    `The run is finished: step ${done} of ${done}. Everything is left as it is.${unused} ` +
    'To train further, give more steps (steps, --steps) or epochs (epochs, --epochs).'
  );
}

/** The loop over batches, and what happens between them. */
class Loop {
  #loss: number | null = null;
  #scores: Readonly<Record<string, number>> | null = null;
  /** Moving average of the seconds of a step, evaluation and checkpoints included. */
  #pace: number | null = null;

  readonly config: FilledTrainConfig;
  readonly lock: OutputLock;
  readonly metrics: MetricsFile;
  readonly emit: (event: TrainEvent) => void;
  readonly signal: AbortSignal | undefined;

  constructor(
    { config, lock, metrics, emit, signal }: Prepared,
    readonly parts: Run,
    readonly data: RunData,
  ) {
    this.config = config;
    this.lock = lock;
    this.metrics = metrics;
    this.emit = emit;
    this.signal = signal;
  }

  async run(): Promise<TrainResult> {
    const { config, parts, signal } = this;
    const heldOut = config.evaluation === null ? null : await loadHeldOut(config.evaluation, config, signal);
    let step = parts.done;
    if (step < parts.steps) {
      for await (const batch of this.data.batches(parts.model, { skip: step, signal })) {
        // Only now is the data known to be that of the run before: nothing of its file has been touched yet.
        await this.metrics.open();
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
    await this.metrics.open();
    const model = modelFolder(config.output);
    await this.lock.require();
    await parts.model.save(model);
    this.emit({ type: 'saved', step, folder: model });
    const { skipped } = this.data;
    if (skipped > 0) this.emit({ type: 'skippedTotal', lines: skipped });
    return {
      steps: step,
      loss: this.#loss,
      temperature: parts.loss.temperature,
      model,
      scores: this.#scores,
      skipped,
    };
  }

  async #update(step: number, batch: TokenizedBatch): Promise<void> {
    const { parts, signal, config } = this;
    const lr = parts.schedule(step - 1);
    const started = performance.now();
    try {
      const result = await parts.gradcache.step(batch.inputs, {
        signal,
        // Made from the number of the step, so that a resumed run drops out what an uninterrupted one does.
        seed: drawSeed('update', config.seed, step),
        onProgress: ({ phase, chunk, chunks }) => this.emit({ type: 'chunk', step, phase, chunk, chunks }),
      });
      if (!Number.isFinite(result.loss))
        throw new GradCacheError('NON_FINITE', `The loss is ${result.loss}.`);
      parts.optimizer.lr = lr;
      const { gradNorm } = await parts.optimizer.step();
      const seconds = (performance.now() - started) / 1000;
      this.#loss = result.loss;
      const event: StepEvent = {
        type: 'step',
        step,
        steps: parts.steps,
        epoch: batch.epoch,
        loss: result.loss,
        lr,
        gradNorm,
        temperature: parts.loss.temperature,
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
      };
      this.emit(event);
    } catch (error) {
      if (error instanceof GradCacheError && error.code === 'NON_FINITE') {
        throw await explainNonFinite(error, step, batch, parts.model, config);
      }
      throw error;
    }
  }

  async #evaluate(step: number, heldOut: HeldOut): Promise<void> {
    this.#scores = await heldOut.measure(this.parts.model, this.signal);
    this.emit({ type: 'evaluation', step, scores: this.#scores });
  }

  async #checkpoint(step: number): Promise<void> {
    const { parts, config } = this;
    const folder = checkpointFolder(config.output, step);
    await this.lock.require();
    await writeCheckpoint(folder, (path) => parts.model.save(path), {
      state: {
        step,
        order: parts.order,
        config: storedConfig(config),
        read: this.data.read,
        ...chunkState(parts, config),
      },
      optimizer: await parts.optimizer.state(),
      loss: await storedLoss(parts),
    });
    await pruneCheckpoints(config.output, config.checkpoint?.keep ?? 1);
    this.emit({ type: 'saved', step, folder });
  }
}

async function storedLoss({ loss }: Run): Promise<Map<string, StoredTensor>> {
  const stored = new Map<string, StoredTensor>();
  for (const { name, tensor } of loss.parameters()) stored.set(name, await toStored(tensor));
  return stored;
}

function startEvent(
  run: Run,
  columns: readonly string[],
  counted: { readonly rows: number; readonly leftOver: number } | null,
): TrainEvent {
  const parameters = run.gradcache.parameters();
  return {
    type: 'start',
    steps: run.steps,
    done: run.done,
    rows: counted?.rows ?? null,
    leftOver: counted?.leftOver ?? null,
    columns,
    parameters: parameters.reduce((sum, { tensor }) => sum + tensor.size, 0),
    device: run.model.device,
    precision: run.model.precision,
    resumed: run.resumed,
  };
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && step % every === 0;
}
