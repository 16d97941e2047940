import { types } from 'node:util';
import { guardedAsync, native, type LossSettings } from '../addon/native.js';
import { refused, requireCount, requireOneOf, requireWeight } from '../options/option-values.js';
import { refuse, type Fields } from '../options/fields.js';
import type { SettingTable } from '../options/setting-table.js';
import type { TokenSimilarity } from '../options/similarity.js';
import { noGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import type { LabelMatrix } from './labels.js';
import {
  requireCheckable,
  requireFinite,
  requireTowers,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';
import { joinRowOptions } from './shared-options.js';

/** How a query's tokens and a document's become a score. */
export const INTERACTIONS = ['maxsim', 'meanmaxsim', 'xtr'] as const;
type Interaction = (typeof INTERACTIONS)[number];

/** Options that every loss of late interaction has. */
export interface InteractionOptions {
  /**
   * The score of a query and a document, from inner products of their tokens. Default `'maxsim'`.
   *
   * - `'maxsim'`: the sum over the query's tokens of the largest product with a token of the document (ColBERT, Khattab &
   *   Zaharia 2020; sentence-transformers' `colbert_scores`).
   * - `'meanmaxsim'`: their mean (`mean_colbert_scores`).
   * - `'xtr'`: only the `topK` tokens of all documents that a query's token is most similar to count; the sum over those
   *   query tokens that found one of the document's, divided by their number (Lee et al. 2023; `XTRScores`).
   */
  readonly similarity?: Interaction;
  /** For `'xtr'`: tokens found for each token of a query. Default 256. */
  readonly topK?: number;
}

/** @throws GradCacheError `INPUT` */
export function interactionFrom({ similarity = 'maxsim', topK }: InteractionOptions): LossSettings {
  requireOneOf('similarity', similarity, INTERACTIONS);
  if (topK === undefined) return { similarity, topK: 256 };
  requireCount('topK', topK, 1);
  if (similarity !== 'xtr')
    throw refused('topK', topK, "similarity 'xtr', which alone counts the best tokens,");
  return { similarity, topK };
}

/** What defines a loss of late interaction. */
export interface TokenLossParts {
  /** Its name in the native code: native/losses/multi_vector.h. */
  readonly name: string;
  /** @see interactionFrom */
  readonly interaction: LossSettings;
  /**
   * Native settings that follow from the option `loss` of `step`.
   *
   * @throws GradCacheError for options that do not fit
   */
  readonly settings: (options: LossOptions, sizes: Sizes) => LossSettings;
  /** See {@link LossWithGradients.joinOptions}. Default: row by row. */
  readonly joinOptions?: LossWithGradients['joinOptions'];
  /** What a teacher says of each query, for a loss that learns from one. */
  readonly teacher?: Teacher;
}

/** How a loss learns from a teacher. */
export interface Teacher {
  /** Reads the keyword argument `labels`. @throws GradCacheError `INPUT`, `SHAPE` */
  readonly labels: (given: unknown, sizes: Sizes) => LabelMatrix;
  /** [queries, numbers] as the native loss takes them. Default: the labels. */
  readonly numbers?: (labels: Tensor, sizes: Sizes) => Tensor;
}

/** How many queries a batch has, and how many documents each of them has of its own. */
export interface Sizes {
  readonly queries: number;
  readonly documents: number;
  /** The number of texts of each tower. */
  readonly rows: readonly number[];
}

/**
 * A loss of late interaction. Its towers are queries, then documents, with a representation for each token. Native code
 * computes scores and gradients in tiles, so that no tensor of all tokens with all tokens exists.
 */
export class TokenLoss implements LossWithGradients {
  readonly packed = true;
  /**
   * A loss that learns from a teacher compares a query with documents of its own alone, but for XTR, for which the tokens of
   * all documents compete.
   */
  readonly sharing: 'rows' | 'parts';
  readonly #parts: TokenLossParts;

  constructor(parts: TokenLossParts) {
    this.sharing = parts.teacher && parts.interaction['similarity'] !== 'xtr' ? 'rows' : 'parts';
    this.#parts = parts;
  }

  parameters(): Parameter[] {
    return [];
  }

  checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    const { settings, teacher } = this.#parts;
    const sizes = { queries: rows[0] ?? 0, documents: rows.length - 1, rows };
    settings(options, sizes);
    teacher?.labels(options.labels, sizes);
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return (this.#parts.joinOptions ?? joinRowOptions)(parts, rows);
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    _trained?: readonly boolean[],
    share?: LossShare,
  ): Promise<LossGradients> {
    requireTowers(representations);
    requireWeight('weight', weight);
    const { offsets: given, ...others } = options;
    const offsets = offsetsOf(given, representations.length);
    const rows = offsets.map((of, tower) =>
      of === null ? (representations[tower]!.shape[0] ?? 0) : of.length - 1,
    );
    const sizes = { queries: rows[0] ?? 0, documents: rows.length - 1, rows };
    const all: LossSettings = {
      ...this.#parts.interaction,
      ...this.#parts.settings(others, sizes),
      loss: this.#parts.name,
      weight,
      towers: offsets.map((of): LossSettings => (of === null ? {} : { offsets: of })),
    };
    const teacher = this.#taught(representations, others, sizes);
    try {
      const handles = [...representations, ...teacher].map(({ handle }) => handle);
      const { loss, gradients } = await guardedAsync(() =>
        native().loss('multi_vector', handles, all, share?.group, share?.phase),
      );
      const tensors = gradients.map((gradient) => gradient && new Tensor(gradient));
      try {
        requireFinite(loss, representations[0]?.dtype);
      } catch (error) {
        for (const tensor of tensors) tensor?.dispose();
        throw error;
      }
      return { loss, gradients: tensors };
    } finally {
      for (const tensor of teacher) tensor.dispose();
    }
  }

  #taught([first]: readonly Tensor[], options: LossOptions, sizes: Sizes): Tensor[] {
    const { teacher } = this.#parts;
    if (teacher === undefined || first === undefined) return [];
    const labels = teacher.labels(options.labels, sizes);
    return [
      tidy(() =>
        noGrad(() => {
          const numbers = labels.like(first);
          return teacher.numbers?.(numbers, sizes) ?? numbers;
        }),
      ),
    ];
  }
}

/** @throws GradCacheError `INPUT` unless it has an entry for each tower, or is absent */
function offsetsOf(offsets: unknown, towers: number): readonly (Int32Array | null)[] {
  if (offsets === undefined) return Array.from({ length: towers }, () => null);
  const good =
    Array.isArray(offsets) &&
    offsets.length === towers &&
    offsets.every((of) => of === null || (types.isInt32Array(of) && of.length > 0));
  if (good) return offsets as (Int32Array | null)[];
  throw refused('offsets', offsets, `a list of ${towers} entries, an Int32Array or null for each tower,`);
}

/** Options of every loss of late interaction in a configuration. */
export interface InteractionSettings {
  /** Default 'maxsim'. */
  readonly similarity: Interaction;
  /** For 'xtr': tokens found for each token of a query. Default 256. */
  readonly topK: number | null;
}

/** The table of {@link InteractionSettings}. */
export const INTERACTION_SETTINGS = {
  similarity: {
    kind: 'choice',
    accepted: INTERACTIONS,
    default: 'maxsim',
    flag: 'similarity',
    help: 'how the products of tokens make a score',
  },
  topK: {
    kind: 'number',
    from: 1,
    whole: true,
    default: null,
    help: 'for xtr: tokens found for each token of a query; default 256',
  },
} as const satisfies SettingTable<InteractionSettings>;

/** The options that settings stand for. */
export function interactionOptions({ similarity, topK }: InteractionSettings): InteractionOptions {
  return topK === null ? { similarity } : { similarity, topK };
}

/** @throws GradCacheError `INPUT` for a `topK` of a score that has none */
export function checkInteraction({ similarity, topK }: InteractionSettings, fields: Fields): void {
  if (topK !== null && similarity !== 'xtr')
    throw refuse(fields.at('topK'), topK, "the similarity 'xtr', which alone has it,");
}

/** The similarity that evaluation uses. XTR, which depends on the other documents of a batch, is trained for MaxSim. */
export function evaluatedBy({ similarity }: InteractionSettings): TokenSimilarity {
  return similarity === 'meanmaxsim' ? similarity : 'maxsim';
}
