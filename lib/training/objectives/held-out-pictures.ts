import type { Row } from '../../data/row.js';
import type { Ranks } from '../../distributed/ranks.js';
import { GradCacheError } from '../../errors.js';
import { hardestQueries } from '../../evaluation/hardest.js';
import type { RetrievalTask } from '../../evaluation/retrieval-task.js';
import { retrievalPairs } from '../../evaluation/tasks.js';
import type { ImageTextTowers } from '../../images/image-text-towers.js';
import { flattenBothWays, namesOfBothWays, rankBothWays } from '../../images/image-text-retrieval.js';
import { pictureFaults } from '../../images/picture.js';
import { similarityOf } from '../../losses/loss-kinds.js';
import { OWN_LOSS } from '../../losses/own-loss.js';
import { refuse } from '../../options/fields.js';
import type { Similarity } from '../../options/similarity.js';
import { settingNamesOf, type NamedSet } from '../held-out-sets.js';
import { folderOfHeldOut } from '../picture-paths.js';
import type { FilledTrainConfig } from '../read-config.js';
import type { Measured } from './objective.js';
import { PictureBatches, type OnBadPicture } from './picture-batches.js';

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
  }: { model: ImageTextTowers; ranks: Ranks | null; onBad: OnBadPicture; signal: AbortSignal | undefined },
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
  const folder = folderOfHeldOut(data);
  const inPlace = { ...read, queries: read.queries.map((path) => PictureBatches.file(folder, path)) };
  const task = onBadLine === 'skip' ? await withoutBad(inPlace, { onBad, signal, data }) : inPlace;
  const trained = loss.kind === OWN_LOSS ? 'cosine' : similarityOf(loss);
  const similarity = (set.similarity ?? trained) as Similarity;
  return {
    names: namesOfBothWays(measures),
    measure: async (signal) => {
      const { scores, ranking } = await rankBothWays(model, task, { similarity, measures, signal }, ranks);
      return { scores: flattenBothWays(scores), hardest: hardestQueries(task, ranking) };
    },
  };
}

/** A run that passes over bad pictures, and the file that it looks at. */
interface Passing {
  readonly onBad: OnBadPicture;
  readonly signal: AbortSignal | undefined;
  readonly data: string;
}

/**
 * The rows whose picture can be decoded: a batch at the end may have few rows.
 *
 * @param column that of the paths, which begin in `folder`
 * @throws GradCacheError `INPUT` where there are none
 */
export async function decodable(
  rows: readonly Row[],
  column: string,
  { folder, ...passing }: Passing & { readonly folder: string },
): Promise<readonly Row[]> {
  const paths = rows.map((row) => PictureBatches.file(folder, row[column]!));
  const bad = await badAmong(paths, passing);
  return rows.filter((_, place) => !bad.has(place));
}

async function badAmong(
  paths: readonly string[],
  { onBad, signal, data }: Passing,
): Promise<ReadonlySet<number>> {
  const bad = new Set<number>();
  for await (const { place, path, message } of pictureFaults(paths, signal)) {
    bad.add(place);
    onBad(path, message);
  }
  if (bad.size === paths.length)
    throw new GradCacheError('INPUT', `${data}: none of its ${paths.length} pictures can be decoded.`);
  return bad;
}

/** A task without the pictures that cannot be decoded, and without captions of these alone. */
async function withoutBad(
  { queries, documents, relevant }: RetrievalTask,
  passing: Passing,
): Promise<RetrievalTask> {
  const bad = await badAmong(queries, passing);
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
