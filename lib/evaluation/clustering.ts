import type { Prompt } from '../encoders/prompts.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireCount, requireNumber, requireSignal, requireTexts } from '../options/option-values.js';
import { requireSeed } from '../options/seeds.js';
import { clusteringAccuracy, normalizedMutualInformation } from './cluster-agreement.js';
import { encodeTexts, type EncodesTexts } from './encode-texts.js';
import { kMeans } from './k-means.js';
import { requireEncoder } from './retrieval-checks.js';

/** Texts and the class of each. */
export interface ClusteringTask {
  /** The texts. */
  readonly texts: readonly string[];
  /** The label of each text. */
  readonly labels: readonly string[];
}

/** How well clusters of representations agree with classes. */
export interface ClusteringScores {
  /** Texts that were measured. */
  readonly texts: number;
  /** How many clusters were made. */
  readonly clusters: number;
  /** By the best assignment of clusters to classes. */
  readonly accuracy: number;
  /** Normalized mutual information. */
  readonly nmi: number;
}

/** Settings of {@link evaluateClustering}. */
export interface ClusteringOptions {
  /** Default: as many as there are classes. */
  readonly clusters?: number | undefined;
  /** Seed of the initial centres. Default 0. */
  readonly seed?: number | undefined;
  /** What is put before every text: the name of a prompt of the model, `''` for nothing, or words. Default: the model's. */
  readonly prompt?: Prompt | undefined;
  /** How many numbers of each representation to compare, from the first on. Default: all. */
  readonly dimensions?: number | undefined;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Clusters the representations of texts by {@link kMeans}, as they are, and compares the clusters with the classes.
 *
 * @throws GradCacheError `SHAPE` for lists of different lengths, `INPUT`, `NON_FINITE`, `ABORTED`
 * @example
 * ```ts
 * const { accuracy, nmi } = await evaluateClustering(model, await readClustering('labelled.csv'));
 * ```
 */
export async function evaluateClustering(
  encoder: EncodesTexts,
  task: ClusteringTask,
  options: ClusteringOptions = {},
): Promise<ClusteringScores> {
  checkKnown('evaluateClustering', options, ['clusters', 'seed', 'prompt', 'dimensions', 'signal']);
  requireEncoder(encoder);
  const { texts, labels } = task ?? {};
  requireTexts('texts', texts);
  requireTexts('labels', labels);
  if (texts.length !== labels.length || texts.length < 2)
    throw new GradCacheError(
      'SHAPE',
      `There are ${texts.length} texts and ${labels.length} labels; as many of each, at least 2, are needed.`,
    );
  const { clusters = new Set(labels).size, seed = 0, prompt, dimensions, signal } = options;
  requireNumber('clusters', clusters, { from: 1, to: texts.length, whole: true });
  requireSeed(seed);
  if (dimensions !== undefined) requireCount('dimensions', dimensions, 1);
  requireSignal('signal', signal);
  const rows = await encodeTexts(encoder, texts, { prompt, dimensions, ...(signal && { signal }) });
  try {
    const found = await kMeans(rows, clusters, { seed, signal });
    found.centres.dispose();
    return {
      texts: texts.length,
      clusters,
      accuracy: clusteringAccuracy(found.labels, labels),
      nmi: normalizedMutualInformation(found.labels, labels),
    };
  } finally {
    rows.dispose();
  }
}
