/*
 * The held-out data of a run, as its configuration names it.
 */
import { FORMATS } from '../data/formats.js';
import { delimiterProblem } from '../data/delimiter.js';
import { QUOTINGS } from '../data/quoting.js';
import { readMeasures, type RetrievalMeasure } from '../evaluation/retrieval-measures.js';
import { refuse, SettingError, type Fields } from '../options/fields.js';
import { plural } from '../options/plural.js';
import type { EvaluationConfig } from './config.js';
import { OBJECT } from './objects.js';

/** The held-out data of a run, with everything that it needs to know. */
type HeldOutSettings = Pick<EvaluationConfig, 'data'> & {
  readonly [Name in keyof Required<EvaluationConfig>]: EvaluationConfig[Name];
};

/** How the fields of a data file are laid out: told from its name and its first line where nothing is said. */
export function readLayout(fields: Fields) {
  const names = Array.isArray(fields.raw('header'));
  return {
    format: fields.oneOf('format', FORMATS),
    header: names ? fields.strings('header') : fields.boolean('header'),
    quoting: fields.oneOf('quoting', QUOTINGS),
    delimiter: readDelimiter(fields),
  };
}

function readDelimiter(fields: Fields): string | undefined {
  const delimiter = fields.string('delimiter');
  const problem = delimiter === undefined ? undefined : delimiterProblem(delimiter);
  if (problem !== undefined) throw refuse(fields.at('delimiter'), delimiter, problem);
  return delimiter;
}

/** What held-out data of a text encoder is measured for. */
const HELD_OUT_TASKS = ['retrieval', 'sts', 'triplets', 'binary'] as const;
type HeldOutTaskName = (typeof HELD_OUT_TASKS)[number];

const USUAL_COLUMNS = {
  sts: ['sentence1', 'sentence2', 'score'],
  triplets: ['anchor', 'positive', 'negative'],
  binary: ['sentence1', 'sentence2', 'label'],
} as const;

/** When held-out data is measured, and what follows from its scores. */
function readTimes(fields: Fields): Pick<HeldOutSettings, 'every' | 'before' | 'best' | 'patience'> {
  const [best, patience] = [fields.string('best'), fields.count('patience')];
  if (patience !== undefined && best === undefined)
    throw new SettingError(
      fields.at('patience'),
      'counts measurements without a better score: name that with evaluation.best (--best).',
    );
  const every = fields.raw('every') === 'epoch' ? ('epoch' as const) : fields.count('every');
  return { every, before: fields.boolean('before'), best, patience };
}

/**
 * @param trained the columns of the data that is trained on: those of held-out pairs, unless it has its own. Undefined: the data
 * tells them
 */
export function readEvaluation(fields: Fields, trained: readonly string[] | undefined): HeldOutSettings {
  const loss = fields.boolean('loss');
  const unmeasured = loss === true || fields.raw('data') === OBJECT;
  const task = fields.oneOf('task', HELD_OUT_TASKS) ?? (unmeasured ? undefined : 'retrieval');
  return {
    task,
    loss,
    data: fields.string('data') ?? fields.missing('data', 'give the path of a file'),
    /** Undefined: those that are trained on. */
    columns: readHeldOutColumns(fields, task, trained),
    ...readLayout(fields),
    dimensions: fields.numbers('dimensions', { from: 1, whole: true }),
    measures: readHeldOutMeasures(fields, task),
    ...readTimes(fields),
  };
}

/** @throws SettingError for what is no measure, and for measures of another task */
function readHeldOutMeasures(fields: Fields, task: HeldOutTaskName | undefined): HeldOutSettings['measures'] {
  const names = fields.strings('measures');
  if (names === undefined) return undefined;
  if (task !== 'retrieval') throw refuse(fields.at('measures'), names, 'none, which are of retrieval,');
  try {
    readMeasures(names);
  } catch (error) {
    throw new SettingError(fields.at('measures'), (error as Error).message.replace(/^measures /, ''));
  }
  return names as RetrievalMeasure[];
}

function readHeldOutColumns(
  fields: Fields,
  task: HeldOutTaskName | undefined,
  trained: readonly string[] | undefined,
): readonly string[] | undefined {
  const named = fields.strings('columns');
  if (task === undefined) return named;
  const columns = named ?? (task === 'retrieval' ? trained?.slice(0, 2) : USUAL_COLUMNS[task]);
  if (columns === undefined) return undefined;
  const needed = task === 'retrieval' ? 2 : 3;
  if (columns.length === needed) return columns;
  throw refuse(fields.at('columns'), columns, `${plural(needed, 'column')} for ${task}`);
}

/** Held-out data of a cross-encoder: candidates to rank, or rows to measure the loss of. */
export function readPairEvaluation(fields: Fields): HeldOutSettings {
  const loss = fields.boolean('loss');
  const data = fields.string('data') ?? fields.missing('data', 'give the path of a file');
  const times = readTimes(fields);
  if (loss === true)
    return {
      task: undefined,
      loss,
      data,
      /** Undefined: those that are trained on. */
      columns: fields.strings('columns'),
      ...readLayout(fields),
      dimensions: undefined,
      measures: undefined,
      ...times,
    };
  const task = fields.oneOf('task', ['reranking']) ?? 'reranking';
  const unread = {
    columns: undefined,
    format: undefined,
    header: undefined,
    quoting: undefined,
    delimiter: undefined,
  };
  return { task, loss, data, ...unread, dimensions: undefined, measures: undefined, ...times };
}
