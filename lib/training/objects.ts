/*
 * Objects of a program that take the place of settings of a run: its encoder, its rows, its loss, its measures. In the settings,
 * which checkpoints keep, a name stands for each.
 */
import { toRow, type RowOptions } from '../data/read-rows.js';
import type { LabelledRowSource, Row, RowSource } from '../data/row.js';
import type { TextEncoder } from '../encoders/text-encoder.js';
import { requireLoss, type Loss } from '../losses/loss.js';
import type { LossConfig } from '../losses/loss-kinds.js';
import { OWN_LOSS } from '../losses/own-loss.js';
import { refuse, SettingError } from '../options/fields.js';
import { show } from '../options/option-values.js';
import { readGiven } from '../options/read-given.js';
import type { TrainConfig } from './config.js';
import type { EvaluationConfig } from './evaluation-config.js';
import { FILES_OF_SET } from './held-out-sets.js';

/** What stands in the settings for an object of the program. */
export const OBJECT = 'an object of the program';

/**
 * Measures the model that is trained, as it is now. A number is the score of the measure's own name, and a record has several
 * scores, whose names come behind its own: `{ 'faq/mrr': 0.4 }`.
 */
export type Evaluator = (
  model: TextEncoder,
  options: {
    /** Fires when the run is to end. */
    readonly signal: AbortSignal | undefined;
  },
) => Scores | PromiseLike<Scores>;

type Scores = number | Readonly<Record<string, number>>;

/**
 * A {@link TrainConfig} in which objects of a program stand for settings: an encoder, rows, a loss and measures of its own. All else
 * is as there, and the output folder is the same.
 *
 * Checkpoints do not hold these objects. A run that is resumed opens its model from the checkpoint, so `model` is left out then;
 * rows, loss and evaluators are given again. Rows must be the same ones: they are compared.
 */
export interface TrainConfigWithObjects extends Omit<TrainConfig, 'model' | 'data' | 'loss' | 'evaluation'> {
  /**
   * An encoder is trained in place and stays the program's. It keeps its own device, precision, length, dropout, frozen weights and
   * adapters; those settings are refused beside it.
   */
  readonly model: TrainConfig['model'] | TextEncoder;
  /**
   * Rows are gone through again for each epoch, and once more if the length of the run is to be counted first; a generator, which can
   * be gone through once, needs `shuffle: true` or `steps`. Needs `columns`, and `label` for a loss that takes labels.
   */
  readonly data: TrainConfig['data'] | RowSource | LabelledRowSource;
  /**
   * A loss, or a function of the representations of each column. Needs `columns`. It gets numbers of the column `label` as the keyword
   * argument `labels`. The model keeps the similarity that it names.
   */
  readonly loss?: LossConfig | Loss;
  /** As {@link EvaluationConfig}, with measures of the program beside those of its data, or alone. */
  readonly evaluation?: EvaluationConfig & {
    /** Measures by name. With several processes each calls them, for the same model. */
    readonly evaluators?: Readonly<Record<string, Evaluator>>;
  };
}

/** The objects of a run; null or empty where a setting says it. */
export interface RunObjects {
  readonly model: TextEncoder | null;
  readonly rows: LabelledRowSource | null;
  readonly loss: Loss | null;
  readonly evaluators: Readonly<Record<string, Evaluator>>;
}

/** Settings of a model that a run opens: an encoder of the program has its own. */
const OF_MODEL = [
  'pooling',
  'lateInteraction',
  'newHead',
  'adaptiveLayer',
  'device',
  'precision',
  'maxLength',
  'dropout',
  'frozen',
  'embeddingGradients',
  'masterWeights',
  'lora',
];

/**
 * Takes the objects out of what the caller gave.
 *
 * @returns the objects, and settings with names in their place
 * @throws GradCacheError `INPUT` for an object that cannot take the place of the setting
 */
export function takeObjects(given: unknown): { settings: unknown; objects: RunObjects } {
  const none = { model: null, rows: null, loss: null, evaluators: {} };
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    return { settings: given, objects: none };
  const settings = readGiven('config', () => ({ ...(given as Record<string, unknown>) }));
  const [model, rows] = [takeModel(settings), takeRows(settings)];
  return {
    settings,
    objects: { model, rows, loss: takeLoss(settings), evaluators: takeEvaluators(settings) },
  };
}

function takeModel(settings: Record<string, unknown>): TextEncoder | null {
  const { model, resume } = settings;
  if (!hasMethods(model, ['tokenize', 'forwardChunk'])) return null;
  if (!hasMethods(model, ['encode', 'snapshot', 'setPrompt', 'setSimilarity']))
    throw refuse('config.model', model, 'a TextEncoder, or the path of a model folder,');
  if ((resume ?? false) !== false)
    throw new SettingError(
      'config.model',
      'is an encoder of the program, and a run that is resumed opens its model from the checkpoint: leave model out.',
    );
  const own = OF_MODEL.find((name) => (settings[name] ?? null) !== null);
  if (own !== undefined)
    throw new SettingError(
      `config.${own}`,
      'is for a model that the run opens: give it when you make the encoder.',
    );
  settings['model'] = OBJECT;
  return model as TextEncoder;
}

function takeRows(settings: Record<string, unknown>): LabelledRowSource | null {
  const { data, columns } = settings;
  if (typeof data !== 'object' || data === null) return null;
  // A list of paths is a setting. No row is a text.
  if (Array.isArray(data) && data.every((each) => typeof each === 'string')) return null;
  if (!(Symbol.iterator in data) && !(Symbol.asyncIterator in data))
    throw refuse('config.data', data, 'the path of a file, a list of them, or rows');
  if ((columns ?? null) === null)
    throw new SettingError('config.columns', 'is missing: name the columns of texts that the rows have.');
  settings['data'] = OBJECT;
  return data as LabelledRowSource;
}

function takeLoss(settings: Record<string, unknown>): Loss | null {
  const { loss } = settings;
  if (typeof loss !== 'function' && !hasMethods(loss, ['compute'])) return null;
  requireLoss(loss);
  if ((settings['columns'] ?? null) === null)
    throw new SettingError('config.columns', 'is missing: name the columns of texts that the loss compares.');
  settings['loss'] = { kind: OWN_LOSS };
  return loss as Loss;
}

function takeEvaluators(settings: Record<string, unknown>): Readonly<Record<string, Evaluator>> {
  const { evaluation } = settings;
  if (typeof evaluation !== 'object' || evaluation === null || !('evaluators' in evaluation)) return {};
  const { evaluators, ...others } = readGiven('config.evaluation', () => ({
    ...(evaluation as Record<string, unknown>),
  }));
  if (evaluators === undefined) return {};
  if (typeof evaluators !== 'object' || evaluators === null || Array.isArray(evaluators))
    throw refuse('config.evaluation.evaluators', evaluators, 'an object of functions, by name,');
  const functions = readGiven('config.evaluation.evaluators', () => ({
    ...(evaluators as Record<string, unknown>),
  }));
  for (const [name, evaluator] of Object.entries(functions))
    if (typeof evaluator !== 'function')
      throw refuse(`config.evaluation.evaluators.${name}`, evaluator, 'a function of the model');
  const hasFile = FILES_OF_SET.some((name) => (others[name] ?? null) !== null);
  settings['evaluation'] = hasFile ? others : { ...others, data: OBJECT };
  return functions as Record<string, Evaluator>;
}

function hasMethods(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}

/**
 * A run needs the objects that its settings name, also when it is resumed.
 *
 * @throws GradCacheError `INPUT`
 */
export function requireObjects(
  config: {
    readonly model: unknown;
    readonly data: readonly string[];
    readonly loss: { readonly kind: string };
    readonly evaluation?: { readonly data?: string | undefined } | undefined;
  },
  objects: RunObjects,
  resumed: boolean,
): void {
  const missing = (name: string, what: string): SettingError =>
    new SettingError(
      `config.${name}`,
      `stands for ${what} of the program that began the run: give it again.`,
    );
  if (config.model === OBJECT && objects.model === null && !resumed) throw missing('model', 'an encoder');
  if (config.data.includes(OBJECT) && objects.rows === null) throw missing('data', 'rows');
  if (config.loss.kind === OWN_LOSS && objects.loss === null) throw missing('loss', 'a loss');
  if (config.evaluation?.data === OBJECT && Object.keys(objects.evaluators).length === 0)
    throw missing('evaluation.data', 'evaluators');
}

/**
 * The rows of a program as those of a file are read: the columns of the run in their order, the label, and ids.
 *
 * @param options.onProblem told what is wrong with a row, which is left out if it returns
 */
export async function* rowsOf(
  rows: LabelledRowSource,
  columns: readonly string[],
  {
    onProblem,
    ...options
  }: Pick<RowOptions, 'label' | 'ids' | 'lists' | 'emptyLists'> & {
    readonly onProblem: (row: number, problem: string) => void;
  },
): AsyncGenerator<Row, void, undefined> {
  let number = 0;
  for await (const given of rows as AsyncIterable<unknown> | Iterable<unknown>) {
    const row =
      typeof given !== 'object' || given === null || Array.isArray(given)
        ? `it is ${show(given)}, not an object of texts by column`
        : toRow({ line: number, values: given as Record<string, unknown> }, columns, options);
    if (typeof row === 'string') onProblem(number, row);
    else yield row;
    number++;
  }
}

/**
 * Measures a model by the functions of the program.
 *
 * @param before scores that there are already
 * @returns these, and those of the functions
 * @throws GradCacheError `INPUT` for what is no score, and for a score that there is already
 */
export async function measureBy(
  evaluators: RunObjects['evaluators'],
  model: TextEncoder,
  signal: AbortSignal | undefined,
  before: Readonly<Record<string, number>>,
): Promise<Record<string, number>> {
  const scores: Record<string, number> = { ...before };
  for (const [name, evaluate] of Object.entries(evaluators)) {
    const setting = `config.evaluation.evaluators.${name}`;
    const given = await evaluate(model, { signal });
    const found =
      typeof given === 'object' && given !== null ? Object.entries(given) : [['', given] as const];
    for (const [score, value] of found) {
      if (typeof value !== 'number')
        throw refuse(`the result of ${setting}`, given, 'a number, or numbers by name,');
      const whole = score === '' ? name : `${name}/${score}`;
      if (Object.hasOwn(scores, whole))
        throw new SettingError(
          setting,
          `gives the score ${show(whole)}, which held-out data has: rename it.`,
        );
      scores[whole] = value;
    }
  }
  return scores;
}
