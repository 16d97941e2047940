/** How well scores rank the candidates of a query, each from 0 to 1. */
export interface RankMeasures {
  /** Mean over the relevant candidates of the precision down to each. */
  readonly map: number;
  /** 1 / (rank of the first relevant candidate), 0 where it is beyond the limit. */
  readonly mrr: number;
  /** Discounted cumulative gain down to the limit, against the best possible. */
  readonly ndcg: number;
}

const discount = (place: number): number => 1 / Math.log2(place + 2);

/**
 * Measures one ranking. Candidates with the same score share the mean of their gains, as in scikit-learn's ndcg_score and
 * average_precision_score; in `mrr` the later of them is ranked first, as in sentence-transformers.
 *
 * @param relevant for each candidate whether it is; at least one must be
 * @param limit the ranks that count in `mrr` and `ndcg`
 */
export function measureRanking(
  relevant: readonly boolean[],
  scores: ArrayLike<number>,
  limit: number,
): RankMeasures {
  const order = Array.from(relevant.keys()).sort((a, b) => scores[b]! - scores[a]! || b - a);
  const first = order.findIndex((candidate) => relevant[candidate]);
  const all = relevant.filter(Boolean).length;
  let found = 0;
  let precision = 0;
  let gain = 0;
  for (let begin = 0; begin < order.length;) {
    const end = endOfTie(order, scores, begin);
    const hits = order.slice(begin, end).filter((candidate) => relevant[candidate]).length;
    found += hits;
    precision += (hits * found) / end;
    for (let place = begin; place < Math.min(end, limit); place++)
      gain += (discount(place) * hits) / (end - begin);
    begin = end;
  }
  let best = 0;
  for (let place = 0; place < Math.min(all, limit); place++) best += discount(place);
  return { map: precision / all, mrr: first < limit ? 1 / (first + 1) : 0, ndcg: gain / best };
}

function endOfTie(order: readonly number[], scores: ArrayLike<number>, begin: number): number {
  let end = begin + 1;
  while (end < order.length && scores[order[end]!] === scores[order[begin]!]) end++;
  return end;
}
