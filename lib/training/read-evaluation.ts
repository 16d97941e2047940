/*
 * The held-out data of a run, as its configuration names it.
 */
import { FORMATS } from '../data/formats.js';
import { delimiterProblem } from '../data/delimiter.js';
import { QUOTINGS } from '../data/quoting.js';
import { readMeasures, type RetrievalMeasure } from '../evaluation/retrieval-measures.js';
import { refuse, SettingError, type Fields } from '../options/fields.js';
import { plural } from '../options/plural.js';
import { SIMILARITIES, TOKEN_SIMILARITIES } from '../options/similarity.js';
import { FILES_OF_SET, type HeldOutSet, type HeldOutSettings } from './held-out-sets.js';
import { OBJECT } from './objects.js';

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

/** What a text encoder, and what a cross-encoder can be measured for. */
const TASKS = {
  texts: ['retrieval', 'sts', 'triplets', 'binary', 'clustering', 'translation', 'reranking'],
  pairs: ['reranking', 'sts', 'binary'],
} as const;
type TaskName = (typeof TASKS)['texts' | 'pairs'][number];

const USUAL_COLUMNS = {
  sts: ['sentence1', 'sentence2', 'score'],
  triplets: ['anchor', 'positive', 'negative'],
  binary: ['sentence1', 'sentence2', 'label'],
  clustering: ['text', 'label'],
  translation: ['source', 'target'],
} as const;

const LAYOUT = ['format', 'header', 'quoting', 'delimiter'] as const;

/** What the sets of a run have in common. */
interface Trained {
  /** Whether the model reads pairs of texts: a cross-encoder. */
  readonly pairs: boolean;
  /** The columns of the data that is trained on: those of held-out pairs, unless it has its own. Undefined: the data tells them. */
  readonly columns: readonly string[] | undefined;
  /** Whether the data that is trained on has ids. */
  readonly ids: boolean;
}

/** The held-out data of a run, one set or several. @throws SettingError */
export function readEvaluation(fields: Fields, trained: Trained): HeldOutSettings {
  const sets = readSets(fields, trained);
  const isOwn = fields.raw('data') === OBJECT;
  const hasFile = FILES_OF_SET.some((name) => fields.raw(name) !== undefined);
  const unnamed = isOwn || (sets !== undefined && !hasFile) ? nothingOf(fields) : readSet(fields, trained);
  return { ...unnamed, sets, ...readTimes(fields) };
}

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

function readSets(fields: Fields, trained: Trained): HeldOutSettings['sets'] {
  const all = fields.object('sets');
  if (all === undefined) return undefined;
  const names = all.names();
  if (names.length === 0) throw refuse(all.path, {}, 'an object of sets, by name,');
  const sets = names.map((name) => {
    if (!/^[\p{L}\p{N}_-]+$/u.test(name) || name === '__proto__')
      throw refuse(all.path, name, 'a name of letters, digits, "_" and "-"');
    const set =
      all.section(name, (own) => readSet(own, trained)) ??
      all.missing(name, 'give its data and what it is measured for, as { task, data }');
    return [name, set] as const;
  });
  return Object.fromEntries(sets);
}

/** One set of held-out data. @throws SettingError */
function readSet(fields: Fields, trained: Trained): HeldOutSet {
  const loss = fields.boolean('loss');
  const [files, usual] = [readFiles(fields), trained.pairs ? 'reranking' : 'retrieval'] as const;
  const named: TaskName | undefined = fields.oneOf('task', TASKS[trained.pairs ? 'pairs' : 'texts']);
  const judged = files.judgements !== undefined;
  const task = named ?? (loss === true && !judged ? undefined : usual);
  if (trained.pairs && loss === true && task !== undefined)
    throw refuse(fields.at('task'), task, 'none, as the loss of a cross-encoder is measured alone,');
  if (judged && (task !== 'retrieval' || loss === true)) {
    const wrong = loss === true ? 'loss' : 'task';
    throw refuse(fields.at(wrong), fields.raw(wrong) ?? task, 'none, as judgements are of retrieval,');
  }
  if (judged) refuseBeside(fields, ['columns', ...LAYOUT], 'is for files with columns, not for judgements');
  if (task === 'reranking')
    refuseBeside(
      fields,
      loss === true ? ['columns'] : ['columns', ...LAYOUT], // the loss is of the columns that are trained on
      'is for files with columns; reranking reads JSON lines',
    );
  if (task !== 'reranking')
    refuseBeside(fields, ['at'], 'is for reranking; other tasks have measures such as mrr@5');
  if (task === undefined)
    refuseBeside(
      fields,
      ['dimensions'],
      'is for a task, and the loss is measured alone: name a task, or leave it out',
    );
  if (trained.pairs)
    refuseBeside(
      fields,
      ['dimensions', 'similarity'],
      'is for representations, which a cross-encoder has not',
    );
  return {
    task,
    loss,
    ...files,
    documentColumn: readDocumentColumn(fields, task),
    /** Undefined: those that are trained on. */
    columns: readColumns(fields, judged ? undefined : task, trained.columns),
    ids: readIds(fields, loss === true, trained),
    ...readLayout(fields),
    similarity: readSimilarity(fields, task),
    dimensions: fields.numbers('dimensions', { from: 1, whole: true }),
    measures: readHeldOutMeasures(fields, task),
    ...readWindows(fields, task),
    at: fields.count('at'),
  };
}

/** The files of a set: its data, or queries, corpus and judgements. */
function readFiles(fields: Fields): Pick<HeldOutSet, (typeof FILES_OF_SET)[number]> {
  const [data, documents, queries, corpus, judgements] = FILES_OF_SET.map((name) => fields.string(name));
  const files = { data, documents, queries, corpus, judgements };
  const beside = Object.entries({ queries, corpus, judgements });
  if (beside.every(([, file]) => file === undefined)) {
    if (data === undefined)
      return fields.missing('data', `give the path of a file${documents === undefined ? '' : ' of pairs'}`);
    return files;
  }
  const [missing] = beside.find(([, file]) => file === undefined) ?? [];
  if (missing !== undefined)
    return fields.missing(missing, 'queries, corpus and judgements go together; give the path of a file');
  if (documents !== undefined)
    throw refuse(fields.at('documents'), documents, 'none, as the corpus has all documents,');
  if (data === undefined) return files;
  throw refuse(fields.at('data'), data, 'none, as queries, corpus and judgements take its place,');
}

/** @throws SettingError for further documents of what is no retrieval, and for a column of none */
function readDocumentColumn(fields: Fields, task: TaskName | undefined): string | undefined {
  if (fields.raw('documents') === undefined)
    refuseBeside(
      fields,
      ['documentColumn'],
      'is the column of documents, which are not given: give the path of their file as documents',
    );
  if (task !== 'retrieval')
    refuseBeside(
      fields,
      ['documents'],
      `is for retrieval, not for ${task ?? 'the loss alone'}: leave it out, or name the task`,
    );
  return fields.string('documentColumn');
}

/** The set without a name, where there is none. @throws SettingError for a setting of it, which would do nothing */
function nothingOf(fields: Fields): HeldOutSet {
  const data = fields.raw('data') === undefined ? undefined : OBJECT;
  const others = [
    'task',
    'loss',
    ...FILES_OF_SET.filter((name) => name !== 'data'),
    'documentColumn',
    'columns',
    'ids',
    ...LAYOUT,
    'similarity',
    'dimensions',
    'measures',
    'windows',
    'windowOverlap',
    'at',
  ];
  refuseBeside(
    fields,
    others,
    'is of held-out data, and no file of it is named: give evaluation.data (--eval-data), or say it of a set in evaluation.sets',
  );
  const none = Object.fromEntries(others.map((name) => [name, undefined])) as Omit<HeldOutSet, 'data'>;
  return { ...none, data };
}

function refuseBeside(fields: Fields, names: readonly string[], why: string): void {
  for (const name of names)
    if (fields.raw(name) !== undefined) throw new SettingError(fields.at(name), `${why}.`);
}

/** @throws SettingError for one of another task, and where texts are not compared */
function readSimilarity(fields: Fields, task: TaskName | undefined): HeldOutSet['similarity'] {
  if (task === 'retrieval') return fields.oneOf('similarity', [...SIMILARITIES, ...TOKEN_SIMILARITIES]);
  if (task !== undefined && task !== 'clustering') return fields.oneOf('similarity', SIMILARITIES);
  refuseBeside(fields, ['similarity'], `is for texts that are compared, not for ${task ?? 'the loss'}`);
  return undefined;
}

/** @throws SettingError for windows of the loss, whose texts are cut as those that are trained on, and for an overlap of none */
function readWindows(
  fields: Fields,
  task: TaskName | undefined,
): Pick<HeldOutSet, 'windows' | 'windowOverlap'> {
  if (task === undefined)
    refuseBeside(
      fields,
      ['windows', 'windowOverlap'],
      'is for a task, and the loss is measured alone: leave it out',
    );
  const given = fields.raw('windows');
  if (typeof given === 'object')
    throw refuse(
      fields.at('windows'),
      given,
      'true or false',
      ' The overlap is a setting of its own: windowOverlap.',
    );
  const windows = fields.boolean('windows');
  if (windows !== true)
    refuseBeside(
      fields,
      ['windowOverlap'],
      'is of windows, and there are none: turn windows on, or leave it out',
    );
  return { windows, windowOverlap: fields.number('windowOverlap', { from: 0, whole: true }) };
}

/** @throws SettingError for what is no measure, and for measures of another task */
function readHeldOutMeasures(fields: Fields, task: TaskName | undefined): HeldOutSet['measures'] {
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

/** @throws SettingError for ids that nothing is masked by */
function readIds(fields: Fields, loss: boolean, trained: Trained): HeldOutSet['ids'] {
  if (!loss)
    refuseBeside(fields, ['ids'], 'is for the loss of held-out data, which is not measured: leave it out');
  if (!trained.ids)
    refuseBeside(
      fields,
      ['ids'],
      'is for a run with ids, and this one names none (ids, --ids): leave it out',
    );
  return fields.raw('ids') === false ? false : fields.strings('ids');
}

/** @param task of which the columns are; undefined: any are */
function readColumns(
  fields: Fields,
  task: TaskName | undefined,
  trained: readonly string[] | undefined,
): readonly string[] | undefined {
  const named = fields.strings('columns');
  if (task === undefined || task === 'reranking') return named;
  const usual = task === 'retrieval' ? trained?.slice(0, 2) : USUAL_COLUMNS[task];
  const columns = named ?? usual;
  if (columns === undefined) return undefined;
  const needed = task === 'retrieval' ? 2 : USUAL_COLUMNS[task].length;
  if (columns.length === needed) return columns;
  throw refuse(fields.at('columns'), columns, `${plural(needed, 'column')} for ${task}`);
}
