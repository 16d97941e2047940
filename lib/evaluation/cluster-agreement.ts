import { munkres } from 'munkres';
import { GradCacheError } from '../errors.js';
import { refused } from '../options/option-values.js';

/** Anything that names a cluster or a class. */
type Labels = ArrayLike<number | string>;

/**
 * Clustering accuracy: the share of rows whose cluster is assigned to their class, by the assignment of clusters to classes
 * that makes it greatest (the Hungarian algorithm). A cluster has at most one class, and a class at most one cluster.
 *
 * @throws GradCacheError `INPUT`, `SHAPE` unless both are lists of one length
 * @example
 * ```ts
 * clusteringAccuracy([0, 0, 1, 1], ['b', 'b', 'a', 'a']); // 1: the clusters are the classes, by other names
 * ```
 */
export function clusteringAccuracy(clusters: Labels, classes: Labels): number {
  const { table, rows } = contingency(clusters, classes);
  const width = Math.max(table.length, table[0]!.length);
  // Square, so that clusters or classes without a partner cost nothing more than any other.
  const costs = Array.from({ length: width }, (_, row) =>
    Array.from({ length: width }, (_, column) => -(table[row]?.[column] ?? 0)),
  );
  return munkres(costs).reduce((sum, [row, column]) => sum - costs[row]![column]!, 0) / rows;
}

/**
 * Normalized mutual information of two labellings: their mutual information by the mean of their entropies. 1 if each says all
 * about the other, 0 if neither says anything.
 *
 * @throws GradCacheError `INPUT`, `SHAPE` unless both are lists of one length
 * @example
 * ```ts
 * normalizedMutualInformation([0, 0, 1, 1], ['b', 'b', 'a', 'a']); // 1
 * ```
 */
export function normalizedMutualInformation(clusters: Labels, classes: Labels): number {
  const { table, rows } = contingency(clusters, classes);
  const ofClusters = table.map((row) => row.reduce((sum, count) => sum + count, 0));
  const ofClasses = table[0]!.map((_, column) => table.reduce((sum, row) => sum + row[column]!, 0));
  const entropy = (counts: readonly number[]) =>
    -counts.reduce((sum, count) => sum + (count / rows) * Math.log(count / rows), 0);
  const mean = (entropy(ofClusters) + entropy(ofClasses)) / 2;
  if (mean === 0) return 1; // one cluster, one class
  let mutual = 0;
  for (const [row, counts] of table.entries())
    for (const [column, count] of counts.entries())
      if (count > 0)
        mutual += (count / rows) * Math.log((count * rows) / (ofClusters[row]! * ofClasses[column]!));
  return Math.max(0, mutual / mean);
}

/** How many rows each cluster and class have in common. */
function contingency(clusters: Labels, classes: Labels): { table: number[][]; rows: number } {
  for (const [name, labels] of Object.entries({ clusters, classes }))
    if (typeof (labels as unknown) !== 'object' || labels === null || !Number.isInteger(labels.length))
      throw refused(name, labels, 'a list of labels');
  const rows = clusters.length;
  if (rows !== classes.length || rows === 0)
    throw new GradCacheError(
      'SHAPE',
      `There are ${rows} clusters and ${classes.length} classes of rows; as many of each, at least 1, are needed.`,
    );
  const [first, second] = [clusters, classes].map((labels) => {
    const numbers = new Map<number | string, number>();
    for (const label of Array.from(labels)) if (!numbers.has(label)) numbers.set(label, numbers.size);
    return numbers;
  }) as [Map<number | string, number>, Map<number | string, number>];
  const table = Array.from({ length: first.size }, () => new Array<number>(second.size).fill(0));
  for (let row = 0; row < rows; row++) table[first.get(clusters[row]!)!]![second.get(classes[row]!)!]!++;
  return { table, rows };
}
