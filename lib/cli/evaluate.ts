import type { Ranks } from '../distributed/ranks.js';
import { onEach } from '../distributed/shared-work.js';
import type { Command, Console } from './command.js';
import {
  BEIR_FLAGS,
  CLUSTERING_FLAGS,
  DATA_FLAGS,
  isBeir,
  refuseFlags,
  RERANKING_FLAGS,
  RETRIEVAL_FLAGS,
  TASK_FLAGS,
} from './evaluate-flags.js';
import { MEASURES } from './evaluate-tasks.js';
import type { Arguments } from './flags.js';
import { locateData } from './hub.js';
import { interruptible } from './interrupt.js';
import type { Measured } from './measured.js';
import { DIMENSIONS_FLAG, MODEL_FLAGS } from './model.js';
import { RANK_FLAGS, rankSettingsOf, withRanks } from './ranks.js';
import { namingLines } from './text-places.js';
import { windowFlags, windowsOf } from './window-flags.js';

const EVALUATION_WINDOWS = windowFlags(
  'texts that are too long in windows: of sparse models, those with a representation for each token,\nand cross-encoders',
);

/** `gradcache evaluate` */
export const evaluateCommand: Command = {
  usage: 'gradcache evaluate --model FOLDER --data FILE [FLAGS]',
  about:
    'Measures a model: retrieval by exact search (recall@k, MRR@10, nDCG@10), or how well similarities agree with the scores\n' +
    'that people gave to pairs of sentences (Spearman and Pearson correlation), or how often an anchor is nearer to its positive\n' +
    'than to its negative (accuracy), or how well similarities tell pairs that belong together (accuracy, F1, average precision),\n' +
    'or how well clusters by k-means agree with labels (accuracy by the best assignment, normalized mutual information), or\n' +
    'whether texts and their translations find each other (accuracy in both directions), or how well given candidates are ranked\n' +
    '(MAP, MRR, nDCG). Reranking, sts and binary take a cross-encoder too. In retrieval equal scores are ranked in the order of\n' +
    "the documents, and in the layout of BEIR a document with the query's own _id is not ranked for it.",
  sections: {
    Model: { ...MODEL_FLAGS, ...DIMENSIONS_FLAG, ...EVALUATION_WINDOWS, ...RANK_FLAGS },
    Task: TASK_FLAGS,
    Retrieval: RETRIEVAL_FLAGS,
    Clustering: CLUSTERING_FLAGS,
    Reranking: RERANKING_FLAGS,
    'Retrieval in the layout of BEIR, in place of --data': BEIR_FLAGS,
  },
  needed: (args) => [
    'model',
    ...((args.text('task') ?? 'retrieval') === 'retrieval' && isBeir(args)
      ? Object.keys(BEIR_FLAGS)
      : ['data']),
  ],
  elsewhere: {
    label: 'the column of labels is the last of --columns, as in --columns sentence1,sentence2,label',
    score: 'the column of scores is the last of --columns, as in --columns sentence1,sentence2,score',
  },
  examples: [
    'gradcache evaluate --model runs/a/model --data held-out.jsonl',
    'gradcache evaluate --model all-MiniLM-L6-v2 --task sts --data semeval.tsv --fields score,sentence1,sentence2',
    'gradcache evaluate --model clip --data held-out.jsonl --images image',
    'gradcache evaluate --model m --queries queries.jsonl --corpus corpus.jsonl --judgements qrels/test.tsv --json',
  ],
  run(args, console) {
    return withRanks(args, rankSettingsOf(args), console, (ranks, own) => evaluate(args, own, ranks));
  },
};

/** Of several ranks each reads the task, encodes its share of the texts, and measures with the representations of all. */
async function evaluate(args: Arguments, { progress, print }: Console, ranks: Ranks | null): Promise<number> {
  const tasks = Object.keys(MEASURES) as (keyof typeof MEASURES)[];
  const task = args.oneOf('task', tasks) ?? 'retrieval';
  if (task !== 'reranking') refuseFlags(args, Object.keys(RERANKING_FLAGS), 'is for --task reranking');
  windowsOf(args); // wrong ones are told before the model is loaded
  const measured = await interruptible<Measured>(
    async (signal) => {
      const located = await onEach(ranks, 'fetching from the hub', () =>
        locateData(args, DATA_FLAGS, progress, signal),
      );
      return namingLines(located, () => MEASURES[task](located, { progress, signal, ranks }));
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

function format(value: number): string {
  return Number.isInteger(value) && value > 1 ? String(value) : value.toFixed(4);
}
