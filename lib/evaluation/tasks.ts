import { GradCacheError } from '../errors.js';
import { DistinctTexts } from './distinct-texts.js';
import { readColumns } from './records.js';
import type { TaskOptions } from './records.js';
import type { RetrievalTask } from './retrieval.js';
import type { StsTask } from './sts.js';

export type { TaskOptions } from './records.js';

/**
 * A retrieval task from a file of pairs: every different text of the first column is a query, every different text of
 * the second a document, and a query's relevant documents are those it is paired with.
 *
 * @param options `columns`: the two columns, `['anchor', 'positive']` unless given; `documents`: further documents that are
 * relevant to no query
 * @throws GradCacheError `INPUT` for files that cannot be read
 */
export async function readRetrievalPairs(
  path: string,
  options: TaskOptions & { documents?: Iterable<string> | AsyncIterable<string> } = {},
): Promise<RetrievalTask> {
  const { columns = ['anchor', 'positive'], documents: further = [], ...how } = options;
  const [queryColumn, documentColumn] = twoColumns(columns);
  const queries = new DistinctTexts();
  const documents = new DistinctTexts();
  const relevant: Map<number, number>[] = [];
  for await (const row of readColumns(path, [queryColumn, documentColumn], how)) {
    const query = queries.of(row[queryColumn] as string);
    (relevant[query] ??= new Map()).set(documents.of(row[documentColumn] as string), 1);
  }
  for await (const text of further) documents.of(text);
  return { queries: queries.list, documents: documents.list, relevant };
}

/**
 * A retrieval task in the layout of BEIR: queries and corpus as JSON lines with `_id` and `text` (the corpus may have a
 * `title`, which is put before the text), judgements as a TSV file with `query-id`, `corpus-id` and `score`. Queries
 * without a document judged above 0 are left out.
 *
 * @throws GradCacheError `INPUT` for files that cannot be read, for judgements of unknown queries or
 * documents, and for an _id that two documents have
 */
export async function readRetrievalFolder(paths: {
  readonly queries: string;
  readonly corpus: string;
  readonly judgements: string;
}): Promise<RetrievalTask> {
  const documents: string[] = [];
  const documentOf = new Map<string, number>();
  for await (const { id, text } of readTexts(paths.corpus)) {
    if (documentOf.has(id))
      throw new GradCacheError('INPUT', `${paths.corpus} has two documents with the _id ${id}.`);
    documentOf.set(id, documents.length);
    documents.push(text);
  }
  const grades = new Map<string, Map<number, number>>();
  const columns = ['query-id', 'corpus-id', 'score'];
  for await (const row of readColumns(paths.judgements, columns, { format: 'tsv' })) {
    const [query, id, score] = columns.map((column) => row[column] as string) as [string, string, string];
    if (!Number.isFinite(Number(score)))
      throw new GradCacheError(
        'INPUT',
        `${paths.judgements} judges document ${id} with the score ${score}, not a number.`,
      );
    const document = documentOf.get(id);
    if (document === undefined)
      throw new GradCacheError(
        'INPUT',
        `${paths.judgements} judges document ${id}, which ${paths.corpus} lacks.`,
      );
    if (Number(score) > 0)
      grades.set(query, (grades.get(query) ?? new Map<number, number>()).set(document, Number(score)));
  }
  const queries: string[] = [];
  const relevant: Map<number, number>[] = [];
  for await (const { id, text } of readTexts(paths.queries)) {
    const judged = grades.get(id);
    if (judged === undefined) continue;
    grades.delete(id);
    queries.push(text);
    relevant.push(judged);
  }
  const [unknown] = grades.keys();
  if (unknown !== undefined)
    throw new GradCacheError(
      'INPUT',
      `${paths.judgements} judges query ${unknown}, which ${paths.queries} lacks.`,
    );
  return { queries, documents, relevant };
}

/**
 * Pairs of sentences with the scores that people gave.
 *
 * @param options `columns`: two sentences and the score, `['sentence1', 'sentence2', 'score']` unless given
 * @throws GradCacheError `INPUT` for files that cannot be read, and for a score that is not a number
 */
export async function readSts(path: string, options: TaskOptions = {}): Promise<StsTask> {
  const { columns = ['sentence1', 'sentence2', 'score'], ...how } = options;
  const [first, second, score] = columns;
  if (first === undefined || second === undefined || score === undefined || columns.length > 3) {
    throw new GradCacheError(
      'INPUT',
      `STS needs 3 columns, two sentences and a score; got ${columns.join(', ')}.`,
    );
  }
  const task = { first: [] as string[], second: [] as string[], scores: [] as number[] };
  for await (const row of readColumns(path, columns, how)) {
    const value = Number(row[score]);
    if (!Number.isFinite(value)) {
      throw new GradCacheError(
        'INPUT',
        `Row ${task.scores.length + 1} of ${path} has the score ${row[score]}, not a number.`,
      );
    }
    task.first.push(row[first] as string);
    task.second.push(row[second] as string);
    task.scores.push(value);
  }
  return task;
}

/** `_id` with title and text, which are joined as BEIR joins them. */
async function* readTexts(path: string): AsyncGenerator<{ id: string; text: string }, void, undefined> {
  for await (const row of readColumns(path, ['_id'], { optional: ['text', 'title'] })) {
    const text = [row.title, row.text].filter((part) => part !== undefined).join(' ');
    if (text === '') throw new GradCacheError('INPUT', `${path}: ${row._id} has neither a text nor a title.`);
    yield { id: row._id as string, text };
  }
}

function twoColumns(columns: readonly string[]): [string, string] {
  const [first, second] = columns;
  if (first !== undefined && second !== undefined && columns.length === 2) return [first, second];
  throw new GradCacheError(
    'INPUT',
    `Retrieval needs 2 columns, query and document; got ${columns.join(', ')}.`,
  );
}
