/*
 * The flags of `gradcache evaluate`, and what refuses those that do not fit.
 */
import { type Arguments, type Flags, list, number, text, UsageError } from './flags.js';
import { promptFlags } from './prompt-flags.js';
import { FORMAT_NAMES, TABLE_FLAGS } from './table-flags.js';

export const TASK_FLAGS = {
  task: text('TASK', 'retrieval (default), sts, triplets, binary, clustering, translation or reranking'),
  data: text(
    'FILE',
    'pairs for retrieval; two sentences and a score for sts; anchor, positive and negative for triplets; two ' +
      'sentences and a label, 0 or 1, for binary; texts and labels for clustering; texts and translations for translation; for reranking JSON ' +
      'lines of query, positive, and negative or documents; hf:OWNER/NAME/PART:SPLIT is of the hub',
  ),
  columns: list(
    'A,B[,C]',
    'its columns; default, task by task: anchor,positive; sentence1,sentence2,score; anchor,positive,negative; sentence1,sentence2,label; text,label;\nsource,target',
  ),
  format: text('FORMAT', `${FORMAT_NAMES}, where its name does not tell`),
  ...TABLE_FLAGS,
  similarity: text(
    'NAME',
    "cosine, dot, euclidean or manhattan; token by token maxsim or meanmaxsim; default: the model's\nsimilarity_fn_name, or cosine, or maxsim",
  ),
  ...promptFlags('query-prompt', {
    before: "queries, or a task's texts",
    otherwise: "the prompt called\nquery for retrieval, the model's default prompt for others",
  }),
} as const satisfies Flags;

export const RETRIEVAL_FLAGS = {
  images: text(
    'COLUMN',
    'paths of pictures, from the folder of --data, for CLIP and SigLIP: each side is searched by the other; the other\ncolumn has captions; default of --columns: this one and caption',
  ),
  documents: text(
    'FILE',
    'further documents, relevant to no query: one a line, or a file with columns and a header',
  ),
  'document-column': text('NAME', 'the column of --documents; default that of the documents in --data'),
  'recall-at': list('K,K', 'default 1,5,10,100'),
  measures: list(
    'M@K,M@K',
    'further measures: accuracy, precision, recall, mrr, ndcg or map at any k, as map@100',
  ),
  ...promptFlags('document-prompt', {
    before: 'documents',
    otherwise: 'the prompt called document,\npassage or corpus',
  }),
} as const satisfies Flags;

export const CLUSTERING_FLAGS = {
  clusters: number('N', 'default: as many as there are labels'),
  seed: number('N', 'of the initial centres; default 0'),
} as const satisfies Flags;

export const RERANKING_FLAGS = {
  at: number('K', 'the ranks that count in MRR and nDCG; default 10'),
} as const satisfies Flags;

export const BEIR_FLAGS = {
  queries: text('FILE', 'queries with _id and text, as JSON lines'),
  corpus: text('FILE', 'documents with _id, text and perhaps title, as JSON lines'),
  judgements: text(
    'FILE',
    'query-id, corpus-id and score, by position where the header is another; qrels of TREC too',
  ),
} as const satisfies Flags;

/** Whether retrieval data comes in the layout of BEIR, whose files go together. */
export function isBeir(args: Arguments): boolean {
  return Object.keys(BEIR_FLAGS).some((name) => args.get(name) !== undefined);
}

/** Flags that name a file of data. */
export const DATA_FLAGS = ['data', 'documents', 'queries', 'corpus', 'judgements'];

/** @throws UsageError for other than so many columns, each once. @param needed what they are */
export function requireColumns(args: Arguments, count: number, needed: string): void {
  const columns = args.list('columns');
  if (columns === undefined || (columns.length === count && new Set(columns).size === count)) return;
  throw new UsageError(`--columns is ${columns.join(',')}; ${needed} are needed, each once.`);
}

/** Refuses flags that would do nothing. */
export function refuseFlags(args: Arguments, names: readonly string[], why: string): void {
  const given = names.find((name) => args.get(name) !== undefined);
  if (given === undefined) return;
  throw new UsageError(`${args.typed(given)} ${why}.`);
}
