import type { Ranks } from '../distributed/ranks.js';
import type { EncodesTexts } from '../evaluation/encode-texts.js';
import { rankAndScore, type RetrievalOptions, type RetrievalScores } from '../evaluation/retrieval.js';
import { checkTask } from '../evaluation/retrieval-checks.js';
import type { RetrievalTask } from '../evaluation/retrieval-task.js';
import type { Ranking } from '../evaluation/exact-search.js';
import { flattenScores, retrievalNames } from '../evaluation/scores.js';
import { sharedRows } from '../evaluation/shared-encoder.js';
import { checkKnown } from '../options/known-options.js';
import { refused, requireSignal } from '../options/option-values.js';
import type { Similarity } from '../options/similarity.js';
import { takeRows } from '../tensor/rows.js';
import type { Tensor } from '../tensor/tensor.js';
import { encodeCaptions, type ImageTextTowers } from './image-text-towers.js';

/** Settings of {@link evaluateImageText}, as of `evaluateRetrieval`. */
export interface ImageTextOptions extends Pick<RetrievalOptions, 'recallAt' | 'measures'> {
  /** What compares pictures and captions. Default: cosine. */
  readonly similarity?: Similarity | undefined;
  /** Ends the work after the current chunk. */
  readonly signal?: AbortSignal | undefined;
}

/** How well either side is found by the other. */
export interface ImageTextScores {
  /** Captions of a picture. */
  readonly imageToText: RetrievalScores;
  /** Pictures of a caption. */
  readonly textToImage: RetrievalScores;
}

/**
 * Measures retrieval between pictures and captions in both directions. Each of them is encoded once. Captions that no picture has are
 * searched, but not asked with.
 *
 * ```ts
 * const task = await readRetrievalPairs('held-out.jsonl', { columns: ['image', 'caption'] });
 * const clip = await ImageTextModel.load('clip');
 * const { imageToText, textToImage } = await evaluateImageText(clip, task);
 * console.log(imageToText.recall[1], textToImage.recall[1]);
 * ```
 *
 * @param task its queries are paths of pictures, its documents captions, as `readRetrievalPairs` makes it of a file of both
 * @throws GradCacheError as `evaluateRetrieval`; `INPUT` with the path of a picture that cannot be decoded
 */
export async function evaluateImageText(
  model: ImageTextTowers,
  task: RetrievalTask,
  options: ImageTextOptions = {},
): Promise<ImageTextScores> {
  checkKnown('evaluateImageText', options, ['recallAt', 'measures', 'similarity', 'signal']);
  requireSignal('signal', options.signal);
  checkTask(task);
  if (task.excluded !== undefined && task.excluded.size > 0)
    throw refused('excluded', task.excluded, 'none, as no caption is the same text as a picture,');
  return (await rankBothWays(model, task, options, null)).scores;
}

/** {@link evaluateImageText} over ranks, with what was found for pictures. */
export async function rankBothWays(
  model: ImageTextTowers,
  task: RetrievalTask,
  { similarity = 'cosine', recallAt, measures, signal }: ImageTextOptions,
  ranks: Ranks | null,
): Promise<{ readonly scores: ImageTextScores; readonly ranking: Ranking }> {
  const [pictures, captions] = await encodedSides(task, { model, ranks, signal });
  try {
    const how = {
      similarity,
      ...(recallAt && { recallAt }),
      ...(measures && { measures }),
      ...(signal && { signal }),
    };
    const there = await rankAndScore(between(pictures, captions), task, how);
    const back = await rankAndScore(between(captions, pictures), reversed(task), how);
    return { scores: { imageToText: there.scores, textToImage: back.scores }, ranking: there.ranking };
  } finally {
    for (const { representations } of [pictures, captions]) representations.dispose();
  }
}

/** What the scores of either direction begin with: what is asked with, and what is found. */
const WAYS = { imageToText: 'image-to-text/', textToImage: 'text-to-image/' } as const;

/** Scores of both directions as one record: `image-to-text/recall@1`, … */
export function flattenBothWays({ imageToText, textToImage }: ImageTextScores): Record<string, number> {
  return { ...named(WAYS.imageToText, imageToText), ...named(WAYS.textToImage, textToImage) };
}

/** What {@link flattenBothWays} calls the scores by default, beside further measures. */
export function namesOfBothWays(measures: readonly string[]): string[] {
  return Object.values(WAYS).flatMap((way) => retrievalNames(measures).map((name) => way + name));
}

function named(way: string, scores: RetrievalScores): Record<string, number> {
  return Object.fromEntries(
    Object.entries(flattenScores(scores)).map(([name, score]) => [way + name, score]),
  );
}

/** The same task asked from captions: from those that a picture has. */
function reversed({ queries, documents, relevant }: RetrievalTask): RetrievalTask {
  const back = documents.map(() => new Map<number, number>());
  for (const [query, grades] of relevant.entries())
    for (const [document, grade] of grades) back[document]!.set(query, grade);
  const asked = [...documents.keys()].filter((document) => back[document]!.size > 0);
  return {
    queries: asked.map((document) => documents[document]!),
    documents: queries,
    relevant: asked.map((document) => back[document]!),
  };
}

/** Representations of texts or pictures that have been encoded, as an encoder gives them. */
class Encoded {
  readonly #rows: ReadonlyMap<string, number>;

  constructor(
    list: readonly string[],
    readonly representations: Tensor,
  ) {
    this.#rows = new Map(list.map((text, row) => [text, row]));
  }

  readonly encode = async (texts: readonly string[]): Promise<Tensor> =>
    takeRows(
      this.representations,
      Int32Array.from(texts, (text) => this.#rows.get(text)!),
    );
}

/** Both sides of a task, each encoded once. */
async function encodedSides(
  { queries, documents }: RetrievalTask,
  { model, ranks, signal }: { model: ImageTextTowers; ranks: Ranks | null; signal: AbortSignal | undefined },
): Promise<readonly [pictures: Encoded, captions: Encoded]> {
  const pictures = await sharedRows(queries, ranks, (own) => model.images.encode(own, { signal }));
  try {
    const captions = await sharedRows(documents, ranks, (own) => encodeCaptions(model.captions, own, signal));
    return [new Encoded(queries, pictures), new Encoded(documents, captions)];
  } catch (error) {
    pictures.dispose();
    throw error;
  }
}

/** An encoder whose queries and documents are other things. */
function between(queries: Encoded, documents: Encoded): EncodesTexts {
  return { encode: queries.encode, encodeQuery: queries.encode, encodeDocument: documents.encode };
}
