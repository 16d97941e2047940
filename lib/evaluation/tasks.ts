import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireString, requireTextIterable, show } from '../options/option-values.js';
import type { Row } from '../data/row.js';
import { DATA_SETTINGS, otherRow, type SettingNames } from '../data/setting-names.js';
import { DistinctTexts } from './distinct-texts.js';
import { readColumns, type TaskOptions } from './records.js';
import type { ClusteringTask } from './clustering.js';
import type { RetrievalTask } from './retrieval-task.js';
import type { BinaryTask } from './binary.js';
import type { StsTask } from './sts.js';
import type { TranslationTask } from './translation.js';
import type { TripletTask } from './triplets.js';

export type { TaskOptions } from './records.js';

const TASK_OPTIONS = ['columns', 'format', 'header', 'quoting', 'delimiter', 'signal'];

type RetrievalPairsOptions = TaskOptions & { documents?: Iterable<string> | AsyncIterable<string> };

/**
 * A retrieval task from a file of pairs: every different text of the first column is a query, every different text of
 * the second a document, and a query's relevant documents are those it is paired with.
 *
 * @param options `columns`: the two columns, `['anchor', 'positive']` unless given; `documents`: further documents that are
 * relevant to no query
 * @throws GradCacheError `INPUT` for wrong options and files that cannot be read
 * @example
 * ```ts
 * const task = await readRetrievalPairs('faq.jsonl', { columns: ['question', 'answer'] });
 * console.log(task.queries.length, task.documents.length);
 * ```
 */
export async function readRetrievalPairs(
  path: string,
  options: RetrievalPairsOptions = {},
): Promise<RetrievalTask> {
  return retrievalPairs(path, options, DATA_SETTINGS);
}

/** {@link readRetrievalPairs} of a file whose settings are called otherwise. */
export async function retrievalPairs(
  path: string,
  options: RetrievalPairsOptions,
  names: SettingNames,
): Promise<RetrievalTask> {
  requireString('path', path);
  checkKnown('readRetrievalPairs', options, [...TASK_OPTIONS, 'documents']);
  const { columns = ['anchor', 'positive'], documents: further = [], ...how } = options;
  const [queryColumn, documentColumn] = rolesOf(columns, 'a list of 2 columns, query and document,', 2);
  requireTextIterable('documents', further);
  const queries = new DistinctTexts();
  const documents = new DistinctTexts();
  const relevant: Map<number, number>[] = [];
  for await (const row of readColumns(path, [queryColumn!, documentColumn!], { ...how, names })) {
    const query = queries.of(row[queryColumn!]!);
    (relevant[query] ??= new Map()).set(documents.of(row[documentColumn!]!), 1);
  }
  for await (const text of further) {
    if (typeof text !== 'string') throw refused('documents', text, 'a text for each document');
    documents.of(text);
  }
  return { queries: queries.list, documents: documents.list, relevant };
}

/**
 * Pairs of sentences with the scores that people gave. Rows without a score are left out and counted in `unscored`.
 *
 * @param options `columns`: two sentences and the score, `['sentence1', 'sentence2', 'score']` unless given. In a file
 * without a header whose fields come in another order, `header` names them: `['score', 'sentence1', 'sentence2']`.
 * @throws GradCacheError `INPUT` for wrong options, files that cannot be read, and a score that is not a number
 * @example
 * ```ts
 * const task = await readSts('sts.csv', { columns: ['sentence1', 'sentence2', 'score'] });
 * ```
 */
export async function readSts(path: string, options: TaskOptions = {}): Promise<StsTask> {
  return sentencePairs(path, options, DATA_SETTINGS);
}

/** {@link readSts} of a file whose settings are called otherwise. */
export async function sentencePairs(
  path: string,
  options: TaskOptions,
  names: SettingNames,
): Promise<StsTask> {
  requireString('path', path);
  checkKnown('readSts', options, TASK_OPTIONS);
  const { columns = ['sentence1', 'sentence2', 'score'], ...how } = options;
  const [first, second, score] = rolesOf(columns, 'a list of 3 columns, two sentences and a score,', 3);
  const task = { first: [] as string[], second: [] as string[], scores: [] as number[] };
  let unscored = 0;
  let begin: number | undefined;
  const check = ({ [score!]: text }: Row, line: number) => {
    begin ??= line;
    if (text === undefined || Number.isFinite(Number(text))) return undefined;
    return `it has the score ${show(text)} in the column ${show(score)}, not a number`;
  };
  const all = { ...how, optional: [score!], check, names };
  for await (const row of readColumns(path, [first!, second!], all)) {
    const text = row[score!];
    if (text === undefined) {
      unscored++;
      continue;
    }
    task.first.push(row[first!]!);
    task.second.push(row[second!]!);
    task.scores.push(Number(text));
  }
  if (task.scores.length === 0)
    throw new GradCacheError(
      'INPUT',
      `${path}, from line ${begin}: none of its ${unscored} rows has a score in the column ${show(score)}. ${otherRow(names)}`,
    );
  return unscored === 0 ? task : { ...task, unscored };
}

/**
 * Texts with the class of each, for `evaluateClustering`.
 *
 * @param options `columns`: text and label, `['text', 'label']` unless given
 * @throws GradCacheError `INPUT` for wrong options and files that cannot be read
 * @example
 * ```ts
 * const { texts, labels } = await readClustering('labelled.csv', { columns: ['text', 'label'] });
 * ```
 */
export async function readClustering(path: string, options: TaskOptions = {}): Promise<ClusteringTask> {
  return labelledTexts(path, options, DATA_SETTINGS);
}

/** {@link readClustering} of a file whose settings are called otherwise. */
export async function labelledTexts(
  path: string,
  options: TaskOptions,
  names: SettingNames,
): Promise<ClusteringTask> {
  requireString('path', path);
  checkKnown('readClustering', options, TASK_OPTIONS);
  const { columns = ['text', 'label'], ...how } = options;
  const [text, label] = rolesOf(columns, 'a list of 2 columns, text and label,', 2);
  const task = { texts: [] as string[], labels: [] as string[] };
  for await (const row of readColumns(path, [text!, label!], { ...how, names })) {
    task.texts.push(row[text!]!);
    task.labels.push(row[label!]!);
  }
  return task;
}

/**
 * Texts with their translations, for `evaluateTranslation`.
 *
 * @param options `columns`: text and translation, `['source', 'target']` unless given
 * @throws GradCacheError `INPUT` for wrong options and files that cannot be read
 * @example
 * ```ts
 * const task = await readTranslation('translations.csv', { columns: ['english', 'german'] });
 * ```
 */
export async function readTranslation(path: string, options: TaskOptions = {}): Promise<TranslationTask> {
  return translations(path, options, DATA_SETTINGS);
}

/** {@link readTranslation} of a file whose settings are called otherwise. */
export async function translations(
  path: string,
  options: TaskOptions,
  names: SettingNames,
): Promise<TranslationTask> {
  requireString('path', path);
  checkKnown('readTranslation', options, TASK_OPTIONS);
  const { columns = ['source', 'target'], ...how } = options;
  const [source, target] = rolesOf(columns, 'a list of 2 columns, text and translation,', 2);
  const task = { source: [] as string[], target: [] as string[] };
  for await (const row of readColumns(path, [source!, target!], { ...how, names })) {
    task.source.push(row[source!]!);
    task.target.push(row[target!]!);
  }
  return task;
}

/**
 * Triplets of texts, for `evaluateTriplets`.
 *
 * @param options `columns`: `['anchor', 'positive', 'negative']` unless given
 * @throws GradCacheError `INPUT` for wrong options and files that cannot be read
 * @example
 * ```ts
 * const task = await readTriplets('triplets.jsonl', { columns: ['anchor', 'positive', 'negative'] });
 * ```
 */
export async function readTriplets(path: string, options: TaskOptions = {}): Promise<TripletTask> {
  return triplets(path, options, DATA_SETTINGS);
}

/** {@link readTriplets} of a file whose settings are called otherwise. */
export async function triplets(
  path: string,
  options: TaskOptions,
  names: SettingNames,
): Promise<TripletTask> {
  requireString('path', path);
  checkKnown('readTriplets', options, TASK_OPTIONS);
  const { columns = ['anchor', 'positive', 'negative'], ...how } = options;
  const roles = rolesOf(columns, 'a list of 3 columns, anchor, positive and negative,', 3);
  const task = { anchors: [] as string[], positives: [] as string[], negatives: [] as string[] };
  for await (const row of readColumns(path, roles, { ...how, names })) {
    task.anchors.push(row[roles[0]!]!);
    task.positives.push(row[roles[1]!]!);
    task.negatives.push(row[roles[2]!]!);
  }
  return task;
}

/**
 * Pairs of texts that belong together (1) or do not (0), for `evaluateBinary`.
 *
 * @param options `columns`: `['sentence1', 'sentence2', 'label']` unless given
 * @throws GradCacheError `INPUT` for wrong options, files that cannot be read, and a label that is neither 0 nor 1
 * @example
 * ```ts
 * const task = await readBinary('labelled.csv', { columns: ['question1', 'question2', 'is_duplicate'] });
 * ```
 */
export async function readBinary(path: string, options: TaskOptions = {}): Promise<BinaryTask> {
  return binaryPairs(path, options, DATA_SETTINGS);
}

/** {@link readBinary} of a file whose settings are called otherwise. */
export async function binaryPairs(
  path: string,
  options: TaskOptions,
  names: SettingNames,
): Promise<BinaryTask> {
  requireString('path', path);
  checkKnown('readBinary', options, TASK_OPTIONS);
  const { columns = ['sentence1', 'sentence2', 'label'], ...how } = options;
  const [first, second, label] = rolesOf(columns, 'a list of 3 columns, two texts and a label,', 3);
  const task = { first: [] as string[], second: [] as string[], labels: [] as number[] };
  const check = (row: Row) => {
    const text = row[label!];
    return text !== undefined && /^[01](\.0*)?$/.test(text)
      ? undefined
      : `it has the label ${show(text)} in the column ${show(label)}, not 0 or 1`;
  };
  for await (const row of readColumns(path, [first!, second!, label!], { ...how, check, names })) {
    task.first.push(row[first!]!);
    task.second.push(row[second!]!);
    task.labels.push(Number(row[label!]));
  }
  return task;
}

/** The names of columns, each of which has a role by its place. */
function rolesOf(columns: unknown, needed: string, count: number): readonly string[] {
  const good =
    Array.isArray(columns) &&
    columns.length === count &&
    new Set(columns).size === count &&
    columns.every((column) => typeof column === 'string' && column !== '' && column !== '__proto__');
  if (good) return columns as string[];
  throw refused('columns', columns, needed);
}
