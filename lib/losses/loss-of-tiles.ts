import { backward, noGrad, withGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import { Tensor, type Parameter } from '../tensor/tensor.js';
import {
  leavesOf,
  requireCheckable,
  requireFinite,
  requireTowers,
  type LossGradients,
  type LossOptions,
  type LossWithGradients,
} from './loss.js';

/** Terms of a loss: their sum, a scalar in the graph, and how many they are, by which the sum over all tiles is divided. */
export interface Terms {
  readonly sum: Tensor;
  readonly count: Tensor;
}

/** Numbers of a matrix that a tile holds at once. */
export const TILE = 2 ** 20;

/** What a tile is computed from. */
export interface LaidOut<Beside extends object> {
  /** In the graph of the tower, and not the tower itself: backward begins at it. */
  readonly compared: Tensor;
  /** Tensors without a graph, and what else tiles have in common. */
  readonly beside: Beside;
}

/** What defines a loss of one tower that compares its rows with one another. */
export interface TilesOfLoss<Read, Beside extends object, Tile> {
  /** Reads the keyword arguments. @throws GradCacheError `INPUT`, `SHAPE` */
  readonly read: (options: LossOptions, rows: readonly number[]) => Read;
  /** See {@link LossWithGradients.joinOptions}. */
  readonly joinOptions: NonNullable<LossWithGradients['joinOptions']>;
  /** Refuses representations of a length that does not fit. @throws GradCacheError `SHAPE` */
  readonly checkLength: (length: number) => void;
  readonly layOut: (tower: Tensor, read: Read) => LaidOut<Beside>;
  readonly tiles: (compared: Tensor) => Iterable<Tile>;
  readonly terms: (tile: Tile, compared: Tensor, beside: Beside) => Terms;
  /** What the sum is divided by besides the count of terms. */
  readonly divisor: number;
}

/** A loss of one tower, computed in tiles: numbers of all pairs of its rows never exist at once. */
export function lossOfTiles<Read, Beside extends object, Tile>(
  parts: TilesOfLoss<Read, Beside, Tile>,
): LossWithGradients {
  return new LossOfTiles(parts);
}

class LossOfTiles<Read, Beside extends object, Tile> implements LossWithGradients {
  readonly #parts: TilesOfLoss<Read, Beside, Tile>;

  constructor(parts: TilesOfLoss<Read, Beside, Tile>) {
    this.#parts = parts;
  }

  parameters(): Parameter[] {
    return [];
  }

  checkLengths(lengths: readonly (number | undefined)[]): void {
    for (const length of lengths) if (length !== undefined) this.#parts.checkLength(length);
  }

  checkOptions(options: LossOptions, rows: readonly number[]): void {
    requireCheckable(options, rows);
    this.#parts.read(options, rows);
  }

  joinOptions(parts: readonly LossOptions[], rows: readonly (readonly number[])[]): LossOptions {
    return this.#parts.joinOptions(parts, rows);
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
    const { read, layOut, tiles, terms, divisor: more } = this.#parts;
    const given = read(
      options,
      representations.map(({ shape }) => shape[0] ?? 0),
    );
    const wanted = trained[0] === true;
    const [tower] = leavesOf(representations, [wanted]) as [Tensor];
    const used: Tensor[] = [tower];
    try {
      const { compared, beside } = tidy(() => layOut(tower, given));
      used.push(compared, ...Object.values(beside).filter((value) => value instanceof Tensor));
      // Backward ends here for each tile, and goes on from here once for all.
      const [leaf] = leavesOf([compared], [wanted]) as [Tensor];
      used.push(leaf);
      const { sum, count } = await sumOfTiles(tiles(leaf), (tile) => terms(tile, leaf, beside), wanted);
      const divisor = Math.max(count, 1) * more;
      const loss = sum / divisor;
      requireFinite(loss);
      if (!wanted) return { loss, gradients: [null] };
      const gradient = tidy(() => noGrad(() => leaf.grad!.mul(weight / divisor)));
      used.push(gradient);
      await backward([compared], [gradient]);
      return { loss, gradients: [tower.grad] };
    } finally {
      for (const tensor of used) tensor.dispose();
    }
  }
}

/**
 * The sums of the terms of all tiles. The graph of one tile is there at a time: its gradients are added to those of the leaf
 * that it begins at, before the next tile is computed.
 */
async function sumOfTiles<Tile>(
  tiles: Iterable<Tile>,
  terms: (tile: Tile) => Terms,
  wanted: boolean,
): Promise<{ sum: number; count: number }> {
  let [sum, count] = [0, 0];
  for (const tile of tiles) {
    const made = tidy(() => withGrad(() => terms(tile)));
    try {
      const [part, counted] = await Promise.all([numberOf(made.sum), numberOf(made.count)]);
      sum += part;
      count += counted;
      if (wanted) await backward([made.sum], [null]);
    } finally {
      made.sum.dispose();
      made.count.dispose();
    }
  }
  return { sum, count };
}

const numberOf = async (scalar: Tensor): Promise<number> => Number((await scalar.values())[0]);
