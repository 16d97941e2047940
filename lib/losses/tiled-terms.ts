import { backward, withGrad } from '../tensor/autograd.js';
import { tidy } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** Terms of a loss: their sum, a scalar in the graph, and by how many the sum over all tiles is divided. */
export interface Terms {
  readonly sum: Tensor;
  readonly count: number | Tensor;
}

/** Numbers of a matrix that a tile holds at once. */
export const TILE = 2 ** 20;

/**
 * The sums of the terms of all tiles. The graph of one tile is there at a time: its gradients are added to those of the leaves
 * that it begins at, before the next tile is computed.
 *
 * @param terms of a tile
 * @param wanted whether gradients are
 */
export async function sumOfTiles<Tile>(
  tiles: Iterable<Tile>,
  terms: (tile: Tile) => Terms,
  wanted: boolean,
): Promise<{ sum: number; count: number }> {
  let [sum, count] = [0, 0];
  for (const tile of tiles) {
    let known = 0;
    const made = tidy(() => {
      const { sum, count } = withGrad(() => terms(tile));
      if (typeof count === 'number') known = count;
      return typeof count === 'number' ? [sum] : [sum, count];
    });
    try {
      const [part, counted] = await Promise.all(made.map(async (each) => Number((await each.values())[0])));
      sum += part!;
      count += counted ?? known;
      if (wanted) await backward([made[0]!], [null]);
    } finally {
      for (const tensor of made) tensor.dispose();
    }
  }
  return { sum, count };
}
