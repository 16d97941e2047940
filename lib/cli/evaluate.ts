import { evaluateRetrieval } from '../evaluation/retrieval.js';
import { readRetrievalFolder, type BeirTask } from '../evaluation/beir.js';
import { evaluateReranking } from '../evaluation/reranking.js';
import { readReranking } from '../evaluation/reranking-data.js';
import { flattenBinary, flattenScores } from '../evaluation/scores.js';
import { chooseSimilarity, chooseTokenSimilarity } from '../evaluation/similarity.js';
import { evaluateBinary } from '../evaluation/binary.js';
import { evaluateTriplets } from '../evaluation/triplets.js';
import { evaluateSts } from '../evaluation/sts.js';
import { evaluateClustering } from '../evaluation/clustering.js';
import {
  readBinary,
  readClustering,
  readRetrievalPairs,
  readSts,
  readTriplets,
  type TaskOptions,
} from '../evaluation/tasks.js';
import { readMeasures, type RetrievalMeasure } from '../evaluation/retrieval-measures.js';
import type { RetrievalTask } from '../evaluation/retrieval-task.js';
import type { TextEncoder } from '../encoders/text-encoder.js';
import {
  SIMILARITIES,
  TOKEN_SIMILARITIES,
  type Similarity,
  type TokenSimilarity,
} from '../options/similarity.js';
import type { Ranks } from '../distributed/ranks.js';
import { onEach } from '../distributed/shared-work.js';
import { sharedEncoder, sharedScorer } from '../evaluation/shared-encoder.js';
import type { Command, Console } from './command.js';
import {
  BEIR_FLAGS,
  CLUSTERING_FLAGS,
  DATA_FLAGS,
  refuseFlags,
  requireColumns,
  RERANKING_FLAGS,
  RETRIEVAL_FLAGS,
  TASK_FLAGS,
} from './evaluate-flags.js';
import { type Arguments, type Flags, UsageError } from './flags.js';
import { locateData } from './hub.js';
import { interruptible, unlessAborted } from './interrupt.js';
import { DIMENSIONS_FLAG, dimensionsOf, MODEL_FLAGS, openCrossEncoder, openModel } from './model.js';
import { promptOf } from './prompt-flags.js';
import { howToRead, TABLE_FLAGS } from './table-flags.js';
import { RANK_FLAGS, rankSettingsOf, withRanks } from './ranks.js';
import { type ProgressLine } from './terminal.js';
import { plural } from '../options/plural.js';
import { furtherTexts } from './texts.js';

/** `gradcache evaluate` */
export const evaluateCommand: Command = {
  usage: 'gradcache evaluate --model FOLDER --data FILE [FLAGS]',
  about:
    'Measures a model: retrieval by exact search (recall@k, MRR@10, nDCG@10), or how well similarities agree with the scores\n' +
    'that people gave to pairs of sentences (Spearman and Pearson correlation), or how often an anchor is nearer to its positive\n' +
    'than to its negative (accuracy), or how well similarities tell pairs that belong together (accuracy, F1, average precision),\n' +
    'or how well clusters by k-means agree with labels (accuracy by the best assignment, normalized mutual information), or how\n' +
    'well a cross-encoder ranks given candidates (MAP, MRR, nDCG). In retrieval equal scores are ranked in the order\n' +
    "of the documents, and in the layout of BEIR a document with the query's own _id is not ranked for it.",
  sections: {
    Model: { ...MODEL_FLAGS, ...DIMENSIONS_FLAG, ...RANK_FLAGS },
    Task: TASK_FLAGS,
    Retrieval: RETRIEVAL_FLAGS,
    Clustering: CLUSTERING_FLAGS,
    'Reranking by a cross-encoder': RERANKING_FLAGS,
    'Retrieval in the layout of BEIR, in place of --data': BEIR_FLAGS,
  },
  needed: ['model'],
  examples: [
    'gradcache evaluate --model runs/a/model --data held-out.jsonl',
    'gradcache evaluate --model all-MiniLM-L6-v2 --task sts --data semeval.tsv --fields score,sentence1,sentence2',
    'gradcache evaluate --model m --queries queries.jsonl --corpus corpus.jsonl --judgements qrels/test.tsv --json',
  ],
  run(args, console) {
    return withRanks(args, rankSettingsOf(args), console, (ranks, own) => evaluate(args, own, ranks));
  },
};

/** Of several ranks each reads the task, encodes its share of the texts, and measures with the representations of all. */
async function evaluate(args: Arguments, { progress, print }: Console, ranks: Ranks | null): Promise<number> {
  const task =
    args.oneOf('task', ['retrieval', 'sts', 'triplets', 'binary', 'clustering', 'reranking']) ?? 'retrieval';
  if (task !== 'reranking') refuseFlags(args, Object.keys(RERANKING_FLAGS), 'is for --task reranking');
  const measured = await interruptible<Measured>(
    async (signal) => {
      const located = await onEach(ranks, 'fetching from the hub', () =>
        locateData(args, DATA_FLAGS, progress, signal),
      );
      return MEASURES[task](located, { progress, signal, ranks });
    },
    progress,
    () => 'Nothing was measured.',
  );
  progress.clear();
  const { counts, scores, leftOut = {} } = measured;
  if (args.on('json')) print(JSON.stringify({ task, ...counts, ...leftOut, ...scores }));
  else {
    const lines = Object.entries({ ...counts, ...scores });
    const width = Math.max(12, ...lines.map(([name]) => name.length + 2));
    for (const [name, value] of lines) print(`${name.padEnd(width)}${format(value)}`);
  }
  return 0;
}

const MEASURES = {
  retrieval: measureRetrieval,
  sts: measureSts,
  triplets: measureTriplets,
  binary: measureBinary,
  clustering: measureClustering,
  reranking: measureReranking,
} as const;

/** How a task is measured. */
interface How {
  readonly progress: ProgressLine;
  readonly signal: AbortSignal;
  readonly ranks: Ranks | null;
}

/** How much was measured, how much was not, and the scores by name. */
interface Measured {
  readonly counts: Readonly<Record<string, number>>;
  readonly leftOut?: Readonly<Record<string, number>>;
  readonly scores: Readonly<Record<string, number>>;
}

async function measureReranking(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const used = ['task', 'data', 'query-prompt', 'query-prompt-text'];
  const others = {
    ...RETRIEVAL_FLAGS,
    ...BEIR_FLAGS,
    ...CLUSTERING_FLAGS,
    ...DIMENSIONS_FLAG,
    ...TASK_FLAGS,
  };
  const unused = Object.keys(others).filter((name) => !used.includes(name));
  refuseFlags(args, unused, 'is not for --task reranking');
  const promptFor = promptOf(args, 'query-prompt');
  const at = args.count('at') ?? 10;
  const task = await unlessAborted(readReranking(args.required('data', TASK_FLAGS.data), { signal }), signal);
  const model = await openCrossEncoder(args, { progress, signal, ranks });
  const scorer = sharedScorer(model, ranks);
  try {
    const scores = await evaluateReranking(scorer, task, {
      at,
      prompt: promptFor(model),
      signal,
      onProgress: (done, total) => progress.show(`${done} of ${total} pairs`),
    });
    const { queries, documents } = scores;
    return { counts: { queries, documents }, scores: flattenScores(scores) };
  } finally {
    model.dispose();
  }
}

async function measureClustering(args: Arguments, { progress, signal, ranks }: How): Promise<Measured> {
  const others = Object.keys({ ...RETRIEVAL_FLAGS, ...BEIR_FLAGS });
  refuseFlags(args, [...others, 'similarity'], 'is not for --task clustering');
  const promptFor = promptOf(args, 'query-prompt');
  requireColumns(args, 2, 'two columns, text and label');
  const task = await unlessAborted(readRows(args, readClustering), signal);
  const model = await openModel(args, { progress, signal, ranks });
  const encoder = sharedEncoder(model, ranks);
  try {
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
    const { triplets, accuracy } = await evaluateTriplets(sharedEncoder(model, ranks), task, {
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
  const model = await openModel(args, { progress, signal, ranks });
  try {
    const scores = await evaluateBinary(sharedEncoder(model, ranks), task, {
      similarity: saySimilarity(asked, model, progress),
      prompt: promptFor(model),
      dimensions: dimensionsOf(args, model),
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
  const model = await openModel(args, { progress, signal, ranks });
  const encoder = sharedEncoder(model, ranks);
  try {
    const scores = await evaluateSts(encoder, task, {
      similarity: saySimilarity(asked, model, progress),
      prompt: promptFor(model),
      dimensions: dimensionsOf(args, model),
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
  const measures = args.list('measures');
  try {
    readMeasures(measures ?? []);
  } catch (error) {
    throw new UsageError(`--${(error as Error).message}`);
  }
  const recallAt = args.list('recall-at')?.map((text) => {
    const k = Number(text);
    if (!Number.isInteger(k) || k < 1)
      throw new UsageError(`--recall-at holds ${text}, not a whole number from 1.`);
    return k;
  });
  const asked = args.oneOf('similarity', [...SIMILARITIES, ...TOKEN_SIMILARITIES]);
  const prompts = { query: promptOf(args, 'query-prompt'), document: promptOf(args, 'document-prompt') };
  const task = await unlessAborted(readTask(args, signal), signal);
  const leftOut = 'counts' in task ? task.counts : undefined;
  if (leftOut !== undefined) sayLeftOut(leftOut, progress);
  const model = await openModel(args, { progress, signal, ranks });
  const encoder = sharedEncoder(model, ranks);
  try {
    const scores = await evaluateRetrieval(encoder, task, {
      recallAt,
      ...(measures && { measures: measures as RetrievalMeasure[] }),
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

/** Reads a task whose rows have all that it needs. */
function readRows<Task>(
  args: Arguments,
  read: (path: string, how: TaskOptions) => Promise<Task>,
): Promise<Task> {
  const data = args.required('data', TASK_FLAGS.data);
  return read(data, { columns: args.list('columns'), ...howToRead(args, data, 'format') });
}

async function readTask(args: Arguments, signal: AbortSignal): Promise<RetrievalTask | BeirTask> {
  const files = {
    queries: args.text('queries'),
    corpus: args.text('corpus'),
    judgements: args.text('judgements'),
  };
  const { queries, corpus, judgements } = files;
  if (queries !== undefined && corpus !== undefined && judgements !== undefined) {
    const pairs = ['data', 'columns', 'format', ...Object.keys(TABLE_FLAGS), 'documents', 'document-column'];
    refuseFlags(args, pairs, 'is for files of pairs, not for the layout of BEIR (--queries)');
    return readRetrievalFolder({ queries, corpus, judgements });
  }
  if (queries ?? corpus ?? judgements)
    throw new UsageError('--queries, --corpus and --judgements go together.');
  const data = args.required('data', TASK_FLAGS.data);
  requireColumns(args, 2, 'two columns, query and document');
  const columns = args.list('columns') ?? ['anchor', 'positive'];
  const how = howToRead(args, data, 'format');
  return readRetrievalPairs(data, {
    columns,
    ...how,
    documents: furtherTexts(args, 'documents', columns[1]!, signal),
  });
}

/** Chooses the similarity, and tells it unless it is the usual one. */
function saySimilarity<S extends Similarity | TokenSimilarity>(
  asked: S | undefined,
  model: TextEncoder,
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

function format(value: number): string {
  return Number.isInteger(value) && value > 1 ? String(value) : value.toFixed(4);
}
