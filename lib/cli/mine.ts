import type { Ranks } from '../distributed/ranks.js';
import { onEach, onFirst } from '../distributed/shared-work.js';
import { cachedOverRanks } from '../evaluation/cached-encoder.js';
import type { EncodesTexts } from '../evaluation/encode-texts.js';
import { readColumns } from '../evaluation/records.js';
import type { ScoresPairs } from '../evaluation/scores-pairs.js';
import { sharedEncoder, sharedScorer } from '../evaluation/shared-encoder.js';
import { refuseOverwriting } from '../files/overwrite.js';
import { LIMITS, type Limit } from '../mining/choose.js';
import { mineHardNegatives, type MinedNegatives } from '../mining/mine.js';
import {
  MINED_FORMATS,
  readMiningOptions,
  requireDense,
  SAMPLINGS,
  type MiningOptions,
} from '../mining/options.js';
import { describeMining } from '../mining/statistics.js';
import { isCrossEncoderFolder } from '../model-folder/is-cross-encoder-folder.js';
import { folderDigest } from '../model-folder/folder-digest.js';
import { throwIfAborted } from '../options/abort.js';
import { SIMILARITIES } from '../options/similarity.js';
import { plural } from '../options/plural.js';
import type { Command, Console } from './command.js';
import { type Arguments, type Flags, list, number, onOff, text, UsageError } from './flags.js';
import { locateData, locateModel } from './hub.js';
import { interruptible } from './interrupt.js';
import { MODEL_FLAGS, openCrossEncoder, openModel } from './model.js';
import { streamOf } from '../files/output-place.js';
import { refusePicturePaths } from './picture-model.js';
import { promptFlags, promptOf } from './prompt-flags.js';
import { RANK_FLAGS, rankSettingsOf, withRanks } from './ranks.js';
import { ROW_FORMATS, type RowFormat, writeRowFile } from './row-file.js';
import { FORMAT_NAMES, howToRead, TABLE_FLAGS } from './table-flags.js';
import type { ProgressLine } from './terminal.js';
import { namingLines } from './text-places.js';
import { furtherTexts } from './texts.js';
import { scorerWithWindows, windowFlags, windowsOf } from './window-flags.js';

const DATA_FLAGS = {
  data: text('FILE', 'pairs of anchor and positive; hf:OWNER/NAME/PART:SPLIT is of the hub'),
  columns: list('A,B', 'its columns, which the output has too; default anchor,positive'),
  format: text('FORMAT', `${FORMAT_NAMES}, where its name does not tell`),
  ...TABLE_FLAGS,
  corpus: text(
    'FILE',
    'documents to look in beside the positives: one a line, or a file with columns and a header',
  ),
  'corpus-column': text('NAME', 'the column of --corpus; default that of the positives in --data'),
} as const satisfies Flags;

const MINING_FLAGS = {
  negatives: number('N', 'negatives of an anchor; default 3'),
  'range-min': number('RANK', 'candidates to skip, best first; default 0'),
  'range-max': number(
    'RANK',
    'the last candidate; default: as many as are needed, ten times with a margin or score',
  ),
  'max-score': number('SCORE', 'the most that a negative scores'),
  'min-score': number('SCORE', 'the least that a negative scores'),
  'absolute-margin': number('M', 'a negative scores at least so much less than the positive'),
  'relative-margin': number('M', "the same as a share of the size of the positive's score; 0.05 is usual"),
  sampling: text('HOW', 'top (default) or random: which of the candidates'),
  seed: number('N', 'of random sampling; default 0'),
  similarity: text('NAME', 'cosine (default), dot, euclidean or manhattan'),
  ...promptFlags('query-prompt', { before: 'anchors', otherwise: 'the one called query' }),
  ...promptFlags('document-prompt', {
    before: 'documents',
    otherwise: 'the prompt called document,\npassage or corpus',
  }),
  judge: text(
    'FOLDER|NAME',
    "a cross-encoder or another encoder, whose scores count in place of the model's",
  ),
  'judge-max-length': number(
    'TOKENS',
    "as --max-length, of the judge: of a cross-encoder tokens of both texts together; default: the judge's own",
  ),
  ...windowFlags(
    'documents that are too long in windows, each beside the anchor, which can have half of a window: of a --judge that\nis a cross-encoder',
  ),
  block: number('DOCUMENTS', 'documents encoded and searched at a time; bounds memory; default 8192'),
  cache: text(
    'FOLDER',
    'keeps representations there: mining again, also after it was stopped, encodes no text twice',
  ),
} as const satisfies Flags;

const OUTPUT_FLAGS = {
  output: text('FILE', '.jsonl, .csv or .parquet; - writes to standard output'),
  'output-format': text('FORMAT', 'jsonl, csv or parquet, where its name does not tell'),
  rows: text(
    'KIND',
    'triplet (default): anchor, positive, negative; n-tuple: all negatives in a row, negative_1 and so on;\n' +
      'labeled-pair: anchor, document, label; labeled-list: anchor, documents, labels (not as CSV)',
  ),
  scores: onOff('write the scores too; in place of labels, where there are any'),
  'include-positives': onOff('positives may be among the negatives, for tests of rerankers; n-tuple'),
} as const satisfies Flags;

/** `gradcache mine` */
export const mineCommand: Command = {
  usage: 'gradcache mine --model FOLDER --data FILE --output FILE [FLAGS]',
  about:
    'Finds hard negatives for pairs: documents that a model takes for near to an anchor and that are none of its positives. The\n' +
    "rows are those of sentence-transformers' mine_hard_negatives. An anchor in several pairs has several positives; a document\n" +
    "with the anchor's own text is not mined. The search is exact. The output is written beside its place and renamed when it\n" +
    'is complete.',
  sections: {
    Model: { ...MODEL_FLAGS, ...RANK_FLAGS },
    Data: DATA_FLAGS,
    Mining: MINING_FLAGS,
    'What is written': OUTPUT_FLAGS,
  },
  needed: ['model', 'data', 'output'],
  examples: [
    'gradcache mine --model all-MiniLM-L6-v2 --data pairs.jsonl --relative-margin 0.05 --negatives 5 --output triplets.jsonl',
    'gradcache mine --model m --data pairs.csv --corpus passages.txt --judge cross-encoder --max-score 0.8 --output mined.csv',
  ],
  run(args, console) {
    return withRanks(args, rankSettingsOf(args), console, (ranks, own) => run(args, own, ranks));
  },
};

async function run(args: Arguments, { progress, print }: Console, ranks: Ranks | null): Promise<number> {
  const output = args.required('output', OUTPUT_FLAGS.output);
  const { mined, format } = await interruptible(
    (signal) => mine(args, output, { progress, signal, ranks }),
    progress,
    () =>
      args.text('cache') === undefined
        ? 'Nothing was written.'
        : 'Nothing was written; what was encoded is in the --cache.',
  );
  progress.clear();
  const { statistics } = mined;
  const toStandardOutput = streamOf(output) === 'stdout';
  const tell = toStandardOutput ? (line: string) => progress.say(line) : print;
  if (args.on('json')) tell(JSON.stringify({ output, format, ...statistics }));
  else {
    for (const line of describeMining(statistics, limitsOf(args), flagOf)) tell(line);
    tell(`${output}: ${plural(statistics.rows, 'row')} of ${plural(mined.columns.length, 'column')}`);
  }
  return 0;
}

interface How {
  readonly progress: ProgressLine;
  readonly signal: AbortSignal;
  readonly ranks: Ranks | null;
}

/** Of several ranks each reads the pairs and encodes its share; each searches, and the first writes. */
async function mine(
  given: Arguments,
  output: string,
  { progress, signal, ranks }: How,
): Promise<{ mined: MinedNegatives; format: RowFormat }> {
  const format = formatOf(output, given.oneOf('output-format', ROW_FORMATS));
  const options = optionsOf(given);
  checkFlags(options);
  if (
    format === 'csv' &&
    (options.format === 'labeled-list' || (options.scores && options.format !== 'labeled-pair'))
  )
    throw new UsageError(
      'CSV has no lists, which --rows labeled-list and --scores write (but for --rows labeled-pair). Use --output-format jsonl or parquet.',
    );
  if (windowsOf(given) !== undefined && given.text('judge') === undefined)
    throw needsCrossEncoder('there is none');
  if (given.count('judge-max-length') !== undefined && given.text('judge') === undefined)
    throw new UsageError('--judge-max-length is for a --judge, and there is none: leave it out.');
  const columns = columnsOf(given);
  const prompts = { query: promptOf(given, 'query-prompt'), document: promptOf(given, 'document-prompt') };
  const located = await onEach(ranks, 'fetching from the hub', () =>
    locateData(given, ['data', 'corpus'], progress, signal),
  );
  const data = located.required('data', DATA_FLAGS.data);
  const how = howToRead(located, data, 'format');
  const corpus = furtherTexts(located, 'corpus', columns[1], signal);
  const args = await onEach(ranks, 'fetching the model', () => withFolders(located, progress, signal));
  await onFirst(ranks, 'looking at the files', async () => {
    for (const name of ['data', 'corpus', 'model', 'judge']) {
      const path = args.text(name);
      if (path !== undefined)
        await refuseOverwriting({ name: '--output', path: output }, [{ name: `--${name}`, path }]);
    }
  });
  const opened: { dispose(): void }[] = [];
  try {
    const model = await openModel(args, { progress, signal, ranks });
    opened.push(model);
    const folder = args.required('model', MODEL_FLAGS.model);
    const refusePictures = (row: Readonly<Record<string, string>>): void =>
      refusePicturePaths(
        folder,
        data,
        row,
        () => 'negatives are mined among texts. Name columns of texts (--columns).',
      );
    requireDenseModel('--model', model);
    const judge = await openJudge(args, { progress, signal, ranks }, opened);
    const encoder = await withCache(
      args,
      ranks === null ? model : sharedEncoder(model, ranks),
      model.device,
      ranks,
    );
    const mined = await namingLines(located, () =>
      mineHardNegatives(
        encoder,
        firstLookedAt(readColumns(data, columns, { ...how, signal }), refusePictures),
        {
          ...options,
          columns,
          corpus,
          prompts: { query: prompts.query(model), document: prompts.document(model) },
          ...(judge && { judge }),
          signal,
          onProgress: (done, total, what) => progress.show(`${done} of ${total} ${what}`),
        },
      ),
    );
    await onFirst(ranks, 'writing', () => writeRowFile(output, format, mined, () => throwIfAborted(signal)));
    return { mined, format };
  } finally {
    for (const model of opened) model.dispose();
  }
}

/** Rows as they are. @param look told of the first; may throw */
async function* firstLookedAt<Row>(
  rows: AsyncIterable<Row>,
  look: (row: Row) => void,
): AsyncGenerator<Row, void, undefined> {
  let first = true;
  for await (const row of rows) {
    if (first) look(row);
    first = false;
    yield row;
  }
}

/** The arguments with folders in the place of models' names. */
async function withFolders(args: Arguments, progress: ProgressLine, signal: AbortSignal): Promise<Arguments> {
  const folders = new Map([
    ['model', await locateModel(args.required('model', MODEL_FLAGS.model), progress, signal)],
  ]);
  const judge = args.text('judge');
  if (judge !== undefined) folders.set('judge', await locateModel(judge, progress, signal));
  return args.with(folders);
}

async function openJudge(
  args: Arguments,
  how: How,
  opened: { dispose(): void }[],
): Promise<ScoresPairs | EncodesTexts | undefined> {
  const { ranks } = how;
  const folder = args.text('judge');
  if (folder === undefined) return undefined;
  // --max-length and --route are the model's own.
  const own = args.with(
    new Map<string, unknown>([
      ['model', folder],
      ['max-length', args.count('judge-max-length')],
      ['route', undefined],
    ]),
  );
  const opening = { ...how, lengthFlag: '--judge-max-length' };
  if (await onEach(ranks, 'looking at the judge', () => isCrossEncoderFolder(folder))) {
    const judge = await openCrossEncoder(own, opening);
    opened.push(judge);
    if (judge.labels !== 1)
      throw new UsageError(
        `--judge is ${folder}, which gives a pair ${judge.labels} numbers; a cross-encoder with one label is needed.`,
      );
    return sharedScorer(scorerWithWindows(judge, windowsOf(args)), ranks);
  }
  if (windowsOf(args) !== undefined) throw needsCrossEncoder(`${folder} is none`);
  const judge = await openModel(own, opening);
  opened.push(judge);
  requireDenseModel('--judge', judge);
  return withCache(own, ranks === null ? judge : sharedEncoder(judge, ranks), judge.device, ranks);
}

/** @throws UsageError for a model without one dense representation of a text, by its flag */
function requireDenseModel(flag: string, model: EncodesTexts): void {
  try {
    requireDense(flag, model);
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

const needsCrossEncoder = (why: string): UsageError =>
  new UsageError(`--windows is for a --judge that is a cross-encoder, and ${why}: leave it out.`);

async function withCache(
  args: Arguments,
  encoder: EncodesTexts,
  device: string,
  ranks: Ranks | null,
): Promise<EncodesTexts> {
  const cache = args.text('cache');
  if (cache === undefined) return encoder;
  const folder = args.required('model', MODEL_FLAGS.model);
  const digest = await onEach(ranks, 'reading the model', () => folderDigest(folder));
  const model = JSON.stringify([
    digest,
    args.text('precision') ?? 'float32',
    args.number('max-length') ?? null,
    ...[args.text('route')].filter((route) => route !== undefined),
  ]);
  return cachedOverRanks(encoder, { folder: cache, model, device }, ranks);
}

function optionsOf(args: Arguments): MiningOptions {
  const includePositives = args.on('include-positives');
  const options = {
    negatives: args.count('negatives'),
    rangeMin: args.number('range-min'),
    rangeMax: args.count('range-max'),
    ...limitsOf(args),
    sampling: args.oneOf('sampling', SAMPLINGS),
    seed: args.number('seed'),
    similarity: args.oneOf('similarity', SIMILARITIES),
    format: args.oneOf('rows', MINED_FORMATS) ?? (includePositives ? 'n-tuple' : 'triplet'),
    scores: args.on('scores'),
    includePositives,
    block: args.count('block'),
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** Refuses what `mineHardNegatives` would, in the words of the flags and before anything is loaded. @throws UsageError */
function checkFlags(options: MiningOptions): void {
  try {
    readMiningOptions(options);
  } catch (error) {
    const name = Object.keys(options).find((known) => (error as Error).message.startsWith(`${known} is `));
    if (name === undefined) throw error;
    const flag = name === 'format' ? '--rows' : flagOf(name);
    throw new UsageError(`${flag}${(error as Error).message.slice(name.length)}`);
  }
}

/** What the flag of a setting is called. */
const flagOf = (name: string): string =>
  `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

function limitsOf(args: Arguments): Partial<Record<Limit, number>> {
  const given = LIMITS.flatMap((limit): [Limit, number][] => {
    const value = args.number(flagOf(limit).slice(2));
    return value === undefined ? [] : [[limit, value]];
  });
  return Object.fromEntries(given);
}

function columnsOf(args: Arguments): [string, string] {
  const columns = args.list('columns') ?? ['anchor', 'positive'];
  const [anchor, positive] = columns;
  if (columns.length === 2 && anchor !== positive) return [anchor!, positive!];
  throw new UsageError(`--columns is ${columns.join(',')}; two columns, anchor and positive, are needed.`);
}

function formatOf(output: string, given: RowFormat | undefined): RowFormat {
  const format = given ?? ROW_FORMATS.find((known) => known === output.split('.').at(-1));
  if (format !== undefined) return format;
  throw new UsageError(
    `The format of ${output} cannot be told from its name; use .jsonl, .csv or .parquet, or --output-format.`,
  );
}
