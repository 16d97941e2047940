import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireOneOf } from '../options/option-values.js';
import { noGrad, withGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { Tensor } from '../tensor/tensor.js';
import { classLabels } from './labels.js';
import type { LabelColumn, TextColumns } from './loss-kind.js';
import { lossOfTiles, TILE, type Terms } from './loss-of-tiles.js';
import type { LossWithGradients } from './loss.js';
import { requireRowsOf } from './tensor-loss.js';

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
  return lossOfTiles({
    read: (options, rows) => {
      checkKnown(`the loss of ${name}`, options, ['labels']);
      requireRowsOf(name, TRIPLET_COLUMNS, rows);
      return classLabels(name, options.labels, rows[0]!);
    },
    layOut: (tower, labels) => ({
      compared: withGrad(() => pointsOf(tower, distance)),
      beside: { classes: Tensor.from(Float64Array.from(labels)).to({ device: tower.device }) },
    }),
    tiles: ({ shape }) => anchorsOf(shape[0]!),
    terms: (anchors, points, { classes }) => terms(tileOf(points, classes, anchors, distance)),
  });
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

function pointsOf(representations: Tensor, distance: BatchDistance): Tensor {
  const rows = representations.to({ dtype: 'float64' });
  return distance === 'cosine' ? rows.normalize() : call('aten::alias', rows);
}

/** The anchors of a tile: the number of the first, and how many. */
interface Anchors {
  readonly begin: number;
  readonly count: number;
}

function tileOf(rows: Tensor, classes: Tensor, anchors: Anchors, distance: BatchDistance): DistanceTile {
  const { same, self } = noGrad(() => {
    const places: Tensor = call('aten::arange', classes.shape[0]!, { device: rows.device });
    const column = (of: Tensor): Tensor => of.narrow(0, anchors.begin, anchors.count).reshape([-1, 1]);
    return {
      same: call<Tensor>('aten::eq.Tensor', column(classes), classes),
      self: call<Tensor>('aten::eq.Tensor', column(places), places),
    };
  });
  const distances = distancesOf(rows, anchors, self, distance);
  const positive: Tensor = call('aten::logical_and', same, call('aten::logical_not', self));
  return { distances, same, positive };
}

function distancesOf(rows: Tensor, { begin, count }: Anchors, self: Tensor, distance: BatchDistance): Tensor {
  const products = rows.narrow(0, begin, count).matmul(rows.t());
  if (distance === 'cosine') return products.neg().add(1);
  const squares = rows.mul(rows).sum(1);
  const both = squares.narrow(0, begin, count).reshape([-1, 1]).add(squares);
  const apart = both.sub(products.mul(2));
  const equal: Tensor = noGrad(() =>
    call('aten::logical_or', self, call('aten::le.Tensor', apart, both.mul(NOTHING))),
  );
  // The root has no gradient at 0: equal rows take that of the constant 0.
  return masked(masked(apart, equal, 1).sqrt(), equal, 0);
}

/** The anchors of each tile. */
function* anchorsOf(all: number): Generator<Anchors> {
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
