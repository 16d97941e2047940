import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import type { Tensor, Parameter } from '../tensor/tensor.js';
import type { TextColumns } from './loss-kind.js';
import {
  requireCheckable,
  requireTowers,
  withGradients,
  type LossFunction,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';

/** What defines a loss that is a few operators of whole representations. */
export interface TensorLossParts<Labels> {
  /** The function that makes it, for messages. */
  readonly name: string;
  /** How many towers it takes, all with as many rows. */
  readonly towers: Pick<TextColumns, 'least' | 'most' | 'needed'>;
  /**
   * Reads the keyword argument `labels`. Absent: there is none.
   *
   * @param length of a representation, where it is known
   * @throws GradCacheError `INPUT`, `SHAPE`
   */
  readonly labels?: (given: unknown, rows: number, towers: number, length?: number) => Labels;
  /** The loss, a scalar in the graph of the towers. */
  readonly loss: (towers: readonly Tensor[], labels: Labels) => Tensor;
  readonly parameters?: readonly Parameter[];
  /** Refuses representations of a length that does not fit. Default: all do. @throws GradCacheError `SHAPE` */
  readonly checkLength?: (length: number) => void;
  /** See {@link LossWithGradients.sparse}. */
  readonly sparse?: 'columns';
  /** See {@link LossWithGradients.sharing}: `'rows'` for a mean over rows. */
  readonly sharing?: 'rows' | undefined;
}

/** A loss of rows that belong together, one of each tower. Autograd computes its gradient. */
export function tensorLoss<Labels>(parts: TensorLossParts<Labels>): LossWithGradients {
  return new TensorLoss(parts);
}

class TensorLoss<Labels> implements LossWithGradients {
  readonly #parts: TensorLossParts<Labels>;
  readonly sparse: 'columns' | undefined;
  readonly sharing: 'rows' | undefined;

  constructor(parts: TensorLossParts<Labels>) {
    this.#parts = parts;
    this.sparse = parts.sparse;
    this.sharing = parts.sharing;
  }

  parameters(): Parameter[] {
    return [...(this.#parts.parameters ?? [])];
  }

  checkLengths(lengths: readonly (number | undefined)[]): void {
    for (const length of lengths) if (length !== undefined) this.#parts.checkLength?.(length);
  }

  checkOptions(
    options: LossOptions,
    rows: readonly number[],
    lengths: readonly (number | undefined)[] = [],
  ): void {
    requireCheckable(options, rows);
    this.#read(options, rows, lengths[0]);
  }

  async value(representations: readonly Tensor[], options: LossOptions): Promise<number> {
    return this.#of(representations, options).value!(representations, {});
  }

  async compute(
    representations: readonly Tensor[],
    weight: number,
    options: LossOptions,
    trained?: readonly boolean[],
  ): Promise<LossGradients> {
    return this.#of(representations, options).compute(representations, weight, {}, trained);
  }

  /** The loss with these keyword arguments. */
  #of(representations: readonly Tensor[], options: LossOptions): LossWithGradients {
    requireTowers(representations);
    const labels = this.#read(
      options,
      representations.map(({ shape }) => shape[0] ?? 0),
    );
    requireAlike(this.#parts.name, representations);
    const loss = (...given: unknown[]): Tensor => this.#parts.loss(given.slice(0, -1) as Tensor[], labels);
    return withGradients(loss as LossFunction);
  }

  #read(options: LossOptions, rows: readonly number[], length?: number): Labels {
    const { name, towers, labels } = this.#parts;
    checkKnown(`the loss of ${name}`, options, labels === undefined ? [] : ['labels']);
    requireRowsOf(name, towers, rows);
    return labels?.(options.labels, rows[0]!, rows.length, length) as Labels;
  }
}

/** @throws GradCacheError `SHAPE` for another number of towers, or of rows */
export function requireRowsOf(
  loss: string,
  { least, most = Infinity, needed }: TensorLossParts<never>['towers'],
  rows: readonly number[],
): void {
  if (rows.length < least || rows.length > most)
    throw new GradCacheError(
      'SHAPE',
      `The loss ${loss} is given ${rows.length} towers; ${needed} are needed.`,
    );
  if (rows.some((count) => count !== rows[0]) || rows[0] === 0)
    throw new GradCacheError(
      'SHAPE',
      `The loss ${loss} is given towers of ${rows.join(', ')} rows; as many in each are needed, at least one.`,
    );
}

/** @param names what the rows of the first two towers are @throws GradCacheError `SHAPE` unless as many are in both */
export function requirePairs(
  loss: string,
  names: readonly [string, string],
  [first, second]: readonly number[],
): void {
  if (first !== undefined && first === second && first > 0) return;
  throw new GradCacheError(
    'SHAPE',
    `The loss ${loss} is given ${first ?? 'no'} ${names[0]} and ${second ?? 'no'} ${names[1]}; as many of both are needed.`,
  );
}

/** @throws GradCacheError `SHAPE`, `DTYPE`, `DEVICE` unless all towers are [rows, dimension] of one kind */
function requireAlike(loss: string, towers: readonly Tensor[]): void {
  const [first] = towers as [Tensor];
  for (const tower of towers) {
    for (const [code, was, is] of [
      ['SHAPE', `[${first.shape.join()}]`, `[${tower.shape.join()}]`],
      ['DTYPE', first.dtype, tower.dtype],
      ['DEVICE', first.device, tower.device],
    ] as const)
      if (was !== is)
        throw new GradCacheError(
          code,
          `The loss ${loss} is given towers of ${was} and ${is}; one for all is needed.`,
        );
  }
  if (first.shape.length !== 2)
    throw new GradCacheError(
      'SHAPE',
      `The loss ${loss} is given towers [${first.shape.join()}], expected [rows, dimension].`,
    );
}
