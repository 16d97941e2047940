import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireString } from '../options/option-values.js';
import { formatTold } from '../data/formats.js';
import { readJudgements } from './judgements.js';
import { readColumns } from './records.js';
import type { RetrievalTask } from './retrieval-task.js';

/** A task in the layout of BEIR, and counts of what is irregular in its files. */
export interface BeirTask extends RetrievalTask {
  /** What is irregular in the files. */
  readonly counts: {
    /** Documents without a title or a text. They are encoded as the empty text. */
    readonly emptyDocuments: number;
    /** Queries in the task without a text. They are encoded as the empty text. */
    readonly emptyQueries: number;
    /** Relevant documents of the queries that the corpus lacks: never found, they count in recall and nDCG. */
    readonly missingDocuments: number;
    /** Queries that no document is judged above 0 for. They are left out. */
    readonly unjudgedQueries: number;
    /** Queries that are judged but not among the queries. They are left out. */
    readonly unknownQueries: number;
  };
}

/**
 * A retrieval task in the layout of BEIR: queries and corpus as JSON lines with `_id` and `text` (the corpus may have a
 * `title`, which is put before the text), judgements as a TSV file with `query-id`, `corpus-id` and `score`. Judgements with
 * another header or none are read by position: query, document and score, or the four fields of TREC's qrels.
 *
 * It is scored as BEIR scores it: a document with the query's own `_id` is left out of its ranking, whatever is judged of it,
 * and a relevant document that the corpus lacks counts as not found. Queries without a document judged above 0 are left out.
 *
 * @throws GradCacheError `INPUT` for files that cannot be read, for an `_id` that two documents or two queries have, and where
 * no query is left
 * @example
 * ```ts
 * const task = await readRetrievalFolder({
 *   queries: 'scifact/queries.jsonl',
 *   corpus: 'scifact/corpus.jsonl',
 *   judgements: 'scifact/qrels/test.tsv',
 * });
 * const { ndcg10 } = await evaluateRetrieval(model, task);
 * ```
 */
export async function readRetrievalFolder(paths: {
  readonly queries: string;
  readonly corpus: string;
  readonly judgements: string;
}): Promise<BeirTask> {
  checkKnown('readRetrievalFolder', paths, ['queries', 'corpus', 'judgements']);
  for (const name of ['queries', 'corpus', 'judgements'] as const) requireString(name, paths[name]);

  const documents: string[] = [];
  const documentOf = new Map<string, number>();
  let emptyDocuments = 0;
  for await (const { id, text } of readTexts(paths.corpus, 'documents', documentOf)) {
    if (text === '') emptyDocuments++;
    documentOf.set(id, documents.length);
    documents.push(text);
  }

  const judged = await readJudgements(paths.judgements);
  const task = { queries: [] as string[], relevant: [] as Map<number, number>[], missing: [] as number[][] };
  const excluded = new Map<number, number>();
  const seen = new Map<string, number>();
  let [emptyQueries, missingDocuments, unjudgedQueries] = [0, 0, 0];
  for await (const { id, text } of readTexts(paths.queries, 'queries', seen)) {
    seen.set(id, seen.size);
    const grades = [...(judged.get(id) ?? [])].filter(([, grade]) => grade > 0);
    if (grades.length === 0) {
      unjudgedQueries++;
      continue;
    }
    const found = grades.filter(([document]) => documentOf.has(document));
    const missing = grades.filter(([document]) => !documentOf.has(document));
    missingDocuments += missing.length;
    if (text === '') emptyQueries++;
    const own = documentOf.get(id);
    if (own !== undefined) excluded.set(task.queries.length, own);
    task.queries.push(text);
    task.relevant.push(new Map(found.map(([document, grade]) => [documentOf.get(document)!, grade])));
    task.missing.push(missing.map(([, grade]) => grade));
  }
  if (task.queries.length === 0) {
    throw new GradCacheError(
      'INPUT',
      `${paths.judgements} judges no document above 0 for any query of ${paths.queries}; do the files belong together?`,
    );
  }
  const unknownQueries = [...judged.keys()].filter((id) => !seen.has(id)).length;
  const counts = { emptyDocuments, emptyQueries, missingDocuments, unjudgedQueries, unknownQueries };
  return { ...task, documents, excluded, counts };
}

/**
 * `_id` with title and text, which are joined as BEIR joins them.
 *
 * @param before the ids that there were
 */
async function* readTexts(
  path: string,
  what: 'queries' | 'documents',
  before: ReadonlyMap<string, number>,
): AsyncGenerator<{ id: string; text: string }, void, undefined> {
  const name = what === 'documents' ? 'corpus' : what;
  const wayOut = `Give a file with _id and text as the ${what} (${name}, --${name}).`;
  const how = {
    format: formatTold(path) ?? 'jsonl',
    optional: ['text', 'title'],
    emptyTexts: true,
    wayOut,
  } as const;
  for await (const { _id: id = '', text, title } of readColumns(path, ['_id'], how)) {
    if (id.trim() === '') throw new GradCacheError('INPUT', `${path}: there is an empty _id.`);
    if (before.has(id)) throw new GradCacheError('INPUT', `${path} has two ${what} with the _id ${id}.`);
    if (text === undefined && title === undefined)
      throw new GradCacheError('INPUT', `${path}: ${id} has neither a "text" nor a "title". ${wayOut}`);
    yield { id, text: `${title ?? ''} ${text ?? ''}`.trim() };
  }
}
