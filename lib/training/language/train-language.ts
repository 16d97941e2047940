import { GradCacheError } from '../../errors.js';
import { charactersOf, encodeTexts, readTexts, type Texts } from '../../language/corpus.js';
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
import { readPlace, type GivenConfig } from '../read-run.js';
import { findResumed, type Resumed } from '../resume.js';
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
import { stepsPerEpoch } from './segment-steps.js';

/** How a caller takes part in a run. */
export interface LanguageTrainHooks {
  /** Ends the run after the segment that is being computed. */
  readonly signal?: AbortSignal | undefined;
  /** Called with every event in order; must return quickly. */
  readonly onEvent?: ((event: LanguageTrainEvent) => void) | undefined;
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
  checkKnown('trainLanguage', hooks, ['signal', 'onEvent']);
  const { signal, onEvent } = hooks;
  requireSignal('signal', signal);
  if (onEvent !== undefined) requireFunction('onEvent', onEvent);
  const given = readPlace(config);
  // A mistake in a new run is told before anything is made.
  const read = given.resume === false ? readLanguageConfig(given.settings) : null;
  return whileLocked(given.output, null, async (lock) => {
    const resumed = await findResumed(given);
    const { config: filled, notes } = await fillConfig(given, read, resumed);
    await requireApart(filled.output, inputsOf(filled));
    return whileTelling<LanguageTrainEvent, LanguageTrainResult>(
      filled.output,
      resumed,
      null,
      onEvent,
      (metrics, emit) => trainInto({ config: filled, resumed, notes, lock, metrics, emit, signal }),
    );
  });
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
  const { config, resumed, notes, emit, signal } = prepared;
  const texts = await readTexts(config.data, config.documents, signal);
  requireSameTexts(texts, resumed);
  const text = await openText(config, texts, resumed);
  try {
    const corpus = await encodeTexts(texts, text.vocabulary, signal);
    const steps = config.steps ?? epochsOf(config, corpus);
    const finished = resumed === null ? null : await findFinished(config.output);
    if (finished !== null && finished.step >= steps) {
      emit({ type: 'note', message: leftAsItIs(finished.step, notes) });
      return { steps: finished.step, loss: null, model: modelFolder(config.output), scores: finished.scores };
    }
    const read: RowsRead = { rows: texts.documents.length, sha256: texts.sha256, all: true };
    const training = new LanguageTraining(config, text, corpus, read, resumed);
    let optimizer: Optimizer | undefined;
    try {
      optimizer = makeOptimizer(training.parameters(), config.optimizer);
      if (resumed !== null) optimizer.loadState(resumed.checkpoint.optimizer);
      const { step: done = 0, unmeasured = false } = resumed?.checkpoint.state ?? {};
      const stored = storedLanguageConfig(config);
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
        precision: text.model.precision,
        resumed: resumed?.folder ?? null,
      });
      for (const message of notes) emit({ type: 'note', message });
      const of = { ...prepared, ranks: null, optimizer, schedule, steps, done, unmeasured, stored };
      const { before: _, best: __, ...result } = await new Loop(training, of).run();
      return result;
    } finally {
      optimizer?.dispose();
      training.dispose();
    }
  } finally {
    text.model.dispose();
  }
}

function epochsOf(config: FilledLanguageConfig, corpus: Parameters<typeof stepsPerEpoch>[0]): number {
  const epochs = Array.from({ length: config.epochs ?? 1 }, (_, epoch) => epoch);
  return epochs.reduce((sum, epoch) => sum + stepsPerEpoch(corpus, config, epoch), 0);
}

/** The model that a run begins with, or goes on with. */
async function openText(
  config: FilledLanguageConfig,
  texts: Texts,
  resumed: Resumed | null,
): Promise<TextModel> {
  const { model, precision, seed } = config;
  const options = { device: chooseDevice(config.device), precision };
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
