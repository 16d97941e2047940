import { types } from 'node:util';
import { readOnceAmong } from '../data/source.js';
import type { Ranks } from '../distributed/ranks.js';
import { fromFirst, onEach, onFirst } from '../distributed/shared-work.js';
import { encodeTexts } from '../evaluation/encode-texts.js';
import { refuseOverwriting } from '../files/overwrite.js';
import { plural } from '../options/plural.js';
import { placeOfOutput, streamOf } from '../files/output-place.js';
import { needsRanges, VECTOR_TYPES } from '../vectors/quantize.js';
import { partsBeside } from '../vectors/unfinished-run.js';
import type { Tensor } from '../tensor/tensor.js';
import { VECTOR_FORMATS, type TextRow, type VectorFormat } from '../vectors/vector-format.js';
import { VectorWriter, type WriterSettings } from '../vectors/vector-writer.js';
import type { Command, Console } from './command.js';
import { inBlocks, openRows } from './embed-input.js';
import { refuseFlags } from './evaluate-flags.js';
import { type Arguments, type Flags, list, number, onOff, text, UsageError } from './flags.js';
import { locateData } from './hub.js';
import { interruptible, unlessAborted } from './interrupt.js';
import { oneAhead } from './one-ahead.js';
import { DIMENSIONS_FLAG, dimensionsOf, MODEL_FLAGS } from './model.js';
import { openPictureTower, openTextTower } from './picture-model.js';
import { promptFlags, promptOf } from './prompt-flags.js';
import { FORMAT_NAMES, tableFlags } from './table-flags.js';
import { RANK_FLAGS, rankSettingsOf, withRanks } from './ranks.js';
import { formatCount, type ProgressLine } from './terminal.js';
import { WINDOW_FLAGS, windowFlags, windowsOf } from './window-flags.js';

const EMBED_FLAGS = {
  input: text(
    'FILE',
    'texts: one a line, or .jsonl, .csv, .tsv, .parquet with --column, or hf:OWNER/NAME/FILE of the hub; - reads\nstandard input',
  ),
  column: text('NAME', 'the column that holds the texts'),
  images: onOff(
    'the texts are paths of pictures, from the folder of --input, for a model with a tower of pictures: CLIP, SigLIP\nor ViT. Without it CLIP and SigLIP take captions',
  ),
  'input-format': text('FORMAT', `of a file with columns: ${FORMAT_NAMES}, where the name does not tell`),
  ...tableFlags('--column'),
  keep: list(
    'A,B',
    'columns to keep beside the vectors, such as ids: in JSON lines in the same object, else in OUTPUT.rows.jsonl',
  ),
  output: text(
    'FILE',
    'its name tells the format: .jsonl (text and vector), .npy or .safetensors; a pipe takes jsonl;\n- writes to standard output',
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
  ...windowFlags('texts that are too long in windows, each as a text of its own, for sparse models'),
  'vector-type': text(
    'TYPE',
    'float32 (default), float16, int8, uint8, binary or ubinary (a bit for each number), as quantize_embeddings of\nsentence-transformers has them',
  ),
  ranges: text(
    'FILE',
    'of int8 and uint8: the least and greatest number of each dimension, as OUTPUT.ranges.npy of another run has them;\ndefault: those of the first rows',
  ),
  'calibration-rows': number('ROWS', 'how many rows these are; default 10000'),
  resume: onOff(
    'go on with a run into --output that was killed or interrupted; the result is the same, byte for byte;\n--no-resume begins anew',
  ),
  'save-every': number('SECONDS', 'how often it is stored how far the run is; default 10'),
  block: number('TEXTS', 'texts read and encoded at a time; bounds memory; default 4096'),
  'chunk-tokens': number('TOKENS', 'tokens in the encoder at once; default: automatic'),
} as const satisfies Flags;

/** `gradcache embed` */
export const embedCommand: Command = {
  usage: 'gradcache embed --model FOLDER --input FILE --output FILE [FLAGS]',
  about:
    'Turns texts into representations, a row for each text in the order of the input. Memory does not grow with the input.\n' +
    'A file is written in OUTPUT.unfinished and gets to its place when it is complete; a pipe or a device is written to.',
  sections: {
    Model: { ...MODEL_FLAGS, ...DIMENSIONS_FLAG, ...RANK_FLAGS },
    'Texts and vectors': EMBED_FLAGS,
  },
  needed: ['model', 'input', 'output'],
  examples: [
    'gradcache embed --model runs/a/model --input corpus.jsonl --column text --output corpus.npy',
    'gradcache embed --model m --input corpus.parquet --column text --keep id,title --vector-type int8 --output c.npy --resume',
    'cat queries.txt | gradcache embed --model m --input - --output queries.jsonl',
    'gradcache embed --model clip --images --input photos.csv --column file_name --output photos.npy',
  ],
  run(args, console) {
    return withRanks(args, rankSettingsOf(args), console, (ranks, own) => runEmbed(args, own, ranks));
  },
};

async function runEmbed(args: Arguments, { progress, print }: Console, ranks: Ranks | null): Promise<number> {
  const started = performance.now();
  const output = args.required('output', EMBED_FLAGS.output);
  let left = 0;
  const count = await interruptible(
    (signal) => embed(args, output, { signal, progress, ranks, onLeft: (rows) => (left = rows) }),
    progress,
    () => {
      if (streamOf(output) !== undefined) return 'The vectors that were written are not all.';
      const resume = left === 0 ? '' : ` ${plural(left, 'vector')} can be gone on from with --resume.`;
      return `${output} is as it was before.${resume}`;
    },
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

/** Files hold float32, or what is made of it. */
const toFloat32 = (values: Float32Array | Float64Array): Float32Array =>
  types.isFloat32Array(values) ? values : Float32Array.from(values);

/** How an embedding is run. */
interface Running {
  readonly signal: AbortSignal;
  readonly progress: ProgressLine;
  readonly ranks: Ranks | null;
  /** Told how many vectors a run that failed can be gone on from. */
  readonly onLeft: (rows: number) => void;
}

/** Of several ranks each reads all texts and encodes its share of a block; the first writes. */
async function embed(
  given: Arguments,
  output: string,
  { signal, progress, ranks, onLeft }: Running,
): Promise<{ texts: number; dimension: number }> {
  const args = await onEach(ranks, 'fetching from the hub', () =>
    locateData(given, ['input'], progress, signal),
  );
  const block = (args.count('block') ?? 4096) * (ranks?.size ?? 1);
  const tokensPerChunk = args.count('chunk-tokens');
  const promptFor = promptOf(args, 'prompt');
  const task = args.oneOf('as', ['query', 'document']);
  const input = args.required('input', EMBED_FLAGS.input);
  if (args.on('images')) refuseFlags(args, WINDOW_FLAGS, 'is for texts, not for --images');
  const windows = windowsOf(args);
  const settings = writerSettings(args, output, { block, input });
  const once = ranks === null ? undefined : readOnceAmong([input === '-' ? '/dev/stdin' : input]);
  if (once !== undefined)
    throw new UsageError(
      `--input is ${input}, which can be read once, and each of ${ranks!.size} processes reads it.`,
    );
  const rows = openRows(args, input);
  await onFirst(ranks, 'looking at the files', () => requireApart(args, input, settings));
  try {
    // Loading a model takes long, so faults of the texts or the output are told before it. Standard input can be written
    // meanwhile.
    const first =
      input === '-'
        ? undefined
        : await onEach(ranks, 'reading the first text', () => unlessAborted(rows.next(), signal));
    let writer: VectorWriter | null = null;
    try {
      const { done, complete } = await fromFirst(ranks, 'opening the output', async () => {
        writer = await unlessAborted(VectorWriter.open(settings), signal);
        return { done: writer.done, complete: writer.complete ?? null };
      });
      if (complete !== null) {
        await onFirst(ranks, 'closing the output', () => writer!.finish(complete.dimension));
        return { texts: complete.rows, dimension: complete.dimension };
      }
      sayStart(settings, done, progress);
      const how = { progress, signal, ranks };
      const model = await (args.on('images')
        ? openPictureTower(args, how, input)
        : openTextTower(args, how, task, windows));
      const { encoder } = model;
      try {
        const dimensions = dimensionsOf(args, model);
        const dimension = dimensions ?? model.dimension;
        await onFirst(ranks, 'reading ranges', () => writer!.prepare(dimension));
        const options = {
          prompt: promptFor(model),
          dimensions,
          signal,
          ...(tokensPerChunk && { tokensPerChunk }),
        };
        const started = performance.now();
        let begun = 0;
        const encode = async (part: readonly TextRow[]): Promise<Tensor | null> => {
          begun += part.length;
          // The first block of a run that is gone on with is encoded again, to see that it comes to the same.
          if (begun > part.length && begun <= done) return null;
          const texts = part.map((row) => row.text);
          return encodeTexts(encoder, texts, options, task);
        };
        let seen = 0;
        // Ranks exchange what they encode, and so encode a block after the other.
        const blocks = inBlocks(rows, first, block, signal);
        for await (const [part, tensor] of oneAhead(blocks, encode, ranks === null)) {
          if (tensor === null) await onFirst(ranks, 'passing over texts', async () => writer!.pass(part));
          else
            await onFirst(ranks, 'writing vectors', async () => {
              const values = toFloat32((await tensor.values()) as Float32Array | Float64Array);
              await unlessAborted(writer!.write(part, values, dimension), signal);
            }).finally(() => {
              tensor.dispose();
            });
          seen += part.length;
          const speed = formatCount(((seen - Math.min(seen, done)) * 1000) / (performance.now() - started));
          progress.show(`${plural(seen, 'text')} · ${speed}/s`);
        }
        await onFirst(ranks, 'closing the output', () => writer!.finish(dimension));
        return { texts: seen, dimension };
      } finally {
        model.dispose();
      }
    } catch (error) {
      onLeft((await (writer as VectorWriter | null)?.abandon()) ?? 0);
      throw error;
    }
  } finally {
    // This is not awaited: after the signal, a text may still be on its way.
    rows.return(undefined).catch(() => undefined);
  }
}

/** Flags that decide on the bytes of the vectors. The model and the texts are compared by what comes of them. */
const DECISIVE = [
  'precision',
  'max-length',
  'route',
  'dimensions',
  'as',
  'prompt',
  'prompt-text',
  'chunk-tokens',
  ...WINDOW_FLAGS,
  'column',
  'images',
  'keep',
  'ranges',
  'calibration-rows',
];

/** @throws UsageError for flags that do not go together */
function writerSettings(
  args: Arguments,
  output: string,
  { block, input }: { readonly block: number; readonly input: string },
): WriterSettings {
  const format = formatOf(output, args.oneOf('format', VECTOR_FORMATS));
  const type = args.oneOf('vector-type', VECTOR_TYPES) ?? 'float32';
  const ranges = args.text('ranges');
  const calibrationRows = args.count('calibration-rows');
  const useless = ['ranges', 'calibration-rows'].find((name) => args.get(name) !== undefined);
  if (useless !== undefined && !needsRanges(type))
    throw new UsageError(`--${useless} is for --vector-type int8 and uint8, and it is ${type}.`);
  if (ranges !== undefined && calibrationRows !== undefined)
    throw new UsageError('--ranges and --calibration-rows exclude each other: give one of them.');
  const saveEvery = args.number('save-every') ?? 10;
  if (saveEvery < 0) throw new UsageError(`--save-every is ${saveEvery}; a number from 0 is needed.`);
  const decisive = { format, 'vector-type': type, block };
  return {
    path: output,
    format,
    type,
    keep: args.list('keep') ?? [],
    ranges,
    calibrationRows: calibrationRows ?? 10_000,
    resume: args.get('resume') as boolean | undefined,
    saveEvery,
    decisive: { ...decisive, ...Object.fromEntries(DECISIVE.map((name) => [name, args.get(name) ?? null])) },
    source: input,
  };
}

/** Nothing that is read is written over. */
async function requireApart(args: Arguments, input: string, { path, ranges }: WriterSettings): Promise<void> {
  const inputs = [
    { name: '--input', path: input === '-' ? '/dev/stdin' : input },
    { name: '--model', path: args.required('model', MODEL_FLAGS.model) },
    ...(ranges === undefined ? [] : [{ name: '--ranges', path: ranges }]),
  ];
  const place = await placeOfOutput(path);
  const target = place.kind === 'file' ? place.target : path;
  for (const written of [target, ...Object.values(partsBeside(target))])
    await refuseOverwriting({ name: '--output', path: written }, inputs);
}

function sayStart({ resume, path }: WriterSettings, done: number, progress: ProgressLine): void {
  if (done > 0) progress.say(`${path}: ${plural(done, 'vector')} there already`);
  else if (resume === true) progress.say(`${path}: there is no run to go on with, so it begins`);
}

function formatOf(output: string, given: VectorFormat | undefined): VectorFormat {
  const format = given ?? VECTOR_FORMATS.find((known) => known === output.split('.').at(-1));
  if (format !== undefined) return format;
  const known = VECTOR_FORMATS.map((each) => `.${each}`).join(', ');
  throw new UsageError(`The format of ${output} cannot be told from its name; use ${known}, or --format.`);
}
