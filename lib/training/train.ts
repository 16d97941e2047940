import { FileHeads } from '../data/file-heads.js';
import { requireRanks, type Ranks } from '../distributed/ranks.js';
import { fromFirst, isFirst, onEach, onFirst } from '../distributed/shared-work.js';
import { requireSame } from '../distributed/start-check.js';
import type { HubProgress } from '../hub/pull.js';
import { temperatureOf } from '../losses/loss-kinds.js';
import { tell } from '../options/synchronous.js';
import { checkKnown } from '../options/known-options.js';
import { requireFunction, requireSignal } from '../options/option-values.js';
import { readBest } from './best-model.js';
import { modelFolder } from './checkpoint.js';
import { withColumns } from './columns.js';
import type { ResumeConfig, TrainConfig } from './config.js';
import { saySmallBatches } from './counted-rows.js';
import { RunData } from './data.js';
import { findLength } from './find-length.js';
import type { TrainEvent, TrainResult } from './events.js';
import { findFinished, leftAsItIs } from './finished.js';
import { requireInputsApart } from './inputs-apart.js';
import { Loop } from './loop.js';
import type { MetricsFile } from './metrics.js';
import { requireObjects, takeObjects, type RunObjects, type TrainConfigWithObjects } from './objects.js';
import type { OutputLock } from './output-lock.js';
import { whileLocked, whileTelling } from './output.js';
import { factsOf, suitedTo, openOnEach, otherRanks, resumedOn, unusedAlone } from './over-ranks.js';
import { withModelOfPictures } from './model-of-pictures.js';
import { Pairs } from './pairs.js';
import { fromHub } from './from-hub.js';
import { requireReadOnce } from './read-once.js';
import { readTrainConfig, type FilledTrainConfig, type ReadTrainConfig } from './read-config.js';
import { readPlace, refuseLauncherSettings, type GivenConfig } from './read-run.js';
import type { Resumed } from './resume.js';
import { PAIRS, resumeConfig, storedConfig } from './resume-pairs.js';
import { beginAnew, nothingToResume } from './resume-settings.js';
import { readSettings, settingsFile } from './stored-settings.js';
import { openRun, type Run } from './run.js';

/** How a caller takes part in a run. */
export interface TrainHooks {
  /** Ends the run after the chunk that is being computed. */
  readonly signal?: AbortSignal | undefined;
  /** Called with every event in order; must return quickly. Of several ranks, rank 0 tells events. */
  readonly onEvent?: ((event: TrainEvent) => void) | undefined;
  /**
   * The processes that train together, which all call `train` with the same configuration. Every rank reads the data, and
   * encodes its share of each batch. Rank 0 writes the output folder; where a run is resumed, all read its checkpoint. Where
   * `train` throws, tell the others (`ranks.fail(error)`) and leave them (`ranks.close()`). Default: none, this process alone.
   */
  readonly ranks?: Ranks | null | undefined;
}

/**
 * Trains a text encoder, a cross-encoder, CLIP or SigLIP, or a model of pictures beside a text encoder on pairs, as `gradcache train` does: tokenised batches, the cached
 * step, an optimizer, a schedule, evaluation and checkpoints.
 *
 * `output` gets `metrics.jsonl`, `checkpoint-N` folders (each a model folder that can be opened as such, with the state of
 * the optimizer) and, at the end, `model`. A resumed run makes the same updates, bit for bit, as one that was never
 * interrupted, on the same machine and device; in float64 up to the rounding of weights to float32, which is what folders
 * store. A run that is finished is left as it is when it is resumed, unless it is to take more steps.
 *
 * One run at a time can have an output folder: `train.lock` in it says which process trains.
 *
 * ```ts
 * const { model, scores } = await train(
 *   { model: 'hf:BAAI/bge-small-en-v1.5', data: 'pairs.jsonl', output: 'runs/a', batch: 4096 },
 *   { onEvent: (event) => event.type === 'step' && console.log(event.step, event.loss) },
 * );
 * ```
 *
 * @param config settings, in which objects of the program can stand: {@link TrainConfigWithObjects}
 * @throws GradCacheError `INPUT` for a bad configuration, bad data or a folder that another run has, `ABORTED` when the signal
 * fires (the last complete checkpoint stays as it is), `NON_FINITE` with the step and the texts at fault, and what the parts
 * throw
 */
export function train(
  config: TrainConfig | TrainConfigWithObjects | ResumeConfig,
  hooks: TrainHooks = {},
): Promise<TrainResult> {
  return trainAsGiven(config, hooks);
}

/** {@link train} for a configuration that nothing has looked at yet, such as one from a file. */
export async function trainAsGiven(config: unknown, hooks: TrainHooks): Promise<TrainResult> {
  checkKnown('train', hooks, ['signal', 'onEvent', 'ranks']);
  const { signal, onEvent, ranks = null } = hooks;
  requireSignal('signal', signal);
  if (onEvent !== undefined) requireFunction('onEvent', onEvent);
  requireRanks('ranks', ranks);
  // A mistake in a new run is told before anything is made.
  const { given, read, objects } = await onEach(ranks, 'reading the configuration', () => {
    const { settings, objects } = takeObjects(config);
    return { ...readNewRun(settings), objects };
  });
  const { output } = given;
  const heads = new FileHeads();
  const told = (event: TrainEvent): void => {
    if (isFirst(ranks)) tell('onEvent', onEvent, event);
  };
  const note = (message: string): void => told({ type: 'note', message });
  const fetching = {
    signal,
    onProgress: (progress: HubProgress) => told({ type: 'fetch', ...progress }),
    onWait: note,
    onFound: note,
  };
  try {
    return await whileLocked(output, ranks, async (lock) => {
      const resumed = await resumedOn(ranks, given);
      const settings = await onEach(ranks, 'fetching from the hub', () => fromHub(given.settings, fetching));
      const located = read === null || settings === given.settings ? read : readTrainConfig(settings);
      const { config, notes } = await onEach(ranks, 'reading the first rows', async () => {
        const filled = await fillConfig({ ...given, settings }, located, resumed, (config) =>
          withColumns(config, heads, signal),
        );
        // What the checkpoint names. The models are in it.
        const { model, imageModel, ...rest } = filled.config;
        const config = { ...(await fromHub(rest, fetching)), model, imageModel };
        return { ...filled, config: suitedTo(ranks, config, given) };
      });
      requireObjects(config, objects, resumed !== null);
      requireReadOnce(config);
      await onFirst(ranks, 'looking at the files of the run', () => requireInputsApart(config));
      return whileTelling<TrainEvent, TrainResult>(output, resumed, ranks, onEvent, (metrics, emit) =>
        trainInto({ config, objects, resumed, notes, heads, lock, metrics, emit, signal, ranks }),
      );
    });
  } finally {
    await heads.close();
  }
}

/**
 * Reads a configuration that nothing has looked at yet: all of it for a new run, and where it is for one that is resumed.
 *
 * @throws GradCacheError `INPUT`
 */
export function readNewRun(config: unknown): { given: GivenConfig; read: ReadTrainConfig | null } {
  const given = readPlace(config);
  refuseLauncherSettings(given, { command: 'train', does: 'train' });
  return { given, read: given.resume === false ? readTrainConfig(given.settings) : null };
}

/** A run whose settings are known and whose folder is locked. */
interface Prepared {
  readonly config: FilledTrainConfig;
  readonly objects: RunObjects;
  readonly resumed: Resumed | null;
  readonly notes: readonly string[];
  readonly heads: FileHeads;
  readonly lock: OutputLock | null;
  readonly metrics: MetricsFile;
  readonly emit: (event: TrainEvent) => void;
  readonly signal: AbortSignal | undefined;
  readonly ranks: Ranks | null;
}

async function fillConfig(
  { settings, output }: GivenConfig,
  read: ReadTrainConfig | null,
  resumed: Resumed | null,
  withColumns: (config: ReadTrainConfig) => Promise<FilledTrainConfig>,
): Promise<{ config: FilledTrainConfig; notes: readonly string[] }> {
  if (resumed !== null) return resumeConfig(settings, resumed);
  const begun = read === null ? await readSettings(output) : null;
  if (begun !== null) return beginAnew(settings, begun, settingsFile(output), PAIRS);
  if (read === null && (settings.model ?? null) === null)
    throw nothingToResume(output, 'model, data and batch');
  const whole = await withModelOfPictures(settings);
  const all = whole === settings && read !== null ? read : readTrainConfig(whole);
  return { config: await withColumns(all), notes: [] };
}

async function trainInto(prepared: Prepared): Promise<TrainResult> {
  const { config, objects, resumed, notes, heads, emit, signal, ranks } = prepared;
  const before = resumed?.checkpoint.state.read;
  const data = new RunData(
    config,
    before,
    heads,
    (message) => emit({ type: 'skipped', message }),
    ranks,
    objects.rows,
  );
  const onRows = (rows: number): void => emit({ type: 'reading', rows });
  const tellSkipped = (): void => {
    const { skipped, skippedOf: files, pictures } = data;
    const lines = skipped - pictures;
    if (skipped > 0) emit({ type: 'skippedTotal', lines, files, ...(pictures > 0 && { pictures }) });
  };
  const { length, counted, later, stop } = await findLength({
    config,
    data,
    ranks,
    signal,
    isResumed: resumed !== null,
    onRows,
  });
  const finished = await fromFirst(ranks, 'looking for a finished model', async () =>
    resumed === null ? null : findFinished(config.output),
  );
  if (finished !== null && finished.step >= (await length.total())) {
    emit({ type: 'note', message: leftAsItIs(finished.step, notes) });
    tellSkipped();
    return {
      steps: finished.step,
      loss: null,
      model: modelFolder(config.output),
      temperature: finished.temperature ?? temperatureOf(config.loss),
      scores: finished.scores,
      before: finished.before,
      best: config.evaluation?.best === undefined ? null : await readBest(config.output),
      skipped: data.skipped,
    };
  }
  const opening = openOnEach(
    ranks,
    () => openRun(config, length, resumed, ranks, objects, (path, reason) => data.passPicture(path, reason)),
    closeRun,
  );
  const run = await opening.catch((error: unknown) => {
    stop();
    throw error;
  });
  try {
    if (ranks !== null) {
      const facts = await onEach(ranks, 'looking at the data', () => factsOf(config, run, counted));
      await requireSame(ranks, facts);
      await ranks.broadcast(run.objective.parameters());
    }
    emit(startEvent(run, config, counted, ranks));
    const small = counted === null ? undefined : saySmallBatches(config, counted);
    for (const message of [
      ...(small === undefined ? [] : [small]),
      ...notes,
      ...otherRanks(ranks, resumed),
      ...unusedAlone(ranks, config),
      ...run.objective.notes,
    ])
      emit({ type: 'note', message });
    const telling = later === null ? emit : tellingBefore(later, emit);
    const trainee = new Pairs(config, run.objective, data, telling, ranks);
    const result = await new Loop(trainee, {
      ...prepared,
      ...run,
      emit: telling,
      stored: storedConfig(config),
    })
      .run()
      .finally(tellSkipped); // of a run that was interrupted too
    return { ...result, temperature: run.objective.temperature, skipped: data.skipped };
  } finally {
    stop();
    closeRun(run);
  }
}

/** Tells messages, once there are any, before the next event: what a listener throws then ends the run, as of any event. */
function tellingBefore(messages: Promise<readonly string[]>, emit: Prepared['emit']): Prepared['emit'] {
  let due: readonly string[] = [];
  messages.then(
    (found) => void (due = found),
    () => undefined, // the loop tells it
  );
  return (event) => {
    const now = due;
    due = [];
    for (const message of now) emit({ type: 'note', message });
    emit(event);
  };
}

function closeRun({ optimizer, objective }: Run): void {
  optimizer.dispose();
  objective.dispose();
}

function startEvent(
  run: Run,
  config: FilledTrainConfig,
  counted: { readonly rows: number; readonly leftOver: number } | null,
  ranks: Ranks | null,
): TrainEvent {
  const { objective } = run;
  return {
    type: 'start',
    steps: run.length.known,
    done: run.done,
    rows: counted?.rows ?? null,
    leftOver: counted?.leftOver ?? null,
    columns: config.columns,
    parameters: objective.parameters().reduce((sum, { tensor }) => sum + tensor.size, 0),
    device: objective.device,
    ranks: ranks?.size ?? 1,
    precision: objective.precision,
    resumed: run.resumed,
    settings: storedConfig(config),
  };
}
