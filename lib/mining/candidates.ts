import { throwIfAborted } from '../options/abort.js';
import type { Tensor } from '../tensor/tensor.js';
import { encodeTexts, type EncodesTexts } from '../evaluation/encode-texts.js';
import type { Ranking } from '../evaluation/exact-search.js';
import { search } from '../evaluation/search.js';
import type { ReadMiningOptions } from './options.js';
import { PairScores } from '../evaluation/pair-scores.js';
import type { PairSet } from './pair-set.js';

/** Documents near each anchor, and the scores of the positives. */
export interface Candidates {
  /** Of each anchor the best documents, its positives among them. */
  readonly ranking: Ranking;
  /** For each anchor and positive, in the order of the pair set. */
  readonly positives: Float64Array;
}

/**
 * Searches all documents for each anchor. The representations of the anchors are in memory together, those of the documents
 * a block at a time. Each different text is encoded once.
 *
 * @param k documents to list for an anchor
 */
export async function findCandidates(
  encoder: EncodesTexts,
  set: PairSet,
  k: number,
  options: ReadMiningOptions,
): Promise<Candidates> {
  const { prompts, similarity, block, signal, onProgress } = options;
  const total = set.anchors.length + set.documents.length;
  onProgress?.(0, total, 'texts');
  const anchors = await encodeTexts(encoder, set.anchors, { prompt: prompts.query, signal }, 'query');
  const positives = positivePairs(set);
  try {
    const ranking = await (encoder.search ?? search)(anchors, blocks(), {
      k: Math.min(k, set.documents.length),
      similarity,
    });
    return { ranking, positives: positives.scores };
  } finally {
    anchors.dispose();
  }

  async function* blocks(): AsyncIterable<Tensor> {
    for (let begin = 0; begin < set.documents.length; begin += block) {
      throwIfAborted(signal);
      onProgress?.(set.anchors.length + begin, total, 'texts');
      const texts = set.documents.slice(begin, begin + block);
      const rows = await encodeTexts(encoder, texts, { prompt: prompts.document, signal }, 'document');
      try {
        await positives.add(anchors, rows, begin, similarity);
      } catch (error) {
        rows.dispose();
        throw error;
      }
      yield rows;
    }
    onProgress?.(total, total, 'texts');
  }
}

/** Each anchor with each of its positives. */
export function positivePairs({ positives }: PairSet): PairScores {
  return new PairScores(
    Int32Array.from(positives.flatMap((numbers, anchor) => numbers.map(() => anchor))),
    Int32Array.from(positives.flat()),
  );
}
