import { setImmediate } from 'node:timers/promises';
import { Random } from '../data/random.js';
import { GradCacheError } from '../errors.js';
import { throwIfAborted } from '../options/abort.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireCount, requireSignal } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { noGrad } from '../tensor/autograd.js';
import { call } from '../tensor/operators.js';
import { takeRows } from '../tensor/rows.js';
import { tidy } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** How {@link kMeans} looks for clusters. */
export interface KMeansOptions {
  /** Seed of the initial centres. Default 0. */
  readonly seed?: number;
  /** How often it begins anew, with other centres; the best result counts. Default 10. */
  readonly tries?: number;
  /** The most rounds of a try; it ends earlier when no row changes its cluster. Default 300. */
  readonly rounds?: number;
  /** Ends the work between two iterations. */
  readonly signal?: AbortSignal | undefined;
}

/** Clusters of rows. */
export interface Clusters {
  /** [clusters, dimension], which the caller disposes. */
  readonly centres: Tensor;
  /** The cluster of each row. */
  readonly labels: Int32Array;
  /** The sum of the rows' squared distances to their centres. */
  readonly inertia: number;
}

/**
 * k-means clustering (Lloyd 1982) by Euclidean distance, with initial centres that lie far apart (k-means++, Arthur and
 * Vassilvitskii 2007). A cluster that loses its last row begins anew at the row farthest from its centre.
 *
 * @param rows [rows, dimension], float32 or float64
 * @throws GradCacheError `INPUT`, `SHAPE` for fewer rows than clusters, `NON_FINITE`, `ABORTED`
 * @example
 * ```ts
 * const { labels, centres } = await kMeans(await model.encode(texts), 8, { seed: 1 });
 * console.log(labels[0], centres.shape); // the cluster of the first text; [8, model.dimension]
 * ```
 */
export async function kMeans(rows: Tensor, clusters: number, options: KMeansOptions = {}): Promise<Clusters> {
  checkKnown('kMeans', options, ['seed', 'tries', 'rounds', 'signal']);
  if (!(rows instanceof Tensor)) throw refused('rows', rows, 'a Tensor [rows, dimension]');
  const { seed = 0, tries = 10, rounds = 300, signal } = options;
  requireCount('clusters', clusters, 1);
  requireCount('tries', tries, 1);
  requireCount('rounds', rounds, 1);
  requireSeed(seed);
  requireSignal('signal', signal);
  const { shape } = rows;
  if (shape.length !== 2 || shape[0]! < clusters)
    throw new GradCacheError(
      'SHAPE',
      `${clusters} clusters of rows of shape [${shape.join()}]: as many rows, [rows, dimension], are needed`,
    );
  let best: Clusters | null = null;
  for (let round = 0; round < tries; round++) {
    const found = await oneTry(rows, clusters, new Random(seed, round), { rounds, signal });
    const better = best === null || found.inertia < best.inertia;
    (better ? best : found)?.centres.dispose();
    if (better) best = found;
  }
  return best!;
}

async function oneTry(
  rows: Tensor,
  clusters: number,
  random: Random,
  { rounds, signal }: { rounds: number; signal: AbortSignal | undefined },
): Promise<Clusters> {
  let centres = firstCentres(rows, clusters, random);
  let labels: Int32Array = new Int32Array();
  let inertia = Infinity;
  try {
    for (let round = 0; round < rounds; round++) {
      await setImmediate();
      throwIfAborted(signal);
      const now = assign(rows, centres);
      const same = now.labels.every((label, row) => label === labels[row]);
      ({ labels, inertia } = now);
      if (same && round > 0) break;
      const next = means(rows, centres, now);
      centres.dispose();
      centres = next;
    }
    return { centres, labels, inertia };
  } catch (error) {
    centres.dispose();
    throw error;
  }
}

/** Each further centre is a row, drawn by its squared distance to the nearest centre so far. */
function firstCentres(rows: Tensor, clusters: number, random: Random): Tensor {
  const count = rows.shape[0]!;
  const chosen = [random.below(count)];
  const nearest = new Float64Array(count).fill(Infinity);
  while (chosen.length < clusters) {
    const newest = rowsAt(rows, chosen.slice(-1));
    const { distances } = assign(rows, newest);
    newest.dispose();
    let sum = 0;
    for (const [row, distance] of distances.entries()) {
      nearest[row] = Math.min(nearest[row]!, distance);
      sum += nearest[row];
    }
    let left = random.uniform() * sum;
    let next = nearest.findIndex((distance) => (left -= distance) < 0);
    if (next < 0) next = random.below(count); // all rows are the same as centres
    chosen.push(next);
  }
  return rowsAt(rows, chosen);
}

const rowsAt = (rows: Tensor, places: readonly number[]): Tensor => takeRows(rows, Int32Array.from(places));

interface Assigned {
  readonly labels: Int32Array;
  readonly distances: Float64Array;
  readonly inertia: number;
}

/** @throws GradCacheError `NON_FINITE` */
function assign(rows: Tensor, centres: Tensor): Assigned {
  const found = tidy(() =>
    noGrad(() => {
      const squares = rows.mul(rows).sum(1).reshape([-1, 1]);
      const all = squares.add(centres.mul(centres).sum(1)).sub(rows.matmul(centres.t()).mul(2));
      const [values, places] = call<[Tensor, Tensor]>('aten::min.dim', all, 1);
      return {
        distances: Float64Array.from(values.valuesSync() as Float64Array, (value) => Math.max(0, value)),
        labels: Int32Array.from(places.valuesSync() as unknown as ArrayLike<bigint>, Number),
      };
    }),
  );
  const inertia = found.distances.reduce((sum, distance) => sum + distance, 0);
  if (!Number.isFinite(inertia)) throw new GradCacheError('NON_FINITE', 'rows of kMeans are not finite');
  return { ...found, inertia };
}

/** The means of each cluster's rows. */
function means(rows: Tensor, centres: Tensor, { labels, distances }: Assigned): Tensor {
  const clusters = centres.shape[0]!;
  const counts = new Float64Array(clusters);
  for (const label of labels) counts[label]!++;
  const moved = Int32Array.from(labels);
  let farthest: number[] | undefined; // sorted only for a cluster without rows, which is rare
  for (let cluster = 0; cluster < clusters; cluster++) {
    if (counts[cluster] !== 0) continue;
    farthest ??= [...distances.keys()].sort((a, b) => distances[b]! - distances[a]!);
    const row = farthest.find((each) => counts[moved[each]!]! > 1)!;
    counts[moved[row]!]!--;
    counts[cluster] = 1;
    moved[row] = cluster;
  }
  return tidy(() =>
    noGrad(() => {
      const index = Tensor.from([...moved], { dtype: 'int64' }).to({ device: rows.device });
      const sums = call<Tensor>('aten::index_add', centres.mul(0), 0, index, rows);
      const divisors = Tensor.from(counts, { shape: [clusters, 1] });
      return sums.div(divisors.to({ device: rows.device, dtype: rows.dtype }));
    }),
  );
}
