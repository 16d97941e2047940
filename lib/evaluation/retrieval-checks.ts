import { GradCacheError } from '../errors.js';
import { refused, requireCount, requireTexts, show } from '../options/option-values.js';
import type { RetrievalTask } from './retrieval-task.js';
import type { Ranking } from './exact-search.js';
import { plural } from '../options/plural.js';

/** @throws GradCacheError `INPUT` for an object without `encode` */
export function requireEncoder(encoder: unknown): void {
  const { encode, perToken, encodeTokens } = (encoder ?? {}) as Record<string, unknown>;
  if (typeof encode !== 'function' && !(perToken === true && typeof encodeTokens === 'function'))
    throw refused('encoder', encoder, 'an object with the method encode(texts), as TextEncoder has it,');
}

/** @throws GradCacheError `INPUT` unless it is a list of whole numbers from 1 */
export function requireRecallAt(recallAt: unknown): asserts recallAt is readonly number[] {
  if (!Array.isArray(recallAt) || recallAt.length === 0)
    throw refused('recallAt', recallAt, 'a list of at least one whole number');
  for (const k of recallAt) requireCount('recallAt', k, 1);
}

/** @throws GradCacheError `INPUT` or `SHAPE` for a task that cannot be scored */
export function checkTask(task: RetrievalTask): void {
  const { queries, documents, relevant, missing, excluded } = task ?? {};
  requireTexts('queries', queries);
  requireTexts('documents', documents);
  if (queries.length === 0 || documents.length === 0) {
    throw new GradCacheError(
      'INPUT',
      `There are ${queries.length} queries and ${documents.length} documents; at least one of each is needed.`,
    );
  }
  if (!Array.isArray(relevant)) throw refused('relevant', relevant, 'a list of maps, one for each query,');
  if (relevant.length !== queries.length) {
    throw new GradCacheError(
      'SHAPE',
      `There ${queries.length === 1 ? 'is' : 'are'} ${plural(queries.length, 'query', 'queries')}, but relevant documents for ${relevant.length}.`,
    );
  }
  checkRelevant(relevant, missing, documents.length);
  if (excluded !== undefined) checkExcluded(excluded, queries.length, documents.length);
}

/** @throws GradCacheError `INPUT` or `SHAPE` for a ranking that is none, is one of other queries, or is too short */
export function checkRanking(
  ranking: Ranking,
  relevant: RetrievalTask['relevant'],
  missing: RetrievalTask['missing'],
  documents: number,
  deepest: number,
): void {
  const { k, documents: listed } = ranking ?? {};
  requireCount('ranking.k', k, 1);
  if (!ArrayBuffer.isView(listed)) throw refused('ranking.documents', listed, 'an Int32Array');
  if (!Array.isArray(relevant) || relevant.length === 0)
    throw refused('relevant', relevant, 'a list of at least one map, one for each query,');
  if (listed.length !== k * relevant.length)
    throw new GradCacheError(
      'SHAPE',
      `The ranking lists ${listed.length} documents; ${relevant.length} queries with ${k} each make ${k * relevant.length}.`,
    );
  const needed = Math.min(documents, deepest);
  if (k < needed)
    throw new GradCacheError(
      'INPUT',
      `The ranking lists ${plural(k, 'document')} for a query; the scores look at ${needed} (MRR and nDCG at 10, recallAt, measures).`,
    );
  checkRelevant(relevant, missing, documents);
}

function checkRelevant(
  relevant: readonly unknown[],
  missing: RetrievalTask['missing'],
  documents: number,
): void {
  if (missing !== undefined) checkMissing(missing, relevant.length);
  relevant.forEach((grades, query) => {
    checkGrades(grades, query, documents);
    if (grades.size === 0 && (missing?.[query]?.length ?? 0) === 0)
      throw new GradCacheError('INPUT', `Query ${query} has no relevant document; leave it out.`);
  });
}

function checkGrades(
  grades: unknown,
  query: number,
  documents: number,
): asserts grades is ReadonlyMap<unknown, unknown> {
  if (!isMap(grades))
    throw refused(`relevant[${query}]`, grades, 'a Map of positions of documents and their grades');
  for (const [document, grade] of grades) {
    if (!isPosition(document, documents)) {
      throw new GradCacheError(
        'INPUT',
        `Query ${query} names document ${show(document)}; there are ${documents}.`,
      );
    }
    if (!isGrade(grade)) {
      throw new GradCacheError(
        'INPUT',
        `Query ${query} gives document ${show(document)} the grade ${show(grade)}; it must be above 0.`,
      );
    }
  }
}

function checkMissing(missing: unknown, queries: number): void {
  const good =
    Array.isArray(missing) &&
    missing.length === queries &&
    missing.every((grades) => Array.isArray(grades) && grades.every(isGrade));
  if (!good) throw refused('missing', missing, `a list of ${queries} lists of grades above 0`);
}

function checkExcluded(excluded: unknown, queries: number, documents: number): void {
  if (!isMap(excluded)) throw refused('excluded', excluded, 'a Map of queries and documents');
  for (const [query, document] of excluded) {
    if (!isPosition(query, queries) || !isPosition(document, documents))
      throw refused(
        'excluded',
        [query, document],
        `a query below ${queries} with a document below ${documents}`,
      );
  }
}

/** Whether a value is a Map, of this realm or of another. */
function isMap(value: unknown): value is ReadonlyMap<unknown, unknown> {
  return Object.prototype.toString.call(value) === '[object Map]';
}

function isPosition(value: unknown, count: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < count;
}

function isGrade(value: unknown): boolean {
  return typeof value === 'number' && value > 0 && value < Infinity;
}
