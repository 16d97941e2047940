import type { Ranks } from '../distributed/ranks.js';
import { fromFirst, isFirst, onEach, onFirst } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { drawSeed } from '../options/seeds.js';
import type { Optimizer } from '../optim/optimizer.js';
import { BestModel, bestFolder, requireBest, type BestSettings } from './best-model.js';
import { modelFolder } from './checkpoint.js';
import { CheckpointClock, type CheckpointTimes } from './checkpoint-settings.js';
import { CheckpointWriter } from './checkpoint-writer.js';
import type { BestMeasurement, EvaluationEvent, NoteEvent, SavedEvent } from './events.js';
import { writeHardest } from './hardest-file.js';
import type { MetricsFile } from './metrics.js';
import type { HeldOut } from './objectives/objective.js';
import type { OutputLock } from './output-lock.js';
import { isNothing, PassedOver, type NothingLeft } from './passed-over.js';
import { updatesOf, type BatchesOfUpdate } from './batches-of-update.js';
import { endedEarly, type RunLength } from './run-length.js';
import type { AwaitedSchedule } from './schedule.js';
import { writeSettings } from './stored-settings.js';
import type { Trainee } from './trainee.js';

/** What a loop needs of a configuration. */
export interface LoopSettings {
  readonly output: string;
  readonly seed: number;
  readonly evaluation?:
    | (BestSettings & {
        readonly every?: number | 'epoch' | undefined;
        readonly before?: boolean | undefined;
      })
    | undefined;
  readonly checkpoint: CheckpointTimes | false;
  /** Batches of an update, whose gradients are averaged. Default: 1. */
  readonly accumulate?: number;
}

/** A run whose folder is locked. */
export interface LoopParts<StepEvent> {
  readonly config: LoopSettings;
  /** Null on ranks that write nothing. */
  readonly lock: OutputLock | null;
  readonly metrics: MetricsFile;
  readonly emit: (event: EvaluationEvent | NoteEvent | SavedEvent | StepEvent) => void;
  readonly signal: AbortSignal | undefined;
  /** The processes that take each step together, or null. */
  readonly ranks: Ranks | null;
  readonly optimizer: Optimizer;
  readonly schedule: AwaitedSchedule;
  readonly length: RunLength;
  /** Updates made before. */
  readonly done: number;
  /** Whether held-out data is still to be measured after the last of those. */
  readonly unmeasured: boolean;
  /** The settings of the run, for its folder. */
  readonly stored: Readonly<Record<string, unknown>>;
}

/** What a loop came to. */
export interface LoopResult {
  readonly steps: number;
  readonly loss: number | null;
  readonly model: string;
  readonly scores: Readonly<Record<string, number>> | null;
  /** The scores before the first update, where they were measured. */
  readonly before: Readonly<Record<string, number>> | null;
  readonly best: BestMeasurement | null;
}

/** After so many steps ranks compare their weights. */
const STEPS_BETWEEN_COMPARISONS = 100;

/** The loop over batches, and what happens between them. Of several ranks the first writes files. */
export class Loop<Batch, Step extends { readonly loss: number }, StepEvent> {
  #loss: number | null = null;
  #scores: Readonly<Record<string, number>> | null = null;
  #before: Readonly<Record<string, number>> | null = null;
  /** Moving average of the seconds of a step, evaluation and checkpoints included. */
  #pace: number | null = null;

  /** The last whole update that this loop has made. */
  #made: number | null = null;
  /** Whether held-out data is being measured. */
  #measuring = false;
  readonly #passedOver: PassedOver;
  readonly #clock: CheckpointClock;
  readonly #checkpoints: CheckpointWriter;

  constructor(
    readonly trainee: Trainee<Batch, Step, StepEvent>,
    readonly parts: LoopParts<StepEvent>,
  ) {
    const { checkpoint, output } = parts.config;
    this.#passedOver = new PassedOver(parts.done > 0);
    this.#clock = new CheckpointClock(checkpoint);
    const keep = checkpoint === false ? 1 : checkpoint.keep;
    this.#checkpoints = new CheckpointWriter({ ...parts, output, keep, trainee });
  }

  /**
   * Takes all updates that are left. A run that is ended by its signal, or by a fault in what it evaluates, leaves a checkpoint of
   * its last whole update, unless it writes none.
   */
  async run(): Promise<LoopResult> {
    try {
      return await this.#run();
    } catch (error) {
      if (this.#isInterruption(error)) await this.#keepWhatWasMade();
      else {
        // The first error is the one to tell.
        const kept = this.#measuring && this.parts.ranks === null;
        await (kept ? this.#keepWhatWasMade() : this.#checkpoints.finish()).catch(() => undefined);
      }
      throw error;
    }
  }

  async #run(): Promise<LoopResult> {
    const { trainee, parts } = this;
    const { config, lock, metrics, emit, signal, ranks } = parts;
    const heldOut = await onEach(ranks, 'reading held-out data', async () => {
      const found = await trainee.loadHeldOut(signal);
      requireBest(config.evaluation ?? {}, found?.names);
      return found;
    });
    const best = await this.#openBest();
    const { every } = config.evaluation ?? {};
    let step = parts.done;
    let begun = false;
    const begin = () =>
      onFirst(ranks, 'opening the metrics', async () => {
        await lock?.require();
        await writeSettings(config.output, parts.stored);
        await metrics.open();
      });
    if ((parts.length.known === null || step < parts.length.known) && best.end === null) {
      let last = false;
      for await (const { batches, endsEpoch } of this.#batches(step)) {
        const [batch] = batches;
        if (!begun) {
          await trainee.compare?.(batch, step);
          // Only now is the data known to be that of the run before. Nothing in its files has been touched yet.
          await begin();
          begun = true;
          this.#clock.restart();
          const first = step === 0 && config.evaluation?.before === true;
          if (heldOut !== null && (first || parts.unmeasured)) await this.#evaluate(step, heldOut, best);
          if (best.end !== null) break;
        }
        if ((trainee.epochOf?.(batch) ?? 0) > 0) this.#passedOver.requireAny();
        const started = performance.now();
        step++;
        last = await parts.length.isLast(step);
        await this.#update(step, batches);
        const saves = await this.#isCheckpointDue(step);
        if (saves || isDue(step, STEPS_BETWEEN_COMPARISONS)) await trainee.compare?.(batch, step);
        const measures = last || (every === 'epoch' ? endsEpoch : isDue(step, every));
        if (heldOut !== null && measures) await this.#evaluate(step, heldOut, best);
        if (saves) await this.#checkpoint(step, { alone: false });
        this.#checkpoints.check();
        const seconds = (performance.now() - started) / 1000;
        this.#pace = this.#pace === null ? seconds : 0.9 * this.#pace + 0.1 * seconds;
        if (last || best.end !== null) break;
      }
      this.#passedOver.requireAny();
      if (!last && best.end === null) throw endedEarly(step, await parts.length.total());
    } else if (heldOut !== null && best.end === null) {
      await this.#evaluate(step, heldOut, best);
    }
    if (!begun) await begin();
    const model = modelFolder(config.output);
    const waited = performance.now();
    await onFirst(ranks, 'writing the model', async () => {
      await this.#checkpoints.finish();
      await lock?.require();
      if (config.checkpoint !== false) await this.#checkpoints.prune();
      if (best.best === null || best.best.step === step) await (await trainee.snapshot()).save(model);
      else await best.copyTo(model);
    });
    if (best.end !== null) emit({ type: 'note', message: best.end });
    const ofBest = best.best && { bestOf: best.best.step };
    emit({ type: 'saved', step, folder: model, ...ofBest, waited: (performance.now() - waited) / 1000 });
    const [scores, before] = [this.#scores, this.#before ?? best.known.before];
    return { steps: step, loss: this.#loss, model, scores, before, best: best.best };
  }

  /** Of several ranks the first looks. */
  async #openBest(): Promise<BestModel> {
    const { config, ranks, done } = this.parts;
    const { best, patience } = config.evaluation ?? {};
    const settings = { best, patience };
    const known = await fromFirst(
      ranks,
      'looking for the best model',
      async () => (await BestModel.open(config.output, settings, done)).known,
    );
    return BestModel.of(config.output, settings, known);
  }

  /** The batches of each update that is left. */
  #batches(done: number): AsyncIterable<BatchesOfUpdate<Batch>> {
    const { trainee, parts } = this;
    const { accumulate = 1, evaluation } = parts.config;
    const batches = trainee.batches({ skip: done * accumulate, signal: parts.signal });
    const epochOf = (batch: Batch): number => trainee.epochOf?.(batch) ?? 0;
    return updatesOf(batches, { accumulate, epochOf: evaluation?.every === 'epoch' ? epochOf : null });
  }

  async #update(step: number, batches: BatchesOfUpdate<Batch>['batches']): Promise<void> {
    const { trainee, parts } = this;
    const { emit, optimizer } = parts;
    const lr = (await parts.schedule(step - 1)) * (trainee.lrScale?.(batches[0]) ?? 1);
    const started = performance.now();
    const results: Step[] = [];
    let nothing: NothingLeft | undefined;
    for (const [place, batch] of batches.entries()) {
      const found = await this.#step(step, batch, place, lr);
      if (isNothing(found)) nothing ??= found;
      else results.push(found);
    }
    if (results.length === 0) {
      this.#made = step;
      emit({ type: 'note', message: this.#passedOver.note(step, trainee.nameOf(batches[0]), nothing!) });
      return;
    }
    this.#passedOver.made();
    const result = results.length === 1 ? results[0]! : trainee.together!(results);
    await this.#explained(step, batches[0], lr, async () => {
      optimizer.lr = lr;
      const { gradNorm } = await optimizer.step();
      this.#made = step;
      const seconds = (performance.now() - started) / 1000;
      this.#loss = result.loss;
      const { known: steps } = parts.length;
      const secondsLeft = steps === null ? null : (steps - step) * (this.#pace ?? seconds);
      emit(
        trainee.event(batches[0], result, { type: 'step', step, steps, lr, gradNorm, seconds, secondsLeft }),
      );
    });
  }

  /** The loss and the gradients of one of the batches of an update. @param place among them, from 0 */
  #step(step: number, batch: Batch, place: number, lr: number): Promise<Step | NothingLeft> {
    const { accumulate = 1, seed: own } = this.parts.config;
    const { signal } = this.parts;
    const { known: steps } = this.parts.length;
    return this.#explained(step, batch, lr, async () => {
      // Made from the number of the batch, so that a resumed run drops out what an uninterrupted one does.
      const seed = drawSeed('update', own, (step - 1) * accumulate + place + 1);
      const result = await this.trainee.step(batch, { step, steps, signal, seed });
      if (!isNothing(result) && !Number.isFinite(result.loss))
        throw new GradCacheError('NON_FINITE', `The loss is ${result.loss}.`);
      return result;
    });
  }

  /** Says of an error of the numbers which texts made it. */
  async #explained<T>(step: number, batch: Batch, lr: number, work: () => Promise<T>): Promise<T> {
    const { trainee } = this;
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof GradCacheError) || error.code !== 'NON_FINITE') throw error;
      const where = await trainee.explainNonFinite(batch);
      throw new GradCacheError(
        'NON_FINITE',
        `Step ${step} ${trainee.nameOf(batch)} was not made, at learning rate ${lr}: ${error.message} ${where}`,
        { cause: error },
      );
    }
  }

  async #evaluate(step: number, heldOut: HeldOut, best: BestModel): Promise<void> {
    const { trainee } = this;
    const { config, lock, emit, signal, ranks } = this.parts;
    this.#measuring = true;
    const { scores, hardest } = await heldOut.measure(signal);
    this.#scores = ranks === null ? scores : await ofFirst(ranks, scores);
    if (hardest !== undefined)
      await onFirst(ranks, 'writing what was hardest', async () => {
        await lock?.require();
        await writeHardest(config.output, { step, ...hardest });
      });
    this.#measuring = false;
    if (step === 0) this.#before = this.#scores;
    emit({ type: 'evaluation', step, scores: this.#scores, ...(hardest && { hardest }) });
    if (!best.note(step, this.#scores)) return;
    const started = performance.now();
    await onFirst(ranks, 'keeping the best model', async () => {
      await lock?.require();
      await best.keep(await trainee.snapshot());
    });
    const waited = (performance.now() - started) / 1000;
    emit({ type: 'saved', step, folder: bestFolder(config.output), waited });
  }

  /** By the time it is rank 0's clock that counts. */
  async #isCheckpointDue(step: number): Promise<boolean> {
    if (this.#clock.isDueAt(step)) return true;
    if (!this.#clock.looksAtTime) return false;
    return fromFirst(this.parts.ranks, 'looking at the time', async () => this.#clock.isTime());
  }

  async #checkpoint(step: number, { alone }: { readonly alone: boolean }): Promise<void> {
    const making = { alone, unmeasured: this.#measuring };
    await this.#checkpoints.begin(step, making);
    this.#clock.restart();
  }

  /** Of processes that train together some end a little earlier than others, which then miss them. */
  #isInterruption(error: unknown): boolean {
    const code = error instanceof GradCacheError ? error.code : undefined;
    return code === 'ABORTED' || (code === 'DISTRIBUTED' && this.parts.signal?.aborted === true);
  }

  async #keepWhatWasMade(): Promise<void> {
    const { ranks, config, optimizer, emit } = this.parts;
    const made = this.#made;
    const isKept = made === null || this.#checkpoints.newest === made || config.checkpoint === false;
    if (!isKept && !(await this.#keepTogether(made))) {
      if (optimizer.divided || this.trainee.divided === true)
        emit({
          type: 'note',
          message:
            `no checkpoint of step ${made} is written: each rank has a part of the state, and not all are left. The last checkpoint ` +
            'before is the one to go on from',
        });
      else if (isFirst(ranks)) await this.#checkpoint(made, { alone: true });
    }
    await this.#checkpoints.finish();
  }

  /** Of ranks that were interrupted some may have ended. @returns false where not all took part, and nothing was written */
  async #keepTogether(made: number): Promise<boolean> {
    const { ranks } = this.parts;
    if (ranks === null) return false;
    try {
      const all = await ranks.numbers([made]);
      if (all.some(([other]) => other !== made)) return false;
      await this.#checkpoint(made, { alone: false });
      return true;
    } catch (error) {
      if (!(error instanceof GradCacheError) || error.code !== 'DISTRIBUTED') throw error;
      return false;
    }
  }
}

/** The scores of rank 0, by which all go on: those of others may be rounded in another way. */
async function ofFirst(ranks: Ranks, own: Readonly<Record<string, number>>): Promise<Record<string, number>> {
  const [first = []] = await ranks.numbers(Object.values(own));
  return Object.fromEntries(Object.keys(own).map((name, place) => [name, first[place]!]));
}

function isDue(step: number, every: number | undefined): boolean {
  return every !== undefined && step % every === 0;
}
