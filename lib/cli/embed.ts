import type { Command } from './command.js';
import { UsageError } from './flags.js';
import type { Arguments, Flags } from './flags.js';
import { interruptible } from './interrupt.js';
import { MODEL_FLAGS, openModel } from './model.js';
import { openVectorFile, VECTOR_FORMATS } from './vector-files.js';
import type { VectorFormat } from './vector-files.js';
import { readTexts } from './texts.js';
import { formatCount, type ProgressLine } from './terminal.js';

const EMBED_FLAGS = {
  input: {
    kind: 'text',
    value: 'FILE',
    help: 'texts: one a line, or .jsonl, .csv, .tsv, .parquet with --column; - reads lines from standard input',
  },
  column: { kind: 'text', value: 'NAME', help: 'the column that holds the texts' },
  output: {
    kind: 'text',
    value: 'FILE',
    help: 'its name tells the format: .jsonl (text and vector), .npy or .safetensors',
  },
  format: { kind: 'text', value: 'FORMAT', help: 'jsonl, npy or safetensors, where the name does not tell' },
  prompt: { kind: 'text', value: 'NAME', help: 'prompt of the model put before every text' },
  block: {
    kind: 'number',
    value: 'TEXTS',
    help: 'texts read and encoded at a time; bounds memory; default 4096',
  },
  'chunk-tokens': {
    kind: 'number',
    value: 'TOKENS',
    help: 'tokens in the encoder at once; default: automatic',
  },
} as const satisfies Flags;

/** `gradcache embed` */
export const embedCommand: Command = {
  usage: 'gradcache embed --model FOLDER --input FILE --output FILE [FLAGS]',
  about:
    'Turns texts into representations, a row for each text in the order of the input. Memory does not grow with the input.\n' +
    'The output is written beside its place and renamed when it is complete.',
  sections: { Model: MODEL_FLAGS, 'Texts and vectors': EMBED_FLAGS },
  examples: [
    'gradcache embed --model runs/a/model --input corpus.jsonl --column text --output corpus.npy',
    'cat queries.txt | gradcache embed --model m --input - --output queries.jsonl',
  ],
  async run(args, { progress, print }) {
    const started = performance.now();
    const output = args.required('output', EMBED_FLAGS.output);
    const count = await interruptible(
      (signal) => embed(args, output, signal, progress),
      () => progress.say('Ending after the current chunk. Ctrl-C again ends at once.'),
    );
    progress.clear();
    const seconds = (performance.now() - started) / 1000;
    if (args.on('json')) print(JSON.stringify({ output, ...count, seconds }));
    else print(`${output}: ${count.texts} vectors of ${count.dimension} numbers`);
    return 0;
  },
};

async function embed(
  args: Arguments,
  output: string,
  signal: AbortSignal,
  progress: ProgressLine,
): Promise<{ texts: number; dimension: number }> {
  const format = formatOf(output, args.text('format'));
  const block = args.number('block') ?? 4096;
  if (!Number.isInteger(block) || block < 1)
    throw new UsageError(`--block is ${block}; a whole number from 1 is needed.`);
  const texts = readTexts(args.required('input', EMBED_FLAGS.input), args.text('column'));
  const model = await openModel(args, progress);
  try {
    const file = await openVectorFile(output, format, model.dimension);
    try {
      const started = performance.now();
      let done = 0;
      for await (const part of inBlocks(texts, block)) {
        const tensor = await model.encode(part, {
          prompt: args.text('prompt'),
          tokensPerChunk: args.number('chunk-tokens'),
          signal,
        });
        const values = await tensor.values();
        tensor.dispose();
        await file.write(part, Float32Array.from(values as Float32Array));
        done += part.length;
        progress.show(`${done} texts · ${formatCount((done * 1000) / (performance.now() - started))}/s`);
      }
      await file.finish();
      return { texts: done, dimension: model.dimension };
    } catch (error) {
      await file.abandon();
      throw error;
    }
  } finally {
    model.dispose();
  }
}

async function* inBlocks(
  texts: AsyncIterable<string>,
  size: number,
): AsyncGenerator<string[], void, undefined> {
  let block: string[] = [];
  for await (const text of texts) {
    block.push(text);
    if (block.length < size) continue;
    yield block;
    block = [];
  }
  if (block.length > 0) yield block;
}

function formatOf(output: string, given: string | undefined): VectorFormat {
  const wanted = given ?? output.split('.').at(-1);
  const format = VECTOR_FORMATS.find((known) => known === wanted);
  if (format !== undefined) return format;
  throw new UsageError(
    given === undefined
      ? `The format of ${output} cannot be told from its name; use ${VECTOR_FORMATS.map((known) => `.${known}`).join(', ')}, or --format.`
      : `--format is ${given}; accepted is ${VECTOR_FORMATS.join(', ')}.`,
  );
}
