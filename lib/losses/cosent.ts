import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireOneOf } from '../options/option-values.js';
import { SIMILARITIES, type Similarity } from '../options/similarity.js';
import { call } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';
import { requiredLabels } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { pairScores } from './pair-scores.js';
import { tensorLoss } from './tensor-loss.js';

/** Settings of {@link coSENT}. */
export interface CoSENTOptions {
  /** Differences of similarities are multiplied by it; above 0. Default 20. */
  readonly scale?: number;
  /** Default: cosine. */
  readonly similarity?: Similarity;
}

const COLUMNS = {
  least: 2,
  most: 2,
  needed: 'two different columns, the two texts of a pair,',
  usual: ['sentence1', 'sentence2'],
};
const LABEL = 'a score for each pair';

/**
 * CoSENT (Huang et al. 2024): of two pairs with different scores, the one with the higher score is to be the more similar.
 * The loss is `log(1 + sum of exp(scale * (sim_i - sim_j)))` over all pairs i, j of pairs with label_i < label_j:
 * CoSENTLoss of sentence-transformers. Only the order of the scores counts. It takes N log N time and memory for N.
 *
 * Towers: [N, d] and [N, d]. `step(inputs, { loss: { labels } })` gives the score of each pair.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: coSENT() });
 * await gradcache.step([model.tokenize(first), model.tokenize(second)], { loss: { labels: [0.9, 0.1] } }); // a score for each pair
 * ```
 */
export function coSENT(options: CoSENTOptions = {}): LossWithGradients {
  checkKnown('coSENT', options, ['scale', 'similarity']);
  const { scale = 20, similarity = 'cosine' } = options;
  requireNumber('scale', scale, { above: 0 });
  requireOneOf('similarity', similarity, SIMILARITIES);
  return tensorLoss({
    name: 'coSENT',
    sparse: 'columns',
    towers: COLUMNS,
    labels: (given, rows) => requiredLabels('coSENT', LABEL, given, rows),
    loss: ([first, second], labels) => rankingLoss(pairScores(similarity, first!, second!), labels, scale),
  });
}

/**
 * `log(1 + sum of exp(scale * (scores_i - scores_j)))` over i, j with labels_i < labels_j.
 *
 * In the order of the labels, all i that go with a j lie before the first one of its label. So the sum over them is one
 * of the running sums of exp(scale * score).
 *
 * @param scores [N]
 */
export function rankingLoss(scores: Tensor, labels: readonly number[], scale: number): Tensor {
  const order = Array.from(labels.keys()).sort((a, b) => labels[a]! - labels[b]!);
  const [places, before] = [[] as number[], [] as number[]];
  let first = 0;
  for (const [place, row] of order.entries()) {
    if (place > 0 && labels[order[place - 1]!] !== labels[row]) first = place;
    if (first === 0) continue;
    places.push(place);
    before.push(first - 1);
  }
  const { device } = scores;
  const indices = (of: readonly number[]): Tensor => Tensor.from(Int32Array.from(of)).to({ device });
  const sorted = scores.mul(scale).indexSelect(0, indices(order));
  const sums: Tensor = call('aten::logcumsumexp', sorted, 0);
  const terms = sums.indexSelect(0, indices(before)).sub(sorted.indexSelect(0, indices(places)));
  const one: Tensor = call('aten::new_zeros', scores, [1]);
  return call<Tensor>('aten::cat', [terms, one], 0).logsumexp(0);
}

/** CoSENT in a configuration. */
export interface CoSENTSettings {
  /** Multiplies similarities. Default: 20. */
  readonly scale: number;
  /** Default 'cosine'. The saved model records it. */
  readonly similarity: Similarity;
}

/** {@link coSENT} in `train`. */
export const coSENTKind: LossKind<CoSENTSettings> = {
  about: 'pairs with a higher score more similar than those with a lower one',
  columns: COLUMNS,
  label: { type: 'number', needed: LABEL },
  comparesRows: false,
  settings: {
    scale: { kind: 'number', above: 0, default: 20, help: 'multiplies similarities; default 20' },
    similarity: {
      kind: 'choice',
      accepted: SIMILARITIES,
      default: 'cosine',
      flag: 'similarity',
      help: 'cosine (default), dot, euclidean or manhattan',
    },
  },
  make: (settings) => coSENT(settings),
};
