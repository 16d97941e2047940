import { checkKnown } from '../options/known-options.js';
import { refused, requireNumber, requireOneOf } from '../options/option-values.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';
import { MATCH_LABEL, PAIR_COLUMNS, PAIR_SETTINGS, type ContrastiveOptions } from './contrastive.js';
import { requiredLabels } from './labels.js';
import type { LossKind } from './loss-kind.js';
import type { LossWithGradients } from './loss.js';
import { DISTANCES, pairDistances } from './pair-scores.js';
import { tensorLoss } from './tensor-loss.js';
import { zeroOrOne } from './row-labels.js';

/** Settings of {@link onlineContrastive}. */
export type OnlineContrastiveOptions = Pick<ContrastiveOptions, 'distance' | 'margin'>;

/**
 * The contrastive loss of the hard pairs of a batch alone: OnlineContrastiveLoss of sentence-transformers. Pairs that match
 * (label 1) are hard if their distance D is above the least one of pairs that do not match (label 0); their loss is D^2. Pairs
 * that do not match are hard if D is below the greatest one of pairs that do; their loss is `max(0, margin - D)^2`. Where
 * there are no pairs of the other kind, the mean D takes the place of the least or greatest one. The loss is the sum.
 *
 * Towers: [N, d] and [N, d]. `step(inputs, { loss: { labels } })` gives the label of each pair, 0 or 1.
 *
 * @throws GradCacheError `INPUT` for a wrong option; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: onlineContrastive() });
 * await gradcache.step([model.tokenize(first), model.tokenize(second)], { loss: { labels: [1, 0] } }); // 1: the pair matches
 * ```
 */
export function onlineContrastive(options: OnlineContrastiveOptions = {}): LossWithGradients {
  checkKnown('onlineContrastive', options, ['distance', 'margin']);
  const { distance = 'cosine', margin = 0.5 } = options;
  requireOneOf('distance', distance, DISTANCES);
  requireNumber('margin', margin);
  return tensorLoss({
    name: 'onlineContrastive',
    towers: PAIR_COLUMNS,
    labels: (given, rows) => {
      const labels = requiredLabels('onlineContrastive', MATCH_LABEL, given, rows);
      const wrong = labels.findIndex((label) => label !== 0 && label !== 1);
      if (wrong >= 0) throw refused(`labels[${wrong}]`, labels[wrong], '0 or 1');
      const rowsOf = (kind: number) => labels.flatMap((label, row) => (label === kind ? [row] : []));
      return { match: rowsOf(1), differ: rowsOf(0) };
    },
    loss: ([first, second], labels) => {
      const distances = pairDistances(distance, first!, second!);
      const of = (rows: readonly number[]): Tensor =>
        distances.indexSelect(0, Tensor.from(Int32Array.from(rows)).to({ device: distances.device }));
      const [match, differ] = [of(labels.match), of(labels.differ)];
      const terms: Tensor[] = [];
      if (labels.match.length > 0) {
        const least: Tensor = labels.differ.length > 0 ? call('aten::min', differ) : match.mean();
        terms.push(
          match
            .mul(match)
            .mul(among('aten::gt.Tensor', match, least))
            .sum(),
        );
      }
      if (labels.differ.length > 0) {
        const greatest: Tensor = labels.match.length > 0 ? call('aten::max', match) : differ.mean();
        const short = differ.neg().add(margin).relu();
        terms.push(
          short
            .mul(short)
            .mul(among('aten::lt.Tensor', differ, greatest))
            .sum(),
        );
      }
      return terms.reduce((sum, term) => sum.add(term));
    },
  });
}

/** 1 for distances beyond a bound, 0 for others; constants of the gradient. */
const among = (compare: string, distances: Tensor, bound: Tensor): Tensor =>
  noGrad(() => call<Tensor>(compare, distances.detach(), bound.detach()).to({ dtype: distances.dtype }));

/** {@link onlineContrastive} in `train`. */
export const onlineContrastiveKind: LossKind<Required<OnlineContrastiveOptions>> = {
  about: 'contrastive over the hard pairs of a batch',
  columns: PAIR_COLUMNS,
  label: { type: 'number', needed: MATCH_LABEL, needs: zeroOrOne },
  comparesRows: false,
  settings: PAIR_SETTINGS,
  make: (settings) => onlineContrastive(settings),
  similarity: ({ distance }) => distance,
};
