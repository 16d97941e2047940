/*
 * The flags of `gradcache train` for held-out data, and how those of named sets are read.
 */
import { typedDelimiter } from '../data/delimiter.js';
import { nearest } from '../options/nearest.js';
import { canBeOff, list, number, numbers, onOff, repeated, text, UsageError } from './flags.js';
import type { Arguments, Flags } from './flags.js';
import { isPlainObject } from '../options/realms.js';
import { put } from './flag-settings.js';
import { FORMAT_NAMES, tableFlags } from './table-flags.js';

export const EVALUATION_FLAGS: Flags = {
  'eval-task': text(
    'TASK',
    'retrieval (default), sts, triplets, binary, clustering, translation or reranking; for a cross-encoder reranking (default), sts or binary',
    'evaluation.task',
  ),
  'eval-loss': onOff('measure the loss of held-out batches', 'evaluation.loss'),
  'eval-data': text('FILE', 'held-out pairs, or sentences with scores', 'evaluation.data'),
  'eval-documents': text(
    'FILE',
    'of retrieval of pairs: further documents, relevant to no query: one a line, or a file with columns and a header',
    'evaluation.documents',
  ),
  'eval-document-column': text(
    'NAME',
    'the column of --eval-documents; default that of the documents in --eval-data',
    'evaluation.documentColumn',
  ),
  'eval-queries': text(
    'FILE',
    'in place of --eval-data, for retrieval with judgements: queries with _id and text, as JSON lines',
    'evaluation.queries',
  ),
  'eval-corpus': text(
    'FILE',
    'documents with _id, text and perhaps title, as JSON lines',
    'evaluation.corpus',
  ),
  'eval-judgements': text('FILE', "query-id, corpus-id and score, or TREC's qrels", 'evaluation.judgements'),
  'eval-columns': list(
    'A,B[,C]',
    'its columns; default: the first two of --columns, or sentence1,sentence2,score',
    'evaluation.columns',
  ),
  'eval-ids': canBeOff(
    list(
      'A,B',
      'of --eval-loss in a run with --ids: its columns of ids; default those of --ids; --no-eval-ids: it has none, and pairs are masked by their texts alone',
      'evaluation.ids',
    ),
  ),
  'eval-format': text('FORMAT', `${FORMAT_NAMES}, where its name does not tell`, 'evaluation.format'),
  ...tableFlags('--eval-columns', 'eval-', 'evaluation.'),
  'eval-similarity': text(
    'NAME',
    'what texts are compared by: cosine, dot, euclidean or manhattan, token by token maxsim or meanmaxsim; default: what is trained',
    'evaluation.similarity',
  ),
  'eval-dimensions': numbers(
    'N,N',
    'lengths to measure at as well, with representations cut; each encodes the texts again',
    'evaluation.dimensions',
  ),
  'eval-measures': list(
    'M@K,M@K',
    'further measures of retrieval: accuracy, precision, recall, mrr, ndcg or map at any k',
    'evaluation.measures',
  ),
  'eval-windows': onOff(
    'read held-out texts that are too long in windows: of sparse models, those with a representation for each token, and\ncross-encoders; default: they are cut',
    'evaluation.windows',
  ),
  'eval-window-overlap': number(
    'TOKENS',
    'of --eval-windows: tokens that a window repeats of the one before it; default 0',
    'evaluation.windowOverlap',
  ),
  'eval-at': number('K', 'of reranking: the ranks that count in MRR and nDCG; default 10', 'evaluation.at'),
  'eval-set': repeated(
    text(
      'NAME=FILE',
      'further held-out data, by name; NAME.SETTING=VALUE says more of it, as the flags above do of the one without a name: task, ' +
        'documents, documentColumn, queries, corpus, judgements, columns, ids, format, header, quoting, delimiter, similarity, dimensions, measures, windows, windowOverlap, at, loss. Its ' +
        'scores are called NAME.spearman, …; may be repeated',
    ),
  ),
  'eval-before': onOff('measure before the first update too', 'evaluation.before'),
  'eval-every': {
    ...number(
      'STEPS',
      'or epoch: after each pass over the data; default: only at the end',
      'evaluation.every',
    ),
    words: ['epoch'],
  },
  best: text(
    'SCORE',
    'the score by which the finished model is the best one, not the last, such as ndcg@10 or sts.spearman',
    'evaluation.best',
  ),
  patience: number('N', 'end after so many measurements without a better score', 'evaluation.patience'),
};

const words = (text: string): string[] => text.split(',');
const switched = (text: string): unknown => (text === 'true' ? true : text === 'false' ? false : text);

/** How the value of each setting of a set is read. What is none is refused where the configuration is read. */
const READ: Readonly<Record<string, (text: string) => unknown>> = {
  task: String,
  data: String,
  documents: String,
  documentColumn: String,
  queries: String,
  corpus: String,
  judgements: String,
  columns: words,
  ids: (text) => (text === 'false' ? false : words(text)),
  format: String,
  header: (text) => (text === 'true' || text === 'false' ? switched(text) : words(text)),
  quoting: String,
  delimiter: typedDelimiter,
  similarity: String,
  dimensions: (text) => words(text).map((word) => (word.trim() === '' ? NaN : Number(word))),
  measures: words,
  windows: switched,
  windowOverlap: (text) => (text.trim() === '' ? NaN : Number(text)),
  at: (text) => (text.trim() === '' ? NaN : Number(text)),
  loss: switched,
};

/** `--no-eval-windows` turns off the overlap of the configuration file with its windows. */
export function makeRoomForNoWindows(args: Arguments, merged: Record<string, unknown>): void {
  const { evaluation } = merged;
  if (args.get('eval-windows') === false && isPlainObject(evaluation)) delete evaluation.windowOverlap;
}

/** Puts the sets of held-out data that flags name into a configuration. @throws UsageError */
export function putSets(merged: Record<string, unknown>, args: Arguments): void {
  const given = new Set<string>();
  for (const typed of args.texts('eval-set')) {
    const { name, setting, value } = partsOf(typed);
    const place = `${name}.${setting}`;
    if (given.has(place)) throw new UsageError(`--eval-set ${typed}: ${place} has been given already.`);
    given.add(place);
    put(merged, ['evaluation', 'sets', name, setting], READ[setting]!(value));
  }
}

/** The settings of sets that flags give, by their paths in a configuration. */
export function setsGiven(args: Arguments): string[] {
  return args.texts('eval-set').map((typed) => {
    const { name, setting } = partsOf(typed);
    return `evaluation.sets.${name}.${setting}`;
  });
}

function partsOf(typed: string): { name: string; setting: string; value: string } {
  const [, name, setting = 'data', value] = /^([^.=]+)(?:\.([^.=]+))?=(.+)$/s.exec(typed) ?? [];
  if (name === undefined || value === undefined || name === '__proto__')
    throw new UsageError(
      `--eval-set is ${typed}; write NAME=FILE, such as sts=sts.csv, or NAME.SETTING=VALUE, such as sts.task=sts.`,
    );
  if (Object.hasOwn(READ, setting)) return { name, setting, value };
  const known = Object.keys(READ);
  const near = nearest(setting, new Set(known));
  const hint = near === undefined ? `known are ${known.join(', ')}` : `did you mean ${near}?`;
  throw new UsageError(`--eval-set ${typed}: ${setting} is not a setting of held-out data; ${hint}`);
}
