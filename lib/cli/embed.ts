import { types } from 'node:util';
import { readOnceAmong } from '../data/source.js';
import type { Ranks } from '../distributed/ranks.js';
import { onEach, onFirst } from '../distributed/shared-work.js';
import { GradCacheError } from '../errors.js';
import { encodeTexts } from '../evaluation/encode-texts.js';
import { sharedEncoder } from '../evaluation/shared-encoder.js';
import { show } from '../options/option-values.js';
import { refuseOverwriting } from '../files/overwrite.js';
import type { Command, Console } from './command.js';
import { type Arguments, type Flags, number, text, UsageError } from './flags.js';
import { locateData } from './hub.js';
import { interruptible, unlessAborted } from './interrupt.js';
import { DIMENSIONS_FLAG, dimensionsOf, MODEL_FLAGS, openModel } from './model.js';
import { streamOf } from './output-file.js';
import { promptFlags, promptOf } from './prompt-flags.js';
import { howToRead, TABLE_FLAGS, tableFlags } from './table-flags.js';
import { openVectorFile, VECTOR_FORMATS, type VectorFile, type VectorFormat } from './vector-files.js';
import { RANK_FLAGS, rankSettingsOf, withRanks } from './ranks.js';
import { readTexts } from './texts.js';
import { formatCount, type ProgressLine } from './terminal.js';
import { plural } from '../options/plural.js';

const EMBED_FLAGS = {
  input: text(
    'FILE',
    'texts: one a line, or .jsonl, .csv, .tsv, .parquet with --column, or hf:OWNER/NAME/FILE of the hub; - reads\nstandard input',
  ),
  column: text('NAME', 'the column that holds the texts'),
  'input-format': text(
    'FORMAT',
    'of a file with columns: jsonl, csv, tsv or parquet, where the name does not tell',
  ),
  ...tableFlags('--column'),
  output: text(
    'FILE',
    'its name tells the format: .jsonl (text and vector), .npy or .safetensors; a pipe takes jsonl',
  ),
  format: text('FORMAT', 'jsonl, npy or safetensors, where the name does not tell'),
  as: text(
    'WHAT',
    "query or document: what the texts are, which chooses the model's prompt and length limit for them",
  ),
  ...promptFlags('prompt', {
    before: 'every text',
    otherwise: "the model's default prompt,\nor with --as that of queries or documents",
  }),
  block: number('TEXTS', 'texts read and encoded at a time; bounds memory; default 4096'),
  'chunk-tokens': number('TOKENS', 'tokens in the encoder at once; default: automatic'),
} as const satisfies Flags;

/** `gradcache embed` */
export const embedCommand: Command = {
  usage: 'gradcache embed --model FOLDER --input FILE --output FILE [FLAGS]',
  about:
    'Turns texts into representations, a row for each text in the order of the input. Memory does not grow with the input.\n' +
    'A file is written beside its place and renamed when it is complete; a pipe or a device is written to.',
  sections: {
    Model: { ...MODEL_FLAGS, ...DIMENSIONS_FLAG, ...RANK_FLAGS },
    'Texts and vectors': EMBED_FLAGS,
  },
  examples: [
    'gradcache embed --model runs/a/model --input corpus.jsonl --column text --output corpus.npy',
    'cat queries.txt | gradcache embed --model m --input - --output queries.jsonl',
  ],
  run(args, console) {
    return withRanks(args, rankSettingsOf(args), console, (ranks, own) => runEmbed(args, own, ranks));
  },
};

async function runEmbed(args: Arguments, { progress, print }: Console, ranks: Ranks | null): Promise<number> {
  const started = performance.now();
  const output = args.required('output', EMBED_FLAGS.output);
  const count = await interruptible(
    (signal) => embed(args, output, { signal, progress, ranks }),
    progress,
    () =>
      streamOf(output) === undefined
        ? `${output} is as it was before.`
        : 'The vectors that were written are not all.',
  );
  progress.clear();
  const seconds = (performance.now() - started) / 1000;
  const summary = args.on('json')
    ? JSON.stringify({ output, ...count, seconds })
    : `${output}: ${plural(count.texts, 'vector')} of ${plural(count.dimension, 'number')}`;
  // If the vectors go to standard output, nothing else may.
  if (streamOf(output) === 'stdout') progress.say(summary);
  else print(summary);
  return 0;
}

/** Vector files hold float32. */
const toFloat32 = (values: Float32Array | Float64Array): Float32Array =>
  types.isFloat32Array(values) ? values : Float32Array.from(values);

/** Of several ranks each reads all texts and encodes its share of a block; the first writes. */
async function embed(
  given: Arguments,
  output: string,
  { signal, progress, ranks }: { signal: AbortSignal; progress: ProgressLine; ranks: Ranks | null },
): Promise<{ texts: number; dimension: number }> {
  const args = await onEach(ranks, 'fetching from the hub', () =>
    locateData(given, ['input'], progress, signal),
  );
  const format = formatOf(output, args.oneOf('format', VECTOR_FORMATS));
  const block = (args.count('block') ?? 4096) * (ranks?.size ?? 1);
  const tokensPerChunk = args.count('chunk-tokens');
  const promptFor = promptOf(args, 'prompt');
  const task = args.oneOf('as', ['query', 'document']);
  const input = args.required('input', EMBED_FLAGS.input);
  const once = ranks === null ? undefined : readOnceAmong([input === '-' ? '/dev/stdin' : input]);
  if (once !== undefined)
    throw new UsageError(
      `--input is ${input}, which can be read once, and each of ${ranks!.size} processes reads it.`,
    );
  const texts = openTexts(args, input);
  const inputs = [
    { name: '--input', path: input === '-' ? '/dev/stdin' : input },
    { name: '--model', path: args.required('model', MODEL_FLAGS.model) },
  ];
  await onFirst(ranks, 'looking at the files', () =>
    refuseOverwriting({ name: '--output', path: output }, inputs),
  );
  try {
    // Loading a model takes long, so faults of the texts or the output are told before it. Standard input can be written
    // meanwhile.
    const first =
      input === '-'
        ? undefined
        : await onEach(ranks, 'reading the first text', () => unlessAborted(texts.next(), signal));
    let file: VectorFile | null = null;
    try {
      await onFirst(ranks, 'opening the output', async () => {
        file = await unlessAborted(openVectorFile(output, format), signal);
      });
      const model = await openModel(args, { progress, signal, ranks });
      const encoder = sharedEncoder(model, ranks);
      try {
        const dimensions = dimensionsOf(args, model);
        const dimension = dimensions ?? model.dimension;
        const prompt = promptFor(model);
        const started = performance.now();
        let done = 0;
        for await (const part of inBlocks(texts, first, block, signal)) {
          const options = { prompt, dimensions, signal, ...(tokensPerChunk && { tokensPerChunk }) };
          const tensor = await encodeTexts(encoder, part, options, task);
          await onFirst(ranks, 'writing vectors', async () => {
            const values = toFloat32((await tensor.values()) as Float32Array | Float64Array);
            requireFinite(values, part, `of ${input}`, done);
            await unlessAborted(file!.write(part, values, dimension), signal);
          }).finally(() => {
            tensor.dispose();
          });
          done += part.length;
          progress.show(
            `${plural(done, 'text')} · ${formatCount((done * 1000) / (performance.now() - started))}/s`,
          );
        }
        await onFirst(ranks, 'closing the output', () => file!.finish(dimension));
        return { texts: done, dimension };
      } finally {
        model.dispose();
      }
    } catch (error) {
      await (file as VectorFile | null)?.abandon();
      throw error;
    }
  } finally {
    // This is not awaited: after the signal, a text may still be on its way.
    texts.return(undefined).catch(() => undefined);
  }
}

function openTexts(args: Arguments, input: string): AsyncGenerator<string, void, undefined> {
  const column = args.text('column');
  if (column !== undefined) {
    if (input === '-' && args.text('input-format') === undefined)
      throw new UsageError(
        '--column with --input - needs --input-format: standard input has no name that tells it.',
      );
    return readTexts(input, column, howToRead(args, input, 'input-format'));
  }
  const useless = ['input-format', ...Object.keys(TABLE_FLAGS)].find((name) => args.get(name) !== undefined);
  if (useless !== undefined)
    throw new UsageError(
      `--${useless} is for a file with columns: name the column of the texts with --column.`,
    );
  return readTexts(input, undefined);
}

/**
 * Gives the texts in lists of `size`. Waiting for a text ends when the signal fires.
 *
 * @param first the first text, if it has been read already
 */
async function* inBlocks(
  texts: AsyncGenerator<string, void, undefined>,
  first: IteratorResult<string, void> | undefined,
  size: number,
  signal: AbortSignal,
): AsyncGenerator<string[], void, undefined> {
  let block: string[] = [];
  let ahead = first;
  for (;;) {
    const { done, value } = ahead ?? (await unlessAborted(texts.next(), signal));
    ahead = undefined;
    if (done === true) break;
    block.push(value);
    if (block.length < size) continue;
    yield block;
    block = [];
  }
  if (block.length > 0) yield block;
}

/** @param before how many texts there were before these */
function requireFinite(
  vectors: Float32Array,
  texts: readonly string[],
  source: string,
  before: number,
): void {
  const place = vectors.findIndex((value) => !Number.isFinite(value));
  if (place < 0) return;
  const row = Math.floor(place / (vectors.length / texts.length));
  throw new GradCacheError(
    'NON_FINITE',
    `The vector of text ${before + row + 1} ${source}, ${show(texts[row])}, holds ${vectors[place]}: ` +
      'the model gives no number for it.',
  );
}

function formatOf(output: string, given: VectorFormat | undefined): VectorFormat {
  const format = given ?? VECTOR_FORMATS.find((known) => known === output.split('.').at(-1));
  if (format !== undefined) return format;
  const known = VECTOR_FORMATS.map((each) => `.${each}`).join(', ');
  throw new UsageError(`The format of ${output} cannot be told from its name; use ${known}, or --format.`);
}
