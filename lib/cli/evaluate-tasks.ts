/*
 * How `gradcache evaluate` measures each task.
 */
import type { Ranks } from '../distributed/ranks.js';
import { evaluateRetrieval } from '../evaluation/retrieval.js';
import { readRetrievalFolder, type BeirTask } from '../evaluation/beir.js';
import { evaluateReranking, type RerankingScores } from '../evaluation/reranking.js';
import { readReranking } from '../evaluation/reranking-data.js';
import { flattenBinary, flattenScores, flattenTranslation } from '../evaluation/scores.js';
import { chooseSimilarity, chooseTokenSimilarity } from '../evaluation/similarity.js';
import { evaluateBinary } from '../evaluation/binary.js';
import { evaluateTriplets } from '../evaluation/triplets.js';
import { scoresPairs } from '../evaluation/scores-pairs.js';
import { evaluateSts } from '../evaluation/sts.js';
import { evaluateTranslation } from '../evaluation/translation.js';
import { evaluateClustering } from '../evaluation/clustering.js';
import {
  readBinary,
  readClustering,
  readRetrievalPairs,
  readSts,
  readTranslation,
  readTriplets,
  type TaskOptions,
} from '../evaluation/tasks.js';
import type { RetrievalTask } from '../evaluation/retrieval-task.js';
import type { CrossEncoder } from '../encoders/cross-encoder.js';
import { RoutedEncoder } from '../encoders/routed-encoder.js';
import {
  SIMILARITIES,
  TOKEN_SIMILARITIES,
  type Similarity,
  type TokenSimilarity,
} from '../options/similarity.js';
import type { EncodesTexts } from '../evaluation/encode-texts.js';
import { sharedEncoder, sharedScorer } from '../evaluation/shared-encoder.js';
import {
  BEIR_FLAGS,
  CLUSTERING_FLAGS,
  isBeir,
  refuseFlags,
  requireColumns,
  RETRIEVAL_FLAGS,
  TASK_FLAGS,
} from './evaluate-flags.js';
import { measurePictures } from './evaluate-pictures.js';
import { type Arguments, type Flags, UsageError } from './flags.js';
import { unlessAborted } from './interrupt.js';
import { dimensionsOf, needsRoute, openEither, openModel, type OpenedEncoder } from './model.js';
import { measuresOf, type How, type Measured } from './measured.js';
import { refusePicturePaths } from './picture-model.js';
import { promptOf } from './prompt-flags.js';
import { howToRead, TABLE_FLAGS } from './table-flags.js';
import { type ProgressLine } from './terminal.js';
import { plural } from '../options/plural.js';
import { furtherTexts } from './texts.js';
import { scorerWithWindows, windowsOf, withWindows } from './window-flags.js';

/** How each task is measured. */
export const MEASURES = {
  retrieval: measureRetrieval,
  sts: measureSts,
  triplets: measureTriplets,
  binary: measureBinary,
  clustering: measureClustering,
  translation: measureTranslation,
  reranking: measureReranking,
} as const;

async function measureReranking(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const used = ['task', 'data', 'similarity', 'query-prompt', 'query-prompt-text', ...DOCUMENT_PROMPTS];
  const others = { ...RETRIEVAL_FLAGS, ...BEIR_FLAGS, ...CLUSTERING_FLAGS, ...TASK_FLAGS };
  const unused = Object.keys(others).filter((name) => !used.includes(name));
  refuseFlags(args, unused, 'is not for --task reranking');
  const prompts = { query: promptOf(args, 'query-prompt'), document: promptOf(args, 'document-prompt') };
  const asked = args.oneOf('similarity', SIMILARITIES);
  const at = args.count('at') ?? 10;
  const task = await unlessAborted(readReranking(args.required('data', TASK_FLAGS.data), { signal }), signal);
  const model = await openEither(args, { progress, signal, ranks });
  const onProgress = (done: number, total: number) => progress.show(`${done} of ${total} pairs`);
  try {
    let scores: RerankingScores;
    if (isCrossEncoder(model)) {
      refuseFlags(
        args,
        [...OF_ENCODERS, ...DOCUMENT_PROMPTS],
        'is for a text encoder, not for a cross-encoder',
      );
      const options = { at, prompt: prompts.query(model), signal, onProgress };
      scores = await evaluateReranking(
        sharedScorer(scorerWithWindows(model, windowsOf(args)), ranks),
        task,
        options,
      );
    } else
      scores = await evaluateReranking(shared(args, model, ranks), task, {
        at,
        similarity: saySimilarity(asked, model, progress),
        prompts: { query: prompts.query(model), document: prompts.document(model) },
        dimensions: dimensionsOf(args, model),
        signal,
        onProgress,
      });
    const { queries, documents } = scores;
    return { counts: { queries, documents }, scores: flattenScores(scores) };
  } finally {
    model.dispose();
  }
}

/** Flags of what representations are compared by, and of the second texts' prompt: a cross-encoder has none of them. */
const OF_ENCODERS = ['similarity', 'dimensions'];
const DOCUMENT_PROMPTS = ['document-prompt', 'document-prompt-text'];

const isCrossEncoder = (model: OpenedEncoder | CrossEncoder): model is CrossEncoder => scoresPairs(model);

/**
 * An encoder as a task uses it: with long texts in windows, where they are asked for, and shared out over ranks.
 *
 * @throws UsageError for a model with a representation for each token, but in retrieval
 */
function shared(args: Arguments, model: OpenedEncoder, ranks: Ranks | null): EncodesTexts {
  const task = args.text('task') ?? 'retrieval';
  if (model.perToken && task !== 'retrieval')
    throw new UsageError(
      `--task ${task} takes one representation of a text, and this model has one for each token: --task retrieval measures it.`,
    );
  return sharedEncoder(withWindows(model, windowsOf(args)), ranks);
}

/** @throws UsageError for two encoders where texts are neither queries nor documents */
function requireOne(model: OpenedEncoder): void {
  if (model instanceof RoutedEncoder) throw needsRoute();
}

/** What pairs of sentences are compared by, and how. @throws UsageError for flags that a cross-encoder does not take */
function comparing(
  args: Arguments,
  model: OpenedEncoder | CrossEncoder,
  { progress, ranks }: Pick<How, 'progress' | 'ranks'>,
  asked: Similarity | undefined,
) {
  if (isCrossEncoder(model)) {
    refuseFlags(args, OF_ENCODERS, 'is for a text encoder, not for a cross-encoder');
    return { by: sharedScorer(scorerWithWindows(model, windowsOf(args)), ranks), how: {} };
  }
  requireOne(model);
  const by = shared(args, model, ranks);
  const similarity = saySimilarity(asked, model, progress);
  return { by, how: { similarity, dimensions: dimensionsOf(args, model) } };
}

async function measureClustering(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const others = Object.keys({ ...RETRIEVAL_FLAGS, ...BEIR_FLAGS });
  refuseFlags(args, [...others, 'similarity'], 'is not for --task clustering');
  const promptFor = promptOf(args, 'query-prompt');
  requireColumns(args, 2, 'two columns, text and label');
  const task = await unlessAborted(readRows(args, readClustering), signal);
  const model = await openModel(args, { progress, signal, ranks });
  try {
    requireOne(model);
    const encoder = shared(args, model, ranks);
    const { texts, clusters, ...scores } = await evaluateClustering(encoder, task, {
      clusters: args.number('clusters'),
      seed: args.number('seed'),
      prompt: promptFor(model),
      dimensions: dimensionsOf(args, model),
      signal,
    });
    return { counts: { texts, clusters }, scores };
  } finally {
    model.dispose();
  }
}

async function measureTranslation(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const others = { ...RETRIEVAL_FLAGS, ...BEIR_FLAGS, ...CLUSTERING_FLAGS };
  refuseFlags(args, Object.keys(others), 'is not for --task translation');
  const asked = args.oneOf('similarity', SIMILARITIES);
  const promptFor = promptOf(args, 'query-prompt');
  requireColumns(args, 2, 'two columns, text and translation');
  const task = await unlessAborted(readRows(args, readTranslation), signal);
  const model = await openModel(args, { progress, signal, ranks });
  try {
    requireOne(model);
    const scores = await evaluateTranslation(shared(args, model, ranks), task, {
      similarity: saySimilarity(asked, model, progress),
      prompt: promptFor(model),
      dimensions: dimensionsOf(args, model),
      signal,
    });
    return { counts: { pairs: scores.pairs }, scores: flattenTranslation(scores) };
  } finally {
    model.dispose();
  }
}

async function measureTriplets(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const {
    'document-prompt': _,
    'document-prompt-text': __,
    ...others
  } = { ...RETRIEVAL_FLAGS, ...BEIR_FLAGS } as Flags;
  refuseFlags(args, Object.keys({ ...others, ...CLUSTERING_FLAGS }), 'is not for --task triplets');
  const asked = args.oneOf('similarity', SIMILARITIES);
  const prompts = { query: promptOf(args, 'query-prompt'), document: promptOf(args, 'document-prompt') };
  requireColumns(args, 3, 'three columns, anchor, positive and negative');
  const task = await unlessAborted(readRows(args, readTriplets), signal);
  const model = await openModel(args, { progress, signal, ranks });
  try {
    const { triplets, accuracy } = await evaluateTriplets(shared(args, model, ranks), task, {
      similarity: saySimilarity(asked, model, progress),
      prompts: { query: prompts.query(model), document: prompts.document(model) },
      dimensions: dimensionsOf(args, model),
      signal,
    });
    return { counts: { triplets }, scores: { accuracy } };
  } finally {
    model.dispose();
  }
}

async function measureBinary(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const others = { ...RETRIEVAL_FLAGS, ...BEIR_FLAGS, ...CLUSTERING_FLAGS };
  refuseFlags(args, Object.keys(others), 'is not for --task binary');
  const asked = args.oneOf('similarity', SIMILARITIES);
  const promptFor = promptOf(args, 'query-prompt');
  requireColumns(args, 3, 'three columns, two sentences and a label');
  const task = await unlessAborted(readRows(args, readBinary), signal);
  const model = await openEither(args, { progress, signal, ranks });
  try {
    const { by, how } = comparing(args, model, { progress, ranks }, asked);
    const scores = await evaluateBinary(by, task, {
      ...how,
      prompt: promptFor(model),
      signal,
      onProgress: (done, total) => progress.show(`${done} of ${total} pairs`),
    });
    return { counts: { pairs: scores.pairs }, scores: flattenBinary(scores) };
  } finally {
    model.dispose();
  }
}

async function measureSts(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const others = Object.keys({ ...RETRIEVAL_FLAGS, ...BEIR_FLAGS });
  refuseFlags(args, others, 'is for retrieval, not for --task sts');
  refuseFlags(args, Object.keys(CLUSTERING_FLAGS), 'is for --task clustering');
  const asked = args.oneOf('similarity', SIMILARITIES);
  const promptFor = promptOf(args, 'query-prompt');
  requireColumns(args, 3, 'three columns, two sentences and a score');
  const task = await unlessAborted(readRows(args, readSts), signal);
  if (task.unscored !== undefined) progress.say(`left out: ${plural(task.unscored, 'row')} without a score`);
  const model = await openEither(args, { progress, signal, ranks });
  try {
    const { by, how } = comparing(args, model, { progress, ranks }, asked);
    const scores = await evaluateSts(by, task, {
      ...how,
      prompt: promptFor(model),
      signal,
      onProgress: (done, total) => progress.show(`${done} of ${total} pairs`),
    });
    return {
      counts: { pairs: scores.pairs },
      ...(task.unscored !== undefined && { leftOut: { unscored: task.unscored } }),
      scores: flattenScores(scores),
    };
  } finally {
    model.dispose();
  }
}

async function measureRetrieval(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  refuseFlags(args, Object.keys(CLUSTERING_FLAGS), 'is for --task clustering');
  if (args.text('images') !== undefined) return measurePictures(args, { progress, signal, ranks });
  const { measures, recallAt } = measuresOf(args);
  const asked = args.oneOf('similarity', [...SIMILARITIES, ...TOKEN_SIMILARITIES]);
  const prompts = { query: promptOf(args, 'query-prompt'), document: promptOf(args, 'document-prompt') };
  const task = await unlessAborted(readTask(args, signal), signal);
  const leftOut = 'counts' in task ? task.counts : undefined;
  if (leftOut !== undefined) sayLeftOut(leftOut, progress);
  const look = isBeir(args) ? undefined : (folder: string) => refusePictures(args, folder, task);
  const model = await openModel(args, { progress, signal, ranks, ...(look && { look }) });
  try {
    const scores = await evaluateRetrieval(shared(args, model, ranks), task, {
      recallAt,
      ...(measures && { measures }),
      similarity: saySimilarity(asked, model, progress),
      prompts: { query: prompts.query(model), document: prompts.document(model) },
      dimensions: dimensionsOf(args, model),
      signal,
      onProgress: (done, total) => progress.show(`${done} of ${total} texts`),
    });
    const { queries, documents } = scores;
    return { counts: { queries, documents }, leftOut, scores: flattenScores(scores) };
  } finally {
    model.dispose();
  }
}

/** @throws UsageError for paths of pictures, which --images would take */
function refusePictures(args: Arguments, folder: string, { queries, documents }: RetrievalTask): void {
  const [first, second] = args.list('columns') ?? PAIR;
  const row = { [first]: queries[0], [second]: documents[0] };
  refusePicturePaths(
    folder,
    args.required('data', TASK_FLAGS.data),
    row,
    (column) => `--images ${column} takes them as pictures.`,
  );
}

/** The columns of pairs where none are named. */
const PAIR = ['anchor', 'positive'] as const;

/** Reads a task whose rows have all that it needs. */
function readRows<Task>(
  args: Arguments,
  read: (path: string, how: TaskOptions) => Promise<Task>,
): Promise<Task> {
  const data = args.required('data', TASK_FLAGS.data);
  return read(data, { columns: args.list('columns'), ...howToRead(args, data, 'format') });
}

async function readTask(args: Arguments, signal: AbortSignal): Promise<RetrievalTask | BeirTask> {
  if (isBeir(args)) {
    const pairs = ['data', 'columns', 'format', ...Object.keys(TABLE_FLAGS), 'documents', 'document-column'];
    refuseFlags(args, pairs, 'is for files of pairs, not for the layout of BEIR (--queries)');
    return readRetrievalFolder({
      queries: args.required('queries', BEIR_FLAGS.queries),
      corpus: args.required('corpus', BEIR_FLAGS.corpus),
      judgements: args.required('judgements', BEIR_FLAGS.judgements),
    });
  }
  const data = args.required('data', TASK_FLAGS.data);
  requireColumns(args, 2, 'two columns, query and document');
  const columns = args.list('columns') ?? PAIR;
  const how = howToRead(args, data, 'format');
  return readRetrievalPairs(data, {
    columns,
    ...how,
    documents: furtherTexts(args, 'documents', columns[1], signal),
  });
}

/** Chooses the similarity, and tells it unless it is the usual one. */
function saySimilarity<S extends Similarity | TokenSimilarity>(
  asked: S | undefined,
  model: OpenedEncoder,
  progress: ProgressLine,
): S {
  const similarity = model.perToken ? chooseTokenSimilarity(asked, model) : chooseSimilarity(asked, model);
  if (similarity !== (model.perToken ? 'maxsim' : 'cosine'))
    progress.say(`similarity: ${similarity}${asked === undefined ? ', which the model names' : ''}`);
  return similarity as S;
}

function sayLeftOut(counts: BeirTask['counts'], progress: ProgressLine): void {
  const { emptyDocuments, emptyQueries, missingDocuments, unjudgedQueries, unknownQueries } = counts;
  const queries = (count: number, kind = '') => plural(count, `${kind}query`, `${kind}queries`);
  const say = (count: number, what: string): void => {
    if (count > 0) progress.say(what);
  };
  const empty = 'without a text: encoded as the empty text';
  say(emptyDocuments, `${plural(emptyDocuments, 'document')} ${empty}`);
  say(emptyQueries, `${queries(emptyQueries, 'judged ')} ${empty}`);
  say(
    missingDocuments,
    `${plural(missingDocuments, 'relevant document')} that the corpus lacks: counted as not found`,
  );
  say(unjudgedQueries, `${queries(unjudgedQueries)} without a document judged above 0: left out`);
  say(unknownQueries, `${queries(unknownQueries, 'judged ')} that --queries lacks: left out`);
}
