import { GradCacheError } from '../errors.js';
import { refuse } from '../options/fields.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireBoolean, requireCount, requireNumber } from '../options/option-values.js';
import { idSettings } from './identities.js';
import { fixedNumber, learnedNumber, type LossNumber } from './loss-number.js';
import type { LossKind, TrainedLoss } from './loss-kind.js';
import {
  checkRanking,
  RANKING_OPTIONS,
  RANKING_SETTINGS,
  rankingFrom,
  rankingOptions,
  type Ranking,
  type RankingOptions,
  type RankingSettings,
} from './ranking.js';
import { ownersByRow, ownersOf, targetSettings, weightsOf } from './targets.js';
import {
  checkTemperature,
  scaleFrom,
  temperatureFrom,
  temperatureSettings,
  type Scale,
  type Temperature,
  type TemperatureSettings,
} from './temperature.js';
import { requireCheckable, type LossOptions } from './loss.js';
import { TiledLoss } from './tiled-loss.js';

/** Settings of {@link infoNCE}. */
export interface InfoNCEOptions extends RankingOptions {
  /**
   * Similarities are divided by it. Default 0.05. `{ initial, learned: true }` trains the logarithm of its inverse, as CLIP
   * does (Radford et al. 2021, 2.5). It stays from 0.01 to 1, or within `bounds`. The optimizer gets the parameter from
   * `parameters()`.
   */
  readonly temperature?: Temperature;
  /**
   * Averages the losses anchor to candidate and candidate to anchor: `query_to_doc` and `doc_to_query`, `per_direction`.
   * Default: only anchor to candidate.
   */
  readonly symmetric?: boolean;
  /**
   * Added to every logit, as open_clip can. A softmax does not change with it, so neither the loss nor any gradient does.
   * A learned one is a parameter with a gradient of 0. Default 0.
   */
  readonly bias?:
    | number
    | {
        /** The bias before the first update. */
        readonly initial: number;
        /** Whether updates change it. */
        readonly learned: boolean;
      };
}

/** What {@link infoNCE} returns. */
export type InfoNCELoss = TrainedLoss;

/**
 * InfoNCE, the contrastive loss of Gao et al. 2021 (equation 1): each anchor is to find its positive among all candidates
 * of the batch. In sentence-transformers it is `MultipleNegativesRankingLoss`, in open_clip `ClipLoss` (`symmetric`), in
 * GradCache `SimpleContrastiveLoss`.
 *
 * Towers: anchors [N, d], positives [N, d], then any number of hard negatives [M_k, d]. Anchor i belongs to candidate i.
 * Computed in tiles: N x N scores never exist at once.
 *
 * `step(inputs, { loss: { targets, weights, owners, ids } })`:
 * - `targets`: for each anchor the number of its candidate, counted through positives and hard negatives, or a list of the
 *   numbers of several. The loss of an anchor with several is the mean over them; each has the others in its denominator.
 * - `weights`: how much each anchor counts; the loss is the weighted mean. Default: all the same.
 * - `owners`: where anchors have different numbers of hard negatives, the anchor that each of them belongs to, one tower
 *   after the other; -1: none. `hardnessMode` and `doc_to_doc` ask for it. Default: row i belongs to anchor i.
 * - `ids`: what identifies the example of each anchor, a string, a whole number from 0, or a list of them, such as the texts
 *   of its row. Rows that share one are no negatives of each other. Not with `labelSmoothing`, nor with `precision: 'fast'`.
 *
 * @throws GradCacheError `INPUT` for settings that do not fit; at the step: `INPUT`, `SHAPE`, `NON_FINITE`
 * @example
 * ```ts
 * const gradcache = new GradCache({ encoders: [model, model], loss: infoNCE({ temperature: 0.05, symmetric: true }) });
 * await gradcache.step([model.tokenize(anchors), model.tokenize(positives)]); // anchor i belongs to positive i
 * ```
 */
export function infoNCE(options: InfoNCEOptions = {}): InfoNCELoss {
  checkKnown('infoNCE', options, [...RANKING_OPTIONS, 'temperature', 'symmetric', 'bias']);
  const { temperature = 0.05, symmetric = false, bias = 0, ...ranking } = options;
  const scale = scaleFrom(temperature);
  requireBoolean('symmetric', symmetric);
  if (!symmetric) return new InfoNCE(scale, biasFrom(bias), rankingFrom(ranking));
  for (const name of ['directions', 'partitionMode'] as const)
    if (ranking[name] !== undefined)
      throw refused(name, ranking[name], 'none beside symmetric: true, which stands for both directions,');
  return new InfoNCE(scale, biasFrom(bias), rankingFrom({ ...ranking, ...SYMMETRIC }));
}

const SYMMETRIC = { directions: ['query_to_doc', 'doc_to_query'], partitionMode: 'per_direction' } as const;

function biasFrom(given: unknown): LossNumber {
  if (typeof given !== 'object' || given === null) {
    requireNumber('bias', given);
    return fixedNumber(given);
  }
  checkKnown('bias', given, ['initial', 'learned']);
  const { initial, learned } = given as { initial?: unknown; learned?: unknown };
  requireNumber('bias.initial', initial);
  requireBoolean('bias.learned', learned);
  if (!learned) return fixedNumber(initial);
  return learnedNumber({ name: 'loss.bias', initial, valueAt: (value) => value });
}

/** InfoNCE, whatever its function is called. */
export class InfoNCE extends TiledLoss implements InfoNCELoss {
  readonly #temperature: () => number;
  readonly #asksForOwners: boolean;

  constructor({ scale, temperature }: Scale, bias: LossNumber, { cosine, settings }: Ranking) {
    const { hardness, docToDoc } = settings;
    const asksForOwners = docToDoc || hardness === 'in_batch_negatives' || hardness === 'hard_negatives';
    super({
      name: 'info_nce',
      cosine,
      numbers: { scale, bias },
      settings: (options, anchors, rows) => {
        checkKnown('the loss of infoNCE', options, ['targets', 'weights', 'owners', 'ids']);
        const targets = targetSettings(options, rows);
        if (docToDoc && targets.targets !== null)
          throw new GradCacheError('INPUT', 'doc_to_doc takes no targets: positive i is that of anchor i');
        if (options.ids !== undefined && settings.labelSmoothing !== 0)
          throw new GradCacheError(
            'INPUT',
            'ids leave candidates out, and label smoothing spreads over all of them: give one of both',
          );
        if (options.ids !== undefined && settings.fast)
          throw refused('precision', 'fast', '"exact" beside ids');
        const weights = weightsOf(options, anchors);
        const owners = ownersOf(options, rows, asksForOwners);
        return {
          ...settings,
          ...targets,
          weights,
          owners,
          ...idSettings(options, rows, owners),
        };
      },
    });
    this.#temperature = temperature;
    this.#asksForOwners = asksForOwners;
  }

  readonly takesIds = true;

  /** The others are hard negatives of no anchor, and without owners row i would be taken for one of anchor i. */
  optionsBeside(options: LossOptions, rows: readonly number[], others: number): LossOptions {
    requireCheckable(options, rows);
    requireCount('others', others, 0);
    const given = ownersOf(options, rows, this.#asksForOwners);
    if (given === null && !this.#asksForOwners && options.ids === undefined) return options;
    const own = given ?? ownersByRow(rows);
    return { ...options, owners: [...own, ...new Array<number>(others).fill(-1)] };
  }

  get temperature(): number {
    return this.#temperature();
  }
}

/** InfoNCE in a configuration. */
export interface InfoNCESettings extends TemperatureSettings, RankingSettings {
  /** Also compare each positive with all anchors. Default false. */
  readonly symmetric: boolean;
}

/** InfoNCE in `train`. */
export const infoNCEKind: LossKind<InfoNCESettings> = {
  about: "each anchor's positive against all other candidates",
  columns: { least: 2, needed: 'two or more different columns: anchor, positive, hard negatives' },
  takesMemory: true,
  takesLists: true,
  takesWeights: true,
  settings: {
    ...temperatureSettings(0.05),
    ...RANKING_SETTINGS,
    symmetric: {
      kind: 'switch',
      default: false,
      flag: 'symmetric',
      help: 'compare each positive with all anchors as well',
    },
  },
  check: (settings, fields) => {
    checkTemperature(settings, fields);
    checkRanking(settings, fields);
    const { symmetric, directions, partitionMode } = settings;
    if (symmetric && (directions.length > 1 || partitionMode !== 'joint'))
      throw refuse(fields.at('symmetric'), symmetric, 'false beside directions or partitionMode');
  },
  make: ({ symmetric, ...settings }, model) => {
    const { directions, partitionMode, ...ranking } = rankingOptions(settings, model);
    const denominator = symmetric ? { symmetric } : { directions, partitionMode };
    return infoNCE({ temperature: temperatureFrom(settings), ...ranking, ...denominator });
  },
  masksDuplicates: ({ maskDuplicates }) => maskDuplicates,
  temperature: ({ temperature }) => temperature,
};
