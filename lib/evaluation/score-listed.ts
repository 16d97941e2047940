import { throwIfAborted } from '../options/abort.js';
import type { Similarity } from '../options/similarity.js';
import { encodeTexts, type EncodesTexts } from './encode-texts.js';
import { PairScores } from './pair-scores.js';
import type { TaskPrompts } from './task-prompts.js';

/** How texts of pairs are encoded and compared. */
export interface PairEncoding {
  readonly prompts: Partial<TaskPrompts>;
  readonly dimensions?: number | undefined;
  readonly similarity: Similarity;
  /** Documents encoded at a time; bounds memory. */
  readonly block: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number, what: 'texts') => void) | undefined;
}

/** Texts, each once. */
interface Sides {
  readonly anchors: readonly string[];
  readonly documents: readonly string[];
}

/** Scores of listed pairs by the representations of an encoder. Each different text is encoded once. */
export async function scoreByEncoder(
  encoder: EncodesTexts,
  set: Sides,
  pairs: PairScores,
  options: PairEncoding,
): Promise<Float64Array> {
  const { prompts, dimensions, similarity, block, signal, onProgress } = options;
  const used = [...new Set(pairs.documents)].sort((a, b) => a - b);
  const place = new Map(used.map((document, index) => [document, index]));
  const placed = new PairScores(
    pairs.anchors,
    pairs.documents.map((document) => place.get(document)!),
  );
  const total = set.anchors.length + used.length;
  const anchors = await encodeTexts(
    encoder,
    set.anchors,
    { prompt: prompts.query, dimensions, signal },
    'query',
  );
  try {
    for (let begin = 0; begin < used.length; begin += block) {
      throwIfAborted(signal);
      onProgress?.(set.anchors.length + begin, total, 'texts');
      const texts = used.slice(begin, begin + block).map((document) => set.documents[document]!);
      const rows = await encodeTexts(
        encoder,
        texts,
        { prompt: prompts.document, dimensions, signal },
        'document',
      );
      try {
        await placed.add(anchors, rows, begin, similarity);
      } finally {
        rows.dispose();
      }
    }
    onProgress?.(total, total, 'texts');
    return placed.scores;
  } finally {
    anchors.dispose();
  }
}
