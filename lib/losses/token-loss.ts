import { types } from 'node:util';
import { guardedAsync, native, type LossSettings } from '../addon/native.js';
import { GradCacheError } from '../errors.js';
import { refused, requireCount, requireNumber, requireOneOf } from '../options/option-values.js';
import { untracked } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import {
  requireFinite,
  requireTowers,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';

/** How a query's tokens and a document's become a score. */
export const INTERACTIONS = ['maxsim', 'meanmaxsim', 'xtr'] as const;

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
  readonly similarity?: (typeof INTERACTIONS)[number];
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
  /** The numbers of a teacher for each query, for a loss that learns from one. @throws GradCacheError */
  readonly teacher?: (options: LossOptions, sizes: Sizes) => readonly (readonly number[])[];
}

/** How many queries a batch has, and how many documents each of them has of its own. */
export interface Sizes {
  readonly queries: number;
  readonly documents: number;
}

/**
 * A loss of late interaction. Its towers are queries, then documents, with a representation for each token. Native code
 * computes scores and gradients in tiles, so that no tensor of all tokens with all tokens exists.
 */
export class TokenLoss implements LossWithGradients {
  readonly packed = true;
  readonly #parts: TokenLossParts;

  constructor(parts: TokenLossParts) {
    this.#parts = parts;
  }

  parameters(): Parameter[] {
    return [];
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
  ): Promise<LossGradients> {
    requireTowers(representations);
    requireNumber('weight', weight);
    const { offsets: given, ...others } = options;
    const offsets = offsetsOf(given, representations.length);
    const { name, interaction, settings, teacher: teach } = this.#parts;
    const sizes = {
      queries: offsets[0] ? offsets[0].length - 1 : (representations[0]?.shape[0] ?? 0),
      documents: representations.length - 1,
    };
    const all: LossSettings = {
      ...interaction,
      ...settings(others, sizes),
      loss: name,
      weight,
      towers: offsets.map((of): LossSettings => (of === null ? {} : { offsets: of })),
    };
    const teacher = teach === undefined ? [] : [matrix(teach(others, sizes))];
    try {
      const handles = [...representations, ...teacher].map(({ handle }) => handle);
      const { loss, gradients } = await guardedAsync(() => native().loss('multi_vector', handles, all));
      const tensors = gradients.map((gradient) => new Tensor(gradient));
      try {
        requireFinite(loss);
      } catch (error) {
        for (const tensor of tensors) tensor.dispose();
        throw error;
      }
      return { loss, gradients: tensors };
    } finally {
      for (const tensor of teacher) tensor.dispose();
    }
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

function matrix(rows: readonly (readonly number[])[]): Tensor {
  const shape = [rows.length, rows[0]?.length ?? 0];
  return untracked(() => Tensor.from(Float64Array.from(rows.flat()), { shape }));
}

/**
 * The keyword argument `labels`: what a teacher says of each query, a list of numbers, or one number.
 *
 * @param accepted how many numbers a query may have, and what they are
 * @throws GradCacheError `INPUT`, `SHAPE`
 */
export function taughtOf(
  { labels }: LossOptions,
  queries: number,
  accepted: ReadonlyMap<number, string>,
): (readonly number[])[] {
  const needed = [...accepted].map(([count, what]) => `${what} (${count})`).join(' or ');
  if (!Array.isArray(labels)) throw refused('labels', labels, `a list with ${needed} for each query`);
  if (labels.length !== queries)
    throw new GradCacheError(
      'SHAPE',
      `There are ${labels.length} labels for ${queries} queries; ${needed} for each is needed.`,
    );
  const rows = labels.map((label: unknown): readonly unknown[] => numbersOf(label));
  for (const [row, numbers] of rows.entries()) {
    const wrong = numbers.findIndex((number) => typeof number !== 'number' || !Number.isFinite(number));
    if (wrong >= 0) throw refused(`labels[${row}]`, labels[row], 'finite numbers');
    if (!accepted.has(numbers.length) || numbers.length !== rows[0]!.length)
      throw new GradCacheError(
        'SHAPE',
        `labels[${row}] has ${numbers.length} numbers; ${needed} for each query, as many for each, are needed.`,
      );
  }
  return rows as (readonly number[])[];
}

function numbersOf(label: unknown): readonly unknown[] {
  if (Array.isArray(label)) return label;
  if (types.isFloat32Array(label) || types.isFloat64Array(label)) return Array.from(label);
  return [label];
}
