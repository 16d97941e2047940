import { requireRanks, type Ranks } from '../../distributed/ranks.js';
import { fromFirst, onEach, onFirst } from '../../distributed/shared-work.js';
import { requireSame } from '../../distributed/start-check.js';
import { GradCacheError } from '../../errors.js';
import { charactersOf, encodeTexts, readTexts, type Corpus, type Texts } from '../../language/corpus.js';
import { LanguageModel } from '../../language/language-model.js';
import { loadTextModel, type TextModel } from '../../language/text-model.js';
import { Bytes, Subwords, type Vocabulary } from '../../language/vocabulary.js';
import { checkKnown } from '../../options/known-options.js';
import { requireFunction, requireSignal } from '../../options/option-values.js';
import { makeOptimizer } from '../../optim/optimizer-kinds.js';
import type { Optimizer } from '../../optim/optimizer.js';
import { chooseDevice } from '../../tensor/memory.js';
import { Tokenizer } from '../../tokenizer/tokenizer.js';
import { modelFolder } from '../checkpoint.js';
import { findFinished, leftAsItIs } from '../finished.js';
import { requireApart } from '../inputs-apart.js';
import { Loop } from '../loop.js';
import type { MetricsFile } from '../metrics.js';
import { whileLocked, whileTelling } from '../output.js';
import type { OutputLock } from '../output-lock.js';
import {
  factsOfRun,
  factsOfSettings,
  kindOfDevice,
  openOnEach,
  otherRanks,
  requireForRanks,
  resumedOn,
} from '../over-ranks.js';
import { readPlace, refuseLauncherSettings, type GivenConfig } from '../read-run.js';
import type { Resumed } from '../resume.js';
import { beginAnew, nothingToResume, resumeSettings } from '../resume-settings.js';
import { readSettings, settingsFile } from '../stored-settings.js';
import type { RowsRead } from '../rows-read.js';
import { scheduleOf } from '../schedule.js';
import type { LanguageResumeConfig, LanguageTrainConfig } from './config.js';
import type { LanguageTrainEvent, LanguageTrainResult } from './events.js';
import { LanguageTraining } from './language-training.js';
import {
  LANGUAGE_RUN,
  readLanguageConfig,
  storedLanguageConfig,
  type FilledLanguageConfig,
} from './read-config.js';
import { knownLength } from '../run-length.js';
import { stepsPerEpoch } from './segment-steps.js';

/** How a caller takes part in a run. */
export interface LanguageTrainHooks {
  /** Ends the run after the segment that is being computed. */
  readonly signal?: AbortSignal | undefined;
  /** Called with every event in order; must return quickly. Of several ranks, rank 0 tells events. */
  readonly onEvent?: ((event: LanguageTrainEvent) => void) | undefined;
  /**
   * The processes that train together, which all call `trainLanguage` with the same configuration. Every rank reads the text, and
   * trains on some rows of each batch. Rank 0 writes the output folder; where a run is resumed, all read its checkpoint. Where
   * `trainLanguage` throws, tell the others (`ranks.fail(error)`) and leave them (`ranks.close()`). Default: none.
   */
  readonly ranks?: Ranks | null | undefined;
}

/**
 * Trains a language model on text, as `gradcache language train` does: each row of a batch reads its part of the text in
 * segments, in order, and hands its state from one to the next.
 *
 * `output` gets `metrics.jsonl`, `checkpoint-N` folders and, at the end, `model`, as {@link train} leaves them. A resumed run
 * makes the same updates, bit for bit, as one that was never interrupted, on the same machine and device.
 *
 * @throws GradCacheError `INPUT` for a bad configuration, bad data or a folder that another run has, `ABORTED` when the signal
 * fires, `NON_FINITE` with the step and its learning rate (the last checkpoint stays as it is), and what the parts throw
 * @example
 * ```ts
 * const { model } = await trainLanguage(
 *   { model: {}, data: 'input.txt', output: 'runs/a', rows: 16, segment: { length: 64 }, across: { kind: 'exact' } },
 *   { onEvent: (event) => event.type === 'step' && console.log(event.step, event.loss) },
 * );
 * ```
 */
export function trainLanguage(
  config: LanguageTrainConfig | LanguageResumeConfig,
  hooks: LanguageTrainHooks = {},
): Promise<LanguageTrainResult> {
  return trainLanguageAsGiven(config, hooks);
}

/** {@link trainLanguage} for a configuration that nothing has looked at yet, such as one from a file. */
export async function trainLanguageAsGiven(
  config: unknown,
  hooks: LanguageTrainHooks,
): Promise<LanguageTrainResult> {
  checkKnown('trainLanguage', hooks, ['signal', 'onEvent', 'ranks']);
  const { signal, onEvent, ranks = null } = hooks;
  requireSignal('signal', signal);
  if (onEvent !== undefined) requireFunction('onEvent', onEvent);
  requireRanks('ranks', ranks);
  // A mistake in a new run is told before anything is made.
  const { given, read } = await onEach(ranks, 'reading the configuration', () => readNewLanguageRun(config));
  return whileLocked(given.output, ranks, async (lock) => {
    const resumed = await resumedOn(ranks, given);
    const { config: filled, notes } = await onEach(ranks, 'reading the settings', async () => {
      const { config, notes } = await fillConfig(given, read, resumed);
      return { config: suitedTo(ranks, config, given), notes };
    });
    await onFirst(ranks, 'looking at the files of the run', () =>
      requireApart(filled.output, inputsOf(filled)),
    );
    return whileTelling<LanguageTrainEvent, LanguageTrainResult>(
      filled.output,
      resumed,
      ranks,
      onEvent,
      (metrics, emit) => trainInto({ config: filled, resumed, notes, lock, metrics, emit, signal, ranks }),
    );
  });
}

/**
 * Reads a configuration that nothing has looked at yet: all of it for a new run, and where it is for one that is resumed.
 *
 * @throws GradCacheError `INPUT`
 */
export function readNewLanguageRun(config: unknown): {
  given: GivenConfig;
  read: FilledLanguageConfig | null;
} {
  const given = readPlace(config);
  refuseLauncherSettings(given, { command: 'language train', does: 'trainLanguage' });
  return { given, read: given.resume === false ? readLanguageConfig(given.settings) : null };
}

/** A configuration as ranks can train by it. @throws GradCacheError `INPUT` */
function suitedTo(
  ranks: Ranks | null,
  config: FilledLanguageConfig,
  { settings }: GivenConfig,
): FilledLanguageConfig {
  if (ranks === null) return config;
  requireForRanks(ranks, config.data, { name: 'config.rows', count: config.rows });
  return { ...config, device: kindOfDevice(ranks, settings) };
}

/** A run whose settings are known and whose folder is locked. */
interface Prepared {
  readonly config: FilledLanguageConfig;
  readonly resumed: Resumed | null;
  readonly notes: readonly string[];
  readonly lock: OutputLock | null;
  readonly metrics: MetricsFile;
  readonly emit: (event: LanguageTrainEvent) => void;
  readonly signal: AbortSignal | undefined;
  readonly ranks: Ranks | null;
}

async function fillConfig(
  { settings, output }: GivenConfig,
  read: FilledLanguageConfig | null,
  resumed: Resumed | null,
): Promise<{ config: FilledLanguageConfig; notes: readonly string[] }> {
  if (resumed !== null) {
    const stored = resumed.checkpoint.state.config;
    if (stored === undefined || resumed.checkpoint.streams === undefined)
      throw new GradCacheError('CHECKPOINT', `${resumed.folder} is not the checkpoint of a language model.`);
    return resumeSettings(settings, stored, resumed.folder, LANGUAGE_RUN);
  }
  const begun = read === null ? await readSettings(output) : null;
  if (begun !== null) return beginAnew(settings, begun, settingsFile(output), LANGUAGE_RUN);
  if (read === null && (settings.model ?? null) === null)
    throw nothingToResume(output, 'model, data, rows and segment');
  return { config: read ?? readLanguageConfig(settings), notes: [] };
}

async function trainInto(prepared: Prepared): Promise<LanguageTrainResult> {
  const { config, resumed, notes, emit, signal, ranks } = prepared;
  const texts = await onEach(ranks, 'reading the text', async () => {
    const read = await readTexts(config.data, config.documents, signal);
    requireSameTexts(read, resumed);
    return read;
  });
  const text = await openOnEach(
    ranks,
    () => openText(config, texts, resumed, ranks),
    ({ model }) => model.dispose(),
  );
  try {
    const { corpus, steps } = await onEach(ranks, 'encoding the text', async () => {
      const encoded = await encodeTexts(texts, text.vocabulary, signal);
      return { corpus: encoded, steps: config.steps ?? epochsOf(config, encoded) };
    });
    const finished = await fromFirst(ranks, 'looking for a finished model', async () =>
      resumed === null ? null : findFinished(config.output),
    );
    if (finished !== null && finished.step >= steps) {
      emit({ type: 'note', message: leftAsItIs(finished.step, notes) });
      return { steps: finished.step, loss: null, model: modelFolder(config.output), scores: finished.scores };
    }
    const read: RowsRead = { rows: texts.documents.length, sha256: texts.sha256, all: true };
    const { training, optimizer } = await openOnEach(
      ranks,
      () => Promise.resolve(openTraining(config, { text, corpus, read, resumed, ranks })),
      closeTraining,
    );
    try {
      const { step: done = 0, unmeasured = false } = resumed?.checkpoint.state ?? {};
      const length = knownLength(steps);
      const stored = storedLanguageConfig(config);
      if (ranks !== null) {
        const facts = { ...factsOfRun({ length, done }, training.parameters()), ...factsOfSettings(stored) };
        await requireSame(ranks, {
          ...facts,
          'the texts of config.data': texts.sha256,
          'the number of tokens': corpus.tokens.length,
        });
        await ranks.broadcast(training.parameters());
      }
      const schedule = scheduleOf(config, steps);
      emit({
        type: 'start',
        steps,
        done,
        documents: texts.documents.length,
        tokens: corpus.tokens.length,
        vocabulary: text.vocabulary.size,
        parameters: training.parameters().reduce((sum, { tensor }) => sum + tensor.size, 0),
        device: text.model.device,
        ranks: ranks?.size ?? 1,
        precision: text.model.precision,
        resumed: resumed?.folder ?? null,
      });
      for (const message of [...notes, ...otherRanks(ranks, resumed)]) emit({ type: 'note', message });
      const of = { ...prepared, optimizer, schedule, length, done, unmeasured, stored };
      const { before: _, best: __, ...result } = await new Loop(training, of).run();
      return result;
    } finally {
      closeTraining({ training, optimizer });
    }
  } finally {
    text.model.dispose();
  }
}

/** What makes the updates of a run. */
interface Opened {
  readonly training: LanguageTraining;
  readonly optimizer: Optimizer;
}

function openTraining(
  config: FilledLanguageConfig,
  { text, corpus, read, resumed, ranks }: OpenedFrom,
): Opened {
  const training = new LanguageTraining(config, text, corpus, read, resumed, ranks);
  let optimizer: Optimizer | undefined;
  try {
    optimizer = makeOptimizer(training.parameters(), config.optimizer);
    if (resumed !== null) optimizer.loadState(resumed.checkpoint.optimizer);
    return { training, optimizer };
  } catch (error) {
    optimizer?.dispose();
    training.dispose();
    throw error;
  }
}

interface OpenedFrom extends Pick<Prepared, 'resumed' | 'ranks'> {
  readonly text: TextModel;
  readonly corpus: Corpus;
  readonly read: RowsRead;
}

function closeTraining({ training, optimizer }: Opened): void {
  optimizer.dispose();
  training.dispose();
}

function epochsOf(config: FilledLanguageConfig, corpus: Corpus): number {
  const epochs = Array.from({ length: config.epochs ?? 1 }, (_, epoch) => epoch);
  return epochs.reduce((sum, epoch) => sum + stepsPerEpoch(corpus, config, epoch), 0);
}

/** The model that a run begins with, or goes on with. */
async function openText(
  config: FilledLanguageConfig,
  texts: Texts,
  resumed: Resumed | null,
  ranks: Ranks | null,
): Promise<TextModel> {
  const { model, precision, seed } = config;
  const options = { device: ranks?.device ?? chooseDevice(config.device), precision };
  if (resumed !== null) return loadTextModel(resumed.folder, options);
  if (typeof model === 'string') return loadTextModel(model, options);
  const vocabulary = await makeVocabulary(config, texts);
  return {
    model: LanguageModel.create({ ...model, vocabulary: vocabulary.size }, { ...options, seed }),
    vocabulary,
  };
}

async function makeVocabulary({ vocabulary }: FilledLanguageConfig, texts: Texts): Promise<Vocabulary> {
  if (typeof vocabulary === 'object') return Subwords.of(await Tokenizer.fromFile(vocabulary.tokenizer));
  return vocabulary === 'characters' ? charactersOf(texts) : new Bytes();
}

/** @throws GradCacheError `INPUT` where a resumed run would read other texts than the run that it goes on from */
function requireSameTexts({ sha256 }: Texts, resumed: Resumed | null): void {
  if (resumed === null || resumed.checkpoint.state.read?.sha256 === sha256) return;
  throw new GradCacheError(
    'INPUT',
    `${resumed.folder} cannot be resumed: its data were other texts than those of data now. Give the same texts, or start a new ` +
      'run from the model in that folder.',
  );
}

function inputsOf({ data, model, vocabulary, evaluation }: FilledLanguageConfig) {
  const inputs = data.map((path) => ({ name: 'data', path }));
  if (evaluation !== undefined) inputs.push({ name: 'evaluation.data', path: evaluation.data });
  if (typeof model === 'string') inputs.push({ name: 'model', path: model });
  if (typeof vocabulary === 'object')
    inputs.push({ name: 'vocabulary.tokenizer', path: vocabulary.tokenizer });
  return inputs;
}
