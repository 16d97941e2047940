import { PICTURE_SETTINGS } from '../data/setting-names.js';
import { retrievalPairs } from '../evaluation/tasks.js';
import { flattenBothWays, rankBothWays } from '../images/image-text-retrieval.js';
import { SIMILARITIES } from '../options/similarity.js';
import { BEIR_FLAGS, refuseFlags, requireColumns, RETRIEVAL_FLAGS, TASK_FLAGS } from './evaluate-flags.js';
import { type Arguments, type Flags, UsageError } from './flags.js';
import { unlessAborted } from './interrupt.js';
import { measuresOf, type How, type Measured } from './measured.js';
import { openImageText, picturesBeside } from './picture-model.js';
import { howToRead } from './table-flags.js';
import { WINDOW_FLAGS } from './window-flags.js';

/** The column of captions where none is named. */
const CAPTIONS = 'caption';

/** Retrieval in both directions, between a column of pictures and one of captions. */
export async function measurePictures(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const {
    'recall-at': _,
    measures: __,
    images: ___,
    ...others
  } = { ...RETRIEVAL_FLAGS, ...BEIR_FLAGS } as Flags;
  refuseFlags(
    args,
    [...Object.keys(others), 'dimensions', ...WINDOW_FLAGS],
    'is for retrieval of texts, not beside --images',
  );
  const { measures, recallAt } = measuresOf(args);
  const similarity = args.oneOf('similarity', SIMILARITIES) ?? 'cosine';
  const data = args.required('data', TASK_FLAGS.data);
  requireColumns(args, 2, 'two columns, of pictures and captions,');
  const images = args.required('images', RETRIEVAL_FLAGS.images);
  const columns = args.list('columns') ?? [images, CAPTIONS];
  if (columns[0] === columns[1])
    throw new UsageError(
      `--images is ${CAPTIONS}, the column of captions where --columns is not given: name the column that has the paths of pictures, or ` +
        'both (--columns).',
    );
  if (!columns.includes(images))
    throw new UsageError(`--images is ${images}, and --columns is ${columns.join(',')}, without it.`);
  const pair = columns[0] === images ? columns : [columns[1]!, columns[0]!];
  const how = { columns: pair, ...howToRead(args, data, 'format') };
  const read = await unlessAborted(retrievalPairs(data, how, PICTURE_SETTINGS), signal);
  const task = { ...read, queries: picturesBeside(data, read.queries) };
  const model = await openImageText(args, { progress, signal, ranks });
  try {
    const { scores } = await rankBothWays(model, task, { similarity, recallAt, measures, signal }, ranks);
    const counts = { pictures: task.queries.length, captions: task.documents.length };
    return { counts, scores: flattenBothWays(scores) };
  } finally {
    model.dispose();
  }
}
