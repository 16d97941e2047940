import { QUOTINGS } from '../data/quoting.js';
import { readColumns } from '../evaluation/records.js';
import { evaluateRetrieval } from '../evaluation/retrieval.js';
import type { RetrievalTask } from '../evaluation/retrieval.js';
import { flattenScores } from '../evaluation/scores.js';
import { evaluateSts } from '../evaluation/sts.js';
import { readRetrievalFolder, readRetrievalPairs, readSts, type TaskOptions } from '../evaluation/tasks.js';
import type { Command } from './command.js';
import { UsageError } from './flags.js';
import type { Arguments, Flags } from './flags.js';
import { interruptible } from './interrupt.js';
import { MODEL_FLAGS, openModel } from './model.js';
import type { ProgressLine } from './terminal.js';

const TASK_FLAGS = {
  task: { kind: 'text', value: 'TASK', help: 'retrieval (default) or sts' },
  data: { kind: 'text', value: 'FILE', help: 'pairs for retrieval; two sentences and a score for sts' },
  columns: {
    kind: 'list',
    value: 'A,B[,C]',
    help: 'its columns; default anchor,positive or sentence1,sentence2,score',
  },
  header: {
    kind: 'switch',
    onByDefault: true,
    help: 'the first line of a CSV or TSV file is a row; --columns names its fields',
  },
  fields: {
    kind: 'list',
    value: 'A,B,C',
    help: 'names of all fields of a CSV or TSV file without a header; --columns picks some',
  },
  quoting: {
    kind: 'text',
    value: 'KIND',
    help: 'quotes around fields: csv (default for .csv), none, or auto (default for .tsv): as the file looks',
  },
} as const satisfies Flags;

const RETRIEVAL_FLAGS = {
  documents: { kind: 'text', value: 'FILE', help: 'further documents to search, relevant to no query' },
  'document-column': {
    kind: 'text',
    value: 'NAME',
    help: 'the column of --documents; default that of the documents in --data',
  },
  queries: {
    kind: 'text',
    value: 'FILE',
    help: 'BEIR layout: queries with _id and text (with --corpus and --judgements)',
  },
  corpus: { kind: 'text', value: 'FILE', help: 'BEIR layout: documents with _id, text and perhaps title' },
  judgements: {
    kind: 'text',
    value: 'FILE',
    help: 'BEIR layout: query-id, corpus-id, score, separated by tabs',
  },
  'recall-at': { kind: 'list', value: 'K,K', help: 'default 1,5,10,100' },
  'query-prompt': {
    kind: 'text',
    value: 'NAME',
    help: 'prompt of the model put before queries (and sts sentences)',
  },
  'document-prompt': { kind: 'text', value: 'NAME', help: 'prompt of the model put before documents' },
} as const satisfies Flags;

/** `gradcache evaluate` */
export const evaluateCommand: Command = {
  usage: 'gradcache evaluate --model FOLDER --data FILE [FLAGS]',
  about:
    'Measures a model: retrieval by exact search (recall@k, MRR@10, nDCG@10), or how well cosines agree with the scores\n' +
    'that people gave to pairs of sentences (Spearman and Pearson correlation).',
  sections: { Model: MODEL_FLAGS, Task: TASK_FLAGS, Retrieval: RETRIEVAL_FLAGS },
  examples: [
    'gradcache evaluate --model runs/a/model --data held-out.jsonl',
    'gradcache evaluate --model all-MiniLM-L6-v2 --task sts --data test.csv --no-header --columns a,b,score',
    'gradcache evaluate --model m --queries queries.jsonl --corpus corpus.jsonl --judgements qrels/test.tsv --json',
  ],
  async run(args, { progress, print }) {
    const task = args.text('task') ?? 'retrieval';
    if (task !== 'retrieval' && task !== 'sts')
      throw new UsageError(`--task is ${task}; accepted is retrieval or sts.`);
    const measured = await interruptible<Measured>(
      (signal) =>
        task === 'sts' ? measureSts(args, progress, signal) : measureRetrieval(args, progress, signal),
      () => progress.say('Ending after the current chunk. Ctrl-C again ends at once.'),
    );
    progress.clear();
    const { counts, scores } = measured;
    if (args.on('json')) print(JSON.stringify({ task, ...counts, ...scores }));
    else
      for (const [name, value] of Object.entries({ ...counts, ...scores }))
        print(`${name.padEnd(12)}${format(value)}`);
    return 0;
  },
};

/** How much was measured, and the scores by name. */
interface Measured {
  readonly counts: Readonly<Record<string, number>>;
  readonly scores: Readonly<Record<string, number>>;
}

async function measureSts(args: Arguments, progress: ProgressLine, signal: AbortSignal): Promise<Measured> {
  const task = await readSts(args.required('data', TASK_FLAGS.data), {
    columns: args.list('columns'),
    ...howToRead(args),
  });
  const model = await openModel(args, progress);
  try {
    const scores = await evaluateSts(model, task, {
      prompt: args.text('query-prompt'),
      signal,
      onProgress: (done, total) => progress.show(`${done} of ${total} pairs`),
    });
    return { counts: { pairs: scores.pairs }, scores: flattenScores(scores) };
  } finally {
    model.dispose();
  }
}

async function measureRetrieval(
  args: Arguments,
  progress: ProgressLine,
  signal: AbortSignal,
): Promise<Measured> {
  const recallAt = args.list('recall-at')?.map((text) => {
    const k = Number(text);
    if (!Number.isInteger(k) || k < 1)
      throw new UsageError(`--recall-at holds ${text}, not a whole number from 1.`);
    return k;
  });
  const task = await readTask(args);
  const model = await openModel(args, progress);
  try {
    const scores = await evaluateRetrieval(model, task, {
      recallAt,
      prompts: { query: args.text('query-prompt'), document: args.text('document-prompt') },
      signal,
      onProgress: (done, total) => progress.show(`${done} of ${total} texts`),
    });
    const { queries, documents } = scores;
    return { counts: { queries, documents }, scores: flattenScores(scores) };
  } finally {
    model.dispose();
  }
}

async function readTask(args: Arguments): Promise<RetrievalTask> {
  const files = {
    queries: args.text('queries'),
    corpus: args.text('corpus'),
    judgements: args.text('judgements'),
  };
  const { queries, corpus, judgements } = files;
  if (queries !== undefined && corpus !== undefined && judgements !== undefined) {
    if (args.text('data') !== undefined)
      throw new UsageError('--data and --queries are two ways to give the task; use one.');
    return readRetrievalFolder({ queries, corpus, judgements });
  }
  if (queries ?? corpus ?? judgements)
    throw new UsageError('--queries, --corpus and --judgements go together.');
  const data = args.required('data', TASK_FLAGS.data);
  const columns = args.list('columns') ?? ['anchor', 'positive'];
  const further = args.text('documents');
  const documents =
    further === undefined ? [] : readOneColumn(further, args.text('document-column') ?? columns[1] ?? '');
  return readRetrievalPairs(data, { columns, ...howToRead(args), documents });
}

async function* readOneColumn(path: string, column: string): AsyncGenerator<string, void, undefined> {
  for await (const row of readColumns(path, [column])) yield row[column] as string;
}

function howToRead(args: Arguments): Pick<TaskOptions, 'header' | 'quoting'> {
  const quoting = QUOTINGS.find((known) => known === args.text('quoting'));
  if (quoting === undefined && args.text('quoting') !== undefined)
    throw new UsageError(`--quoting is ${args.text('quoting')}; accepted is ${QUOTINGS.join(', ')}.`);
  const header = args.get('header') as boolean | undefined; // undefined where the flag was not given
  return { header: args.list('fields') ?? header, quoting };
}

function format(value: number): string {
  return Number.isInteger(value) && value > 1 ? String(value) : value.toFixed(4);
}
