/*
 * Which held-out texts a model finds hardest, for people to read: few of them, and long texts cut.
 */
import { averageRanks } from './correlation.js';
import type { RetrievalTask } from './retrieval-task.js';
import type { Ranking } from './exact-search.js';
import type { StsTask } from './sts.js';

/** A query, the answer that is right, and what was found instead. Long texts are cut. */
export interface HardQuery {
  /** The query. */
  readonly query: string;
  /** The best of the right answers. Its rank counts from 1; both are null where it was not among those listed. */
  readonly right: {
    /** The answer. */
    readonly text: string;
    /** Its rank from 1, or null. */
    readonly rank: number | null;
    /** Its score, or null. */
    readonly score: number | null;
  };
  /** The best of the wrong answers, best first. */
  readonly wrong: readonly {
    /** The answer. */
    readonly text: string;
    /** Its score. */
    readonly score: number;
  }[];
}

/** Two sentences whose similarity differs from what people say. Long texts are cut. */
export interface HardPair {
  /** The first sentence. */
  readonly first: string;
  /** The second sentence. */
  readonly second: string;
  /** What people say. */
  readonly score: number;
  /** The share of all pairs that people put below this one. */
  readonly place: number;
  /** What the model says. */
  readonly similarity: number;
  /** The share of all pairs that the model puts below this one. */
  readonly placed: number;
}

/** Queries, hardest first: those whose right answer lies farthest behind a wrong one. */
export interface HardestQueries {
  /** Queries, not pairs. */
  readonly kind: 'queries';
  /** Queries that were measured. */
  readonly measured: number;
  /** Those of which a wrong answer came first. */
  readonly missed: number;
  /** The queries. */
  readonly hardest: readonly HardQuery[];
}

/** Pairs, hardest first. */
export interface HardestPairs {
  /** Pairs, not queries. */
  readonly kind: 'pairs';
  /** Pairs that were measured. */
  readonly measured: number;
  /** The pairs. */
  readonly hardest: readonly HardPair[];
}

/** What a model found hardest of held-out data. */
export type Hardest = (HardestQueries | HardestPairs) & {
  /** The name of the set that it is of, where it has one. */
  readonly set?: string;
};

const SHOWN = 20;
const WRONG_SHOWN = 3;
/** UTF-16 units. */
const TEXT_SHOWN = 400;

/** A query as it was ranked: all candidates, best first. */
interface Ranked {
  readonly query: string;
  /** Positions of candidates. */
  readonly listed: ArrayLike<number>;
  readonly scores: ArrayLike<number>;
  readonly isRight: (candidate: number) => boolean;
  readonly textOf: (candidate: number) => string;
  /** The answer to show where no right one is listed. */
  readonly expected: string;
}

/** A query whose candidates a model has scored. */
export interface RankedCandidates {
  readonly query: string;
  readonly texts: readonly string[];
  /** For each candidate whether it answers the query. */
  readonly relevant: readonly boolean[];
  /** Null where no candidate does: then they were not scored. */
  readonly scores: ArrayLike<number> | null;
}

/** The hardest queries of a retrieval. Queries whose right answers were not among the documents are left out. */
export function hardestQueries(
  { queries, documents, relevant }: RetrievalTask,
  ranking: Ranking,
): HardestQueries {
  const { k } = ranking;
  return hardestOf(queries.length, (number) => {
    const grades = relevant[number]!;
    const [first] = grades.keys();
    if (first === undefined) return undefined;
    const [begin, end] = [number * k, (number + 1) * k];
    return {
      query: queries[number]!,
      listed: ranking.documents.subarray(begin, end),
      scores: ranking.scores.subarray(begin, end),
      isRight: (document) => grades.has(document),
      textOf: (document) => documents[document]!,
      expected: documents[first]!,
    };
  });
}

/** The hardest queries of a reranking. */
export function hardestReranked(queries: readonly RankedCandidates[]): HardestQueries {
  return hardestOf(queries.length, (number) => {
    const { query, texts, relevant, scores } = queries[number]!;
    if (scores === null) return undefined;
    // Of equal scores the later is ranked first, as in the measures.
    const order = Array.from(texts.keys()).sort((a, b) => scores[b]! - scores[a]! || b - a);
    return {
      query,
      listed: order,
      scores: order.map((candidate) => scores[candidate]!),
      isRight: (candidate) => relevant[candidate]!,
      textOf: (candidate) => texts[candidate]!,
      expected: texts[relevant.indexOf(true)]!,
    };
  });
}

/** The hardest of some queries. @param of a query by its number; undefined: it is left out */
function hardestOf(count: number, of: (number: number) => Ranked | undefined): HardestQueries {
  const found: { readonly number: number; readonly behind: number; readonly wrongScore: number }[] = [];
  let missed = 0;
  let measured = 0;
  for (let number = 0; number < count; number++) {
    const ranked = of(number);
    if (ranked === undefined) continue;
    measured++;
    const { right, wrong } = firsts(ranked);
    if (wrong === undefined) continue; // there is nothing that it could be taken for
    if (right === undefined || wrong < right) missed++;
    const wrongScore = ranked.scores[wrong]!;
    const behind = right === undefined ? Infinity : wrongScore - ranked.scores[right]!;
    found.push({ number, behind, wrongScore });
  }
  // Where no right answer is listed, the one is hardest whose wrong answer the model is surest of.
  found.sort((a, b) =>
    a.behind === b.behind ? b.wrongScore - a.wrongScore || a.number - b.number : b.behind - a.behind,
  );
  const hardest = found.slice(0, SHOWN).map(({ number }) => shown(of(number)!));
  return { kind: 'queries', measured, missed, hardest };
}

/** The places of the first right and of the first wrong candidate. */
function firsts({ listed, isRight }: Ranked): { right: number | undefined; wrong: number | undefined } {
  let right: number | undefined;
  let wrong: number | undefined;
  for (let place = 0; place < listed.length && (right === undefined || wrong === undefined); place++) {
    const candidate = listed[place]!;
    if (candidate < 0) break; // nothing more is listed
    if (isRight(candidate)) right ??= place;
    else wrong ??= place;
  }
  return { right, wrong };
}

function shown(ranked: Ranked): HardQuery {
  const { query, listed, scores, isRight, textOf, expected } = ranked;
  const { right } = firsts(ranked);
  const wrong: HardQuery['wrong'][number][] = [];
  for (let place = 0; place < listed.length && wrong.length < WRONG_SHOWN; place++) {
    const candidate = listed[place]!;
    if (candidate < 0) break;
    if (!isRight(candidate)) wrong.push({ text: cut(textOf(candidate)), score: scores[place]! });
  }
  return {
    query: cut(query),
    right:
      right === undefined
        ? { text: cut(expected), rank: null, score: null }
        : { text: cut(textOf(listed[right]!)), rank: right + 1, score: scores[right]! },
    wrong,
  };
}

/** The pairs whose place among all differs most between the model and people. */
export function hardestPairs(
  { first, second, scores }: StsTask,
  similarities: ArrayLike<number>,
): HardestPairs {
  const places = placesOf(scores);
  const placed = placesOf(Array.from(similarities));
  const off = (pair: number): number => Math.abs(places[pair]! - placed[pair]!);
  const order = Array.from(places.keys()).sort((a, b) => off(b) - off(a) || a - b);
  return {
    kind: 'pairs',
    measured: scores.length,
    hardest: order.slice(0, SHOWN).map((pair) => ({
      first: cut(first[pair]!),
      second: cut(second[pair]!),
      score: scores[pair]!,
      place: places[pair]!,
      similarity: similarities[pair]!,
      placed: placed[pair]!,
    })),
  };
}

/** For each number the share of the others that is lower, equal ones sharing their places. */
function placesOf(numbers: readonly number[]): number[] {
  return Array.from(averageRanks(numbers), (rank) => (rank - 1) / Math.max(1, numbers.length - 1));
}

/** A text that is at most so long, never cut within a character. */
function cut(text: string): string {
  if (text.length <= TEXT_SHOWN) return text;
  const last = text.charCodeAt(TEXT_SHOWN - 1);
  const within = last >= 0xd800 && last < 0xdc00;
  return `${text.slice(0, TEXT_SHOWN - (within ? 1 : 0))}…`;
}
