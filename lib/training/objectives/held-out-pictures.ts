import type { Ranks } from '../../distributed/ranks.js';
import { GradCacheError } from '../../errors.js';
import type { EncodesTexts } from '../../evaluation/encode-texts.js';
import { hardestQueries } from '../../evaluation/hardest.js';
import { rankAndScore } from '../../evaluation/retrieval.js';
import type { RetrievalTask } from '../../evaluation/retrieval-task.js';
import { flattenScores, retrievalNames } from '../../evaluation/scores.js';
import { sharedRows } from '../../evaluation/shared-encoder.js';
import { retrievalPairs } from '../../evaluation/tasks.js';
import type { ImageTextModel } from '../../images/image-text-model.js';
import { pictureFaults } from '../../images/picture.js';
import { similarityOf } from '../../losses/loss-kinds.js';
import { OWN_LOSS } from '../../losses/own-loss.js';
import { refuse } from '../../options/fields.js';
import type { Similarity } from '../../options/similarity.js';
import { takeRows } from '../../tensor/rows.js';
import type { Tensor } from '../../tensor/tensor.js';
import { settingNamesOf, type NamedSet } from '../held-out-sets.js';
import { folderOfPictures } from '../picture-paths.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Measured } from './objective.js';
import { PictureBatches, type OnBadPicture } from './picture-batches.js';

/** What the scores of either direction begin with: what is asked with, and what is found. */
const DIRECTIONS = ['image-to-text', 'text-to-image'] as const;

/** Held-out pictures and captions: retrieval of the captions of a picture, and of the pictures of a caption. */
export interface HeldOutPictures {
  readonly names: readonly string[];
  measure(signal: AbortSignal | undefined): Promise<Measured>;
}

/**
 * Reads a set of held-out pairs; null where the loss alone is measured of it. Where bad pictures are passed over, all are decoded once.
 *
 * @param signal ends the reading
 * @throws GradCacheError `INPUT`
 */
export async function loadHeldOutPictures(
  { name, set }: NamedSet,
  config: FilledTrainConfig,
  {
    model,
    ranks,
    onBad,
    signal,
  }: { model: ImageTextModel; ranks: Ranks | null; onBad: OnBadPicture; signal: AbortSignal | undefined },
): Promise<HeldOutPictures | null> {
  const { columns, images, loss, onBadLine } = config;
  const { data } = set;
  if (set.task === undefined || data === undefined) return null;
  const place = columns.indexOf(images!);
  if (place > 1)
    throw refuse(
      'config.images',
      images,
      `one of the first two columns for retrieval, ${columns.slice(0, 2).join(' and ')},`,
    );
  const { columns: own, format, header, quoting, delimiter, measures = [] } = set;
  const chosen = own ?? columns.slice(0, 2);
  const pair = place === 0 ? chosen : [chosen[1]!, chosen[0]!];
  const how = { columns: pair, format, header, quoting, delimiter, signal };
  const read = await retrievalPairs(data, how, settingNamesOf(name));
  const folder = folderOfPictures([data]);
  const inPlace = { ...read, queries: read.queries.map((path) => PictureBatches.file(folder, path)) };
  const task = onBadLine === 'skip' ? await withoutBad(inPlace, { onBad, signal, data }) : inPlace;
  const trained = loss.kind === OWN_LOSS ? 'cosine' : similarityOf(loss);
  const similarity = (set.similarity ?? trained) as Similarity;
  return {
    names: DIRECTIONS.flatMap((direction) => retrievalNames(measures).map((name) => `${direction}/${name}`)),
    measure: async (signal) => {
      const [pictures, captions] = await encodedSides(task, { model, ranks, signal });
      try {
        const how = { similarity, measures, ...(signal && { signal }) };
        const there = await rankAndScore(between(pictures, captions), task, how);
        const back = await rankAndScore(between(captions, pictures), reversed(task), how);
        const scores = {
          ...under(DIRECTIONS[0], flattenScores(there.scores)),
          ...under(DIRECTIONS[1], flattenScores(back.scores)),
        };
        return { scores, hardest: hardestQueries(task, there.ranking) };
      } finally {
        for (const { representations } of [pictures, captions]) representations.dispose();
      }
    },
  };
}

function under(direction: string, scores: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(scores).map(([name, score]) => [`${direction}/${name}`, score]));
}

/** The same task asked from captions. */
function reversed({ queries, documents, relevant }: RetrievalTask): RetrievalTask {
  const back = documents.map(() => new Map<number, number>());
  for (const [query, grades] of relevant.entries())
    for (const [document, grade] of grades) back[document]!.set(query, grade);
  return { queries: documents, documents: queries, relevant: back };
}

/** A task without the pictures that cannot be decoded, and without captions of these alone. */
async function withoutBad(
  { queries, documents, relevant }: RetrievalTask,
  { onBad, signal, data }: { onBad: OnBadPicture; signal: AbortSignal | undefined; data: string },
): Promise<RetrievalTask> {
  const bad = new Set<number>();
  for await (const { place, path, message } of pictureFaults(queries, signal)) {
    bad.add(place);
    onBad(path, message);
  }
  if (bad.size === queries.length)
    throw new GradCacheError('INPUT', `${data}: none of its ${queries.length} pictures can be decoded.`);
  const kept = [...queries.keys()].filter((query) => !bad.has(query));
  const used = [...new Set(kept.flatMap((query) => [...relevant[query]!.keys()]))].sort((a, b) => a - b);
  const places = new Map(used.map((document, place) => [document, place]));
  return {
    queries: kept.map((query) => queries[query]!),
    documents: used.map((document) => documents[document]!),
    relevant: kept.map(
      (query) => new Map(Array.from(relevant[query]!, ([document, grade]) => [places.get(document)!, grade])),
    ),
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
  { model, ranks, signal }: { model: ImageTextModel; ranks: Ranks | null; signal: AbortSignal | undefined },
): Promise<readonly [pictures: Encoded, captions: Encoded]> {
  const pictures = await sharedRows(queries, ranks, (own) => model.images.encode(own, { signal }));
  try {
    const captions = await sharedRows(documents, ranks, (own) => model.captions.encode(own, { signal }));
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
