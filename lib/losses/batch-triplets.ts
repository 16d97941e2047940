import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireOneOf } from '../options/option-values.js';
import { backward, noGrad, withGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { tidy, untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import { classLabels } from './labels.js';
import type { LabelColumn, TextColumns } from './loss-kind.js';
import {
  requireCheckable,
  leavesOf,
  requireFinite,
  requireTowers,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';
import { requireRowsOf } from './tensor-loss.js';
import { sumOfTiles, TILE, type Terms } from './tiled-terms.js';

/** The distances that triplets of a batch can be compared by. */
export type BatchDistance = 'euclidean' | 'cosine';

export const BATCH_DISTANCES: readonly BatchDistance[] = ['euclidean', 'cosine'];

/** Settings of a loss over the triplets of a batch. */
export interface BatchTripletOptions {
  /** Default: euclidean. Cosine is 1 minus the cosine. */
  readonly distance?: BatchDistance;
  /** How much nearer a row of the same class is to be than one of another. Default 5. */
  readonly margin?: number;
}

/** The columns of such a loss: one text a row. */
const TRIPLET_COLUMNS: TextColumns = {
  least: 1,
  most: 1,
  needed: 'one column of texts',
  usual: ['text'],
};

/** The label of such a loss. */
const CLASS_LABEL: LabelColumn = { type: 'class', needed: 'the class of each row' };

/** Distances of some rows, the anchors of triplets, from all rows. */
export interface DistanceTile {
  /** [anchors, rows], float64, in the graph. */
  readonly distances: Tensor;
  /** [anchors, rows]: whether both have the same class. The anchor itself has it. */
  readonly same: Tensor;
  /** [anchors, rows]: whether both have the same class and are not the same row. */
  readonly positive: Tensor;
}

/** Squared distances below this part of the squared lengths are rounding alone: the rows are equal. */
const NOTHING = 32 * Number.EPSILON;

/**
 * A loss over triplets of the rows of a batch, chosen by their distances. The distances are computed in tiles of anchors, in
 * float64: N x N of them never exist at once.
 *
 * @param name the function that makes it, for messages
 * @param terms the part of a tile in the loss
 */
export function batchTripletLoss(
  name: string,
  distance: BatchDistance,
  terms: (tile: DistanceTile) => Terms,
): LossWithGradients {
  return new BatchTripletLoss(name, distance, terms);
}

/** Reads the options of such a loss. @throws GradCacheError `INPUT` */
export function readTripletOptions(
  name: string,
  options: BatchTripletOptions,
): Required<BatchTripletOptions> {
  checkKnown(name, options, ['distance', 'margin']);
  const { distance = 'euclidean', margin = 5 } = options;
  requireOneOf('distance', distance, BATCH_DISTANCES);
  requireNumber('margin', margin);
  return { distance, margin };
}

class BatchTripletLoss implements LossWithGradients {
  constructor(
    readonly name: string,
    readonly distance: BatchDistance,
    readonly terms: (tile: DistanceTile) => Terms,
  ) {}

  parameters(): Parameter[] {
    return [];
  }

  checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    this.#labels(options, rows);
  }

  async value(representations: readonly Tensor[], options: LossOptions): Promise<number> {
    return (await this.compute(representations, 1, options, [false])).loss;
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained: readonly boolean[] = [true],
  ): Promise<LossGradients> {
    requireTowers(representations);
    const labels = this.#labels(
      options,
      representations.map(({ shape }) => shape[0] ?? 0),
    );
    const wanted = trained[0] === true;
    const [leaf] = leavesOf(representations, [wanted]) as [Tensor];
    const used: Tensor[] = [leaf];
    try {
      const points = tidy(() => withGrad(() => this.#points(leaf)));
      // Backward ends here for each tile, and goes on from here once for all.
      const [rows] = leavesOf([points], [wanted]) as [Tensor];
      used.push(points, rows);
      const { sum, count } = await this.#sweep(rows, labels, wanted);
      const loss = sum / Math.max(count, 1);
      requireFinite(loss);
      if (!wanted) return { loss, gradients: [null] };
      const gradient = tidy(() => noGrad(() => rows.grad!.mul(weight / Math.max(count, 1))));
      used.push(gradient);
      await backward([points], [gradient]);
      return { loss, gradients: [leaf.grad] };
    } finally {
      for (const tensor of used) tensor.dispose();
    }
  }

  #labels(options: LossOptions, rows: readonly number[]): number[] {
    checkKnown(`the loss of ${this.name}`, options, ['labels']);
    requireRowsOf(this.name, TRIPLET_COLUMNS, rows);
    return classLabels(this.name, options.labels, rows[0]!);
  }

  /** The sum of the terms of all tiles, whose gradients are added to that of `rows`. */
  async #sweep(
    rows: Tensor,
    labels: readonly number[],
    wanted: boolean,
  ): Promise<{ sum: number; count: number }> {
    const classes = untracked(() => Tensor.from(Float64Array.from(labels)).to({ device: rows.device }));
    try {
      return await sumOfTiles(
        anchorsOf(labels.length),
        ({ begin, count }) => this.terms(this.#tile(rows, classes, begin, count)),
        wanted,
      );
    } finally {
      classes.dispose();
    }
  }

  #points(representations: Tensor): Tensor {
    const rows = representations.to({ dtype: 'float64' });
    // Never the leaf itself: backward begins at it.
    return this.distance === 'cosine' ? rows.normalize() : call('aten::alias', rows);
  }

  #tile(rows: Tensor, classes: Tensor, begin: number, length: number): DistanceTile {
    const { same, self } = noGrad(() => {
      const places: Tensor = call('aten::arange', classes.shape[0]!, { device: rows.device });
      const column = (of: Tensor): Tensor => of.narrow(0, begin, length).reshape([-1, 1]);
      return {
        same: call<Tensor>('aten::eq.Tensor', column(classes), classes),
        self: call<Tensor>('aten::eq.Tensor', column(places), places),
      };
    });
    const distances = this.#distances(rows, begin, length, self);
    const positive: Tensor = call('aten::logical_and', same, call('aten::logical_not', self));
    return { distances, same, positive };
  }

  #distances(rows: Tensor, begin: number, length: number, self: Tensor): Tensor {
    const products = rows.narrow(0, begin, length).matmul(rows.t());
    if (this.distance === 'cosine') return products.neg().add(1);
    const squares = rows.mul(rows).sum(1);
    const both = squares.narrow(0, begin, length).reshape([-1, 1]).add(squares);
    const apart = both.sub(products.mul(2));
    const equal: Tensor = noGrad(() =>
      call('aten::logical_or', self, call('aten::le.Tensor', apart, both.mul(NOTHING))),
    );
    // The root has no gradient at 0: equal rows take that of the constant 0.
    return masked(masked(apart, equal, 1).sqrt(), equal, 0);
  }
}

/** The anchors of each tile. */
function* anchorsOf(all: number): Generator<{ readonly begin: number; readonly count: number }> {
  const step = Math.max(1, Math.floor(TILE / all));
  for (let begin = 0; begin < all; begin += step) yield { begin, count: Math.min(step, all - begin) };
}

/** The values, with a constant where the mask is true. */
export const masked = (values: Tensor, mask: Tensor, constant: number): Tensor =>
  call('aten::masked_fill.Scalar', values, mask, constant);

/** A mask as 0 and 1. */
export const asNumbers = (mask: Tensor): Tensor => mask.to({ dtype: 'float64' });

/** The settings of these losses in a configuration. */
export const TRIPLET_SETTINGS = {
  distance: {
    kind: 'choice',
    accepted: BATCH_DISTANCES,
    default: 'euclidean',
    help: 'euclidean (default) or cosine',
  },
  margin: { kind: 'number', default: 5, help: 'how much nearer; default 5' },
} as const;

/** What these losses have in common in `train`. */
export const BATCH_TRIPLETS = {
  columns: TRIPLET_COLUMNS,
  label: CLASS_LABEL,
  comparesRows: false,
  similarity: ({ distance }: Required<Pick<BatchTripletOptions, 'distance'>>) => distance,
} as const;
