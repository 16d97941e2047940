import { refused } from '../options/option-values.js';

/** Kinds of measures of retrieval, each taken at some `k`. */
const KINDS = ['accuracy', 'precision', 'recall', 'mrr', 'ndcg', 'map'] as const;

/** A measure of retrieval at the first `k` documents, as `'accuracy@1'` or `'map@100'`. */
export type RetrievalMeasure = `${(typeof KINDS)[number]}@${number}`;

interface Measure {
  readonly name: string;
  readonly kind: (typeof KINDS)[number];
  readonly k: number;
}

/** @throws GradCacheError `INPUT` for what is no list of measures */
export function readMeasures(names: unknown): Measure[] {
  if (!Array.isArray(names)) throw refused('measures', names, `a list such as ["accuracy@1", "map@100"]`);
  return names.map((name: unknown) => {
    const [, kind, k] = /^(\w+)@([1-9]\d{0,8})$/.exec(typeof name === 'string' ? name : '') ?? [];
    const known = KINDS.find((each) => each === kind);
    if (known === undefined)
      throw refused('measures', name, `a kind (${KINDS.join(', ')}) at a number of documents, as "map@100",`);
    return { name: name as string, kind: known, k: Number(k) };
  });
}

/** The most documents that measures look at. */
export function deepestOf(measures: readonly Measure[]): number {
  return measures.reduce((most, { k }) => Math.max(most, k), 1);
}

/** A query as it was ranked. */
export interface RankedQuery {
  /** Documents, best first; -1 after the last. */
  readonly listed: Int32Array;
  /** Its relevant documents with their grades, and the grades of those that were not searched. */
  readonly grades: ReadonlyMap<number, number>;
  readonly missing: readonly number[];
}

/** What a measure is for one query. */
export function measureQuery({ kind, k }: Pick<Measure, 'kind' | 'k'>, query: RankedQuery): number {
  const { grades, missing } = query;
  const first = query.listed.subarray(0, k);
  const all = grades.size + missing.length;
  const isHit = (document: number): boolean => grades.has(document);
  switch (kind) {
    case 'accuracy':
      return first.some(isHit) ? 1 : 0;
    case 'precision':
      return hitsIn(first, grades) / k;
    case 'recall':
      return hitsIn(first, grades) / all;
    case 'mrr': {
      const place = first.findIndex(isHit);
      return place < 0 ? 0 : 1 / (place + 1);
    }
    case 'ndcg': {
      const best = [...grades.values(), ...missing].sort((a, b) => b - a).slice(0, k);
      return gain(Array.from(first, (document) => grades.get(document) ?? 0)) / gain(best);
    }
    case 'map': {
      let [hits, sum] = [0, 0];
      for (const [place, document] of first.entries()) if (isHit(document)) sum += ++hits / (place + 1);
      return sum / Math.min(k, all);
    }
  }
}

function hitsIn(listed: Int32Array, grades: ReadonlyMap<number, number>): number {
  return listed.reduce((count, document) => count + (grades.has(document) ? 1 : 0), 0);
}

/** Discounted cumulative gain of grades in ranked order. */
function gain(grades: readonly number[]): number {
  return grades.reduce((sum, grade, place) => sum + grade / Math.log2(place + 2), 0);
}
