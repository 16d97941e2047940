import { checkKnown } from '../options/known-options.js';
import { requireNumber, requireOneOf } from '../options/option-values.js';
import { numbered } from './class-settings.js';
import { classLabels } from './labels.js';
import type { LabelColumn, TextColumns } from './loss-kind.js';
import { fixedNumber } from './loss-number.js';
import type { LossWithGradients } from './loss.js';
import { requireRowsOf } from './tensor-loss.js';
import { TiledLoss } from './tiled-loss.js';

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

/** Which triplets of a batch count: native/losses/batch_triplets.cc. */
export type Triplets = 'all' | 'hard' | 'soft' | 'semi-hard';

/**
 * A loss over triplets of the rows of a batch, chosen by their distances. Native code computes it in tiles of anchors: N x N
 * distances never exist at once.
 *
 * @param name the function that makes it, for messages
 */
export function batchTripletLoss(
  name: string,
  triplets: Triplets,
  { distance, margin }: Required<Pick<BatchTripletOptions, 'distance'>> & BatchTripletOptions,
): LossWithGradients {
  return new TiledLoss({
    name: 'batch_triplets',
    cosine: distance === 'cosine',
    plain: true,
    numbers: { scale: fixedNumber(1) },
    settings: (options, _, rows) => {
      checkKnown(`the loss of ${name}`, options, ['labels']);
      requireRowsOf(name, TRIPLET_COLUMNS, rows);
      const classes = numbered(classLabels(name, options.labels, rows[0]!));
      return { triplets, euclidean: distance === 'euclidean', margin: margin ?? null, classes };
    },
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
