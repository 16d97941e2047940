import type { Prompt } from '../encoders/prompts.js';
import { GradCacheError } from '../errors.js';
import { checkKnown } from '../options/known-options.js';
import { requireCount, requireNumber, requireSignal, requireTexts } from '../options/option-values.js';
import type { Similarity } from '../options/similarity.js';
import { DistinctTexts } from './distinct-texts.js';
import type { EncodesTexts } from './encode-texts.js';
import { PairScores } from './pair-scores.js';
import { requireEncoder } from './retrieval-checks.js';
import { scoreByEncoder } from './score-listed.js';
import { chooseSimilarity } from './similarity.js';
import { promptsFor } from './task-prompts.js';

/** Anchors, each with a text that belongs to it and one that does not. */
export interface TripletTask {
  /** The anchor of each triplet. */
  readonly anchors: readonly string[];
  /** The text that is to be nearer. */
  readonly positives: readonly string[];
  /** The text that is to be farther. */
  readonly negatives: readonly string[];
}

/** How often the positive is nearer to the anchor than the negative. */
export interface TripletScores {
  /** Triplets that were measured. */
  readonly triplets: number;
  /** The share of triplets of which the positive scores more than the negative, by more than the margin. */
  readonly accuracy: number;
}

/** Settings of {@link evaluateTriplets}. */
export interface TripletEvaluationOptions {
  /** Default: the model's, or cosine if it names none. */
  readonly similarity?: Similarity | undefined;
  /** What the positive must score more than the negative. Default: 0. */
  readonly margin?: number | undefined;
  /** What is put before anchors, and before the other texts. Default: as for queries and documents of `evaluateRetrieval`. */
  readonly prompts?:
    | {
        /** For anchors. */
        readonly query?: Prompt | undefined;
        /** For positives and negatives. */
        readonly document?: Prompt | undefined;
      }
    | undefined;
  /** How many numbers of each representation to compare, from the first on. Default: all. */
  readonly dimensions?: number | undefined;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Compares the positive and the negative of each anchor, as sentence-transformers' TripletEvaluator does. Each different text is
 * encoded once.
 *
 * @throws GradCacheError `SHAPE` for lists of different lengths or without a triplet, `INPUT` for a wrong option, `NON_FINITE`,
 * `ABORTED`
 * @example
 * ```ts
 * const { accuracy } = await evaluateTriplets(model, await readTriplets('triplets.jsonl'));
 * ```
 */
export async function evaluateTriplets(
  encoder: EncodesTexts,
  task: TripletTask,
  options: TripletEvaluationOptions = {},
): Promise<TripletScores> {
  checkKnown('evaluateTriplets', options, ['similarity', 'margin', 'prompts', 'dimensions', 'signal']);
  requireEncoder(encoder);
  const { margin = 0, prompts = {}, dimensions, signal } = options;
  requireNumber('margin', margin);
  checkKnown('prompts', prompts, ['query', 'document']);
  if (dimensions !== undefined) requireCount('dimensions', dimensions, 1);
  requireSignal('signal', signal);
  const similarity = chooseSimilarity(options.similarity, encoder);
  const { anchors, positives, negatives } = task ?? {};
  for (const [name, texts] of Object.entries({ anchors, positives, negatives })) requireTexts(name, texts);
  const count = anchors.length;
  if (positives.length !== count || negatives.length !== count || count === 0)
    throw new GradCacheError(
      'SHAPE',
      `There are ${count} anchors, ${positives.length} positives and ${negatives.length} negatives; as many of each, at least 1, are needed.`,
    );
  const [first, second] = [new DistinctTexts(), new DistinctTexts()];
  const numbers = anchors.map((text) => first.of(text));
  const others = [...positives, ...negatives].map((text) => second.of(text));
  const pairs = new PairScores(Int32Array.from([...numbers, ...numbers]), Int32Array.from(others));
  const scores = await scoreByEncoder(encoder, { anchors: first.list, documents: second.list }, pairs, {
    prompts: promptsFor(encoder, prompts),
    dimensions,
    similarity,
    block: 8192,
    signal,
  });
  const wrong = scores.findIndex((score) => !Number.isFinite(score));
  if (wrong >= 0)
    throw new GradCacheError(
      'NON_FINITE',
      `A score of triplet ${wrong % count} is ${scores[wrong]}: the model gives representations that are not finite.`,
    );
  let right = 0;
  for (let triplet = 0; triplet < count; triplet++)
    if (scores[triplet]! > scores[count + triplet]! + margin) right++;
  return { triplets: count, accuracy: right / count };
}
