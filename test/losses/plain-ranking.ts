import { call, Tensor, type LossOptions } from '../../lib/index.js';

/** What {@link plainRanking} computes. */
export interface PlainRanking {
  readonly scale: number;
  readonly similarity?: 'cosine' | 'dot';
  readonly directions?: readonly string[];
  readonly joint?: boolean;
  readonly hardnessMode?: string;
  readonly hardnessStrength?: number;
  readonly margin?: number;
  readonly labelSmoothing?: number;
  /** Candidates of each anchor. */
  readonly targets?: readonly (readonly number[])[];
  readonly weights?: readonly number[];
  /** The anchor of each hard negative. */
  readonly owners?: readonly number[];
  /** In place of `scale`, with a gradient. */
  readonly logScale?: Tensor;
}

/** InfoNCE in plain operators with all scores at once, from its definition. */
export function plainRanking(how: PlainRanking): (...given: (Tensor & LossOptions)[]) => Tensor {
  const { similarity = 'cosine', directions = ['query_to_doc'], joint = true } = how;
  const { margin = 0, labelSmoothing = 0 } = how;
  return (...given) => {
    const towers = given.slice(0, -1).map((tower) => (similarity === 'cosine' ? tower.normalize() : tower));
    const queries = towers[0]!;
    const documents: Tensor = call('aten::cat', towers.slice(1), 0);
    const anchors = queries.shape[0]!;
    const candidates = documents.shape[0]!;
    const targets = how.targets ?? Array.from({ length: anchors }, (_, i) => [i]);
    const own = targets.map(
      (list, i) => new Set([...list, ...negativesOf(i, anchors, candidates, how.owners)]),
    );
    const times = (tensor: Tensor): Tensor =>
      how.logScale === undefined ? tensor.mul(how.scale) : tensor.mul(how.logScale.exp());

    const terms = targets.flatMap((list, anchor) =>
      list.map((candidate) => ({ anchor, candidate, of: list.length })),
    );
    const ofAnchors = Int32Array.from(terms, ({ anchor }) => anchor);
    const ofCandidates = Int32Array.from(terms, ({ candidate }) => candidate);
    const total = how.weights?.reduce((sum, weight) => sum + weight, 0) ?? anchors;
    const weights = matrix(
      terms.length,
      1,
      (t) => (how.weights?.[terms[t]!.anchor] ?? 1) / total / terms[t]!.of,
    );

    const similarities = queries.matmul(documents.t());
    const isTarget = matrix(anchors, candidates, (i, c) => (targets[i]!.includes(c) ? 1 : 0));
    const scores = times(similarities.sub(isTarget.mul(margin)));
    const harder = matrix(anchors, candidates, (i, c) =>
      hardens(how.hardnessMode, i, c) ? (how.hardnessStrength ?? 0) : 0,
    );
    function hardens(mode: string | undefined, i: number, c: number): boolean {
      if (mode === 'in_batch_negatives') return !own[i]!.has(c);
      if (mode === 'hard_negatives') return own[i]!.has(c) && !targets[i]!.includes(c);
      return mode === 'all_negatives' && !targets[i]!.includes(c);
    }
    const none = () => false;
    const blocks: [Tensor, (term: number, column: number) => boolean][] = [];
    for (const direction of directions) {
      if (direction === 'query_to_doc')
        blocks.push([pick(scores.add(harder.mul(similarities.detach())), ofAnchors), none]);
      if (direction === 'doc_to_query') blocks.push([pick(scores.t(), ofCandidates), none]);
      if (direction === 'query_to_query')
        blocks.push([pick(times(queries.matmul(queries.t())), ofAnchors), (t, j) => j === ofAnchors[t]]);
      if (direction === 'doc_to_doc')
        blocks.push([
          pick(times(documents.matmul(documents.t())), ofCandidates),
          (t, c) => own[ofAnchors[t]!]!.has(c),
        ]);
    }
    const positives = call<Tensor>(
      'aten::gather',
      pick(scores, ofAnchors),
      1,
      Tensor.from([...ofCandidates], { dtype: 'int64', shape: [terms.length, 1] }),
    );
    const partitions = joint ? [blocks] : blocks.map((block) => [block]);
    const each = partitions.map((partition) => {
      const left = partition.map(([logits, out]) => matrix(...size(logits), (t, c) => (out(t, c) ? 1 : 0)));
      const logits: Tensor = call(
        'aten::cat',
        partition.map(([block]) => block),
        1,
      );
      const leftOut: Tensor = call('aten::cat', left, 1);
      const logZ: Tensor = call('aten::logsumexp', logits.sub(leftOut.mul(1e30)), [1], true);
      const among = leftOut.neg().add(1);
      const sum = (tensor: Tensor): Tensor => call('aten::sum.dim_IntList', tensor, [1], true);
      const mean = sum(logits.mul(among)).div(sum(among));
      return logZ.sub(positives.mul(1 - labelSmoothing)).sub(mean.mul(labelSmoothing));
    });
    const sum = each.reduce((left, right) => left.add(right));
    return sum.div(each.length).mul(weights).sum();
  };
}

function negativesOf(
  anchor: number,
  anchors: number,
  candidates: number,
  owners?: readonly number[],
): number[] {
  const found: number[] = [];
  for (let c = anchors; c < candidates; c++)
    if ((owners === undefined ? c % anchors : owners[c - anchors]) === anchor) found.push(c);
  return found;
}

const size = (tensor: Tensor): [number, number] => tensor.shape as [number, number];

function matrix(rows: number, columns: number, at: (row: number, column: number) => number): Tensor {
  const values = new Float64Array(rows * columns);
  for (let k = 0; k < values.length; k++) values[k] = at(Math.floor(k / columns), k % columns);
  return Tensor.from(values, { shape: [rows, columns] });
}

const pick = (tensor: Tensor, rows: Int32Array): Tensor =>
  call('aten::index_select', tensor, 0, Tensor.from([...rows], { dtype: 'int64' }));
