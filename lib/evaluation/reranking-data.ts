import { openRecords, type RecordOptions } from '../data/open-records.js';
import { badLine, type ReadRecord } from '../data/row.js';
import { GradCacheError } from '../errors.js';
import { throwIfAborted } from '../options/abort.js';
import { checkKnown } from '../options/known-options.js';
import { requireSignal, requireString, show } from '../options/option-values.js';
import type { RerankingQuery, RerankingTask } from './reranking.js';

/**
 * A reranking task from a file of JSON lines with a query a line: `query`, `positive` (a text or a list of texts), and
 * `negative` or `documents` (a list of texts), as the samples of sentence-transformers' CrossEncoderRerankingEvaluator.
 *
 * @throws GradCacheError `INPUT` naming file and line, `ABORTED`
 * @example
 * ```ts
 * const task = await readReranking('candidates.jsonl'); // {"query": "…", "positive": ["…"], "negative": ["…"]} a line
 * await evaluateReranking(reranker, task, { at: 10 });
 * ```
 */
export async function readReranking(
  path: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<RerankingTask> {
  requireString('path', path);
  checkKnown('readReranking', options, ['signal']);
  const { signal } = options;
  requireSignal('signal', signal);
  const queries: RerankingQuery[] = [];
  const how: RecordOptions = { format: 'jsonl', ...(signal && { signal }) };
  for await (const block of openRecords(path, how)) {
    throwIfAborted(signal);
    for (const record of block) {
      const query = queryIn(record);
      if (typeof query === 'string') throw badLine({ file: path, line: record.line, reason: query });
      queries.push(query);
    }
  }
  if (queries.length > 0) return { queries };
  throw new GradCacheError('INPUT', `${path}: no query was read, there is nothing in it.`);
}

/** The query of a record, or what is wrong with it. */
function queryIn(record: ReadRecord): RerankingQuery | string {
  if ('problem' in record) return record.problem;
  const { query, positive, negative, documents } = record.values as Readonly<Record<string, unknown>>;
  if (typeof query !== 'string') return `"query" is ${show(query)}, not a text`;
  const found = typeof positive === 'string' ? [positive] : positive;
  if (!areTexts(found) || found.length === 0)
    return `"positive" is ${show(positive)}, not a text or a list of texts`;
  if ((negative === undefined) === (documents === undefined))
    return `it has ${negative === undefined ? 'neither' : 'both'} of "negative" and "documents"; one of them is needed`;
  const others = negative ?? documents;
  if (!areTexts(others))
    return `"${negative === undefined ? 'documents' : 'negative'}" is ${show(others)}, not a list of texts`;
  return {
    query,
    positive: found,
    ...(negative === undefined ? { documents: others } : { negative: others }),
  };
}

const areTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((text) => typeof text === 'string');
