import { guardedAsync, native, type LossSettings } from '../addon/native.js';
import { refused, requireNumber, requireWeight } from '../options/option-values.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import type { LossNumber } from './loss-number.js';
import { valueByCompute } from './loss-value.js';
import { joinPlaceOptions } from './shared-options.js';
import {
  requireCheckable,
  requireFinite,
  requireTowers,
  type Length,
  type LossGradients,
  type LossOptions,
  type LossShare,
  type LossWithGradients,
} from './loss.js';

/** What defines a loss of scores between towers. */
export interface TiledLossParts {
  /** Its name in the native code: native/losses/losses.h. */
  readonly name: string;
  /** True: cosine similarity; false: dot product. */
  readonly cosine: boolean;
  /** True: it takes dense rows alone, one length of them at a time, and no ring. Default: false. */
  readonly plain?: boolean;
  /** The native settings that are numbers, learned or not: `scale` multiplies similarities, `bias` is added to them. */
  readonly numbers: Readonly<Record<string, LossNumber>> & { readonly scale: LossNumber };
  /**
   * The other native settings.
   *
   * @param options the option `loss` of `step`
   * @param anchors the number of anchors, the rows of the first tower
   * @param rows of all towers
   * @throws GradCacheError for options that do not fit
   */
  readonly settings: (options: LossOptions, anchors: number, rows: readonly number[]) => LossSettings;
}

/** A loss of scores between towers. Native code computes it and its gradients in tiles (native/losses/similarity.h). */
export class TiledLoss implements LossWithGradients {
  readonly sparse: 'rows' | undefined;
  readonly sharing = 'parts';
  readonly takesRing: boolean;
  readonly #parts: TiledLossParts;

  constructor(parts: TiledLossParts) {
    this.sparse = parts.plain === true ? undefined : 'rows';
    this.takesRing = parts.plain !== true;
    this.#parts = parts;
  }

  parameters(): Parameter[] {
    return Object.values(this.#parts.numbers).flatMap((number) => number.parameters());
  }

  checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    this.#parts.settings(options, rows[0] ?? 0, rows);
  }

  value(representations: readonly Tensor[], options: LossOptions): Promise<number> {
    requireTowers(representations);
    const none = representations.map(() => false);
    return valueByCompute(this, representations, options, none);
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return joinPlaceOptions(parts, rows);
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
    share?: LossShare,
  ): Promise<LossGradients> {
    return (await this.computeAt([], representations, weight, options, trained, share))!;
  }

  /**
   * @param lengths none: representations are compared as they are
   * @returns null for several lengths of a loss that computes one at a time, or of rows that go round
   */
  async computeAt(
    lengths: readonly Length[],
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
    share?: LossShare,
  ): Promise<LossGradients | null> {
    requireLengths(lengths);
    requireTowers(representations);
    if (trained !== undefined && !Array.isArray(trained))
      throw refused('trained', trained, 'a list of true or false for each tower');
    requireWeight('weight', weight);
    const isTrained = (tower: number) => trained === undefined || trained[tower] === true;
    const { name, cosine, numbers } = this.#parts;
    if (lengths.length > 0 && share?.rows !== undefined) return null;
    const rows = representations.map(({ shape }, tower) => rowsOfAll(share, tower) ?? shape[0] ?? 0);
    const settings: Record<string, LossSettings[string]> = {
      ...this.#parts.settings(options, rows[0] ?? 0, rows),
      cosine,
      weight,
      learned: this.parameters().length > 0,
      trained: Int32Array.from(representations, (_, tower) => (isTrained(tower) ? 1 : 0)),
    };
    if (lengths.length > 0 && this.#parts.plain === true) return null;
    if (lengths.length > 0) {
      settings['lengths'] = Int32Array.from(lengths, ({ dimension }) => dimension);
      settings['lengthWeights'] = Float64Array.from(lengths, (length) => length.weight);
    }
    for (const [key, number] of Object.entries(numbers)) settings[key] = await number.read();
    const { loss, gradients, slopes } = await guardedAsync(() =>
      native().loss(
        name,
        representations.map((tensor) => tensor.handle),
        settings,
        share?.group,
        share?.phase,
        share?.rows?.flat(),
      ),
    );
    const tensors = gradients.map((gradient) => gradient && new Tensor(gradient));
    try {
      requireFinite(loss, representations[0]?.dtype);
    } catch (error) {
      for (const tensor of tensors) tensor?.dispose();
      throw error;
    }
    for (const [key, number] of Object.entries(numbers)) number.addGradient(slopes[key] ?? 0);
    return { loss, gradients: tensors };
  }
}

/** The rows of a tower on all ranks, where each has those of its own alone. */
function rowsOfAll(share: LossShare | undefined, tower: number): number | undefined {
  return share?.rows?.reduce((sum, ofRank) => sum + (ofRank[tower] ?? 0), 0);
}

function requireLengths(lengths: unknown): asserts lengths is readonly Length[] {
  if (!Array.isArray(lengths)) throw refused('lengths', lengths, 'a list of lengths with their weights');
  for (const length of lengths as readonly unknown[]) {
    if (typeof length !== 'object' || length === null)
      throw refused('lengths', length, 'objects with dimension and weight');
    const { dimension, weight } = length as Partial<Record<keyof Length, unknown>>;
    requireNumber('dimension of a length', dimension, { from: 1, to: 2 ** 31 - 1, whole: true });
    requireWeight('weight of a length', weight);
  }
}
