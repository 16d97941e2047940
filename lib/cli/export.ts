import { exportOnnx, ONNX_PRECISIONS } from '../onnx/export-onnx.js';
import { TOKEN_POOLINGS } from '../model-folder/pooling.js';
import { isSeveralOf, severalOf, show } from '../options/option-values.js';
import type { Command } from './command.js';
import { list, onOff, text, UsageError, type Arguments } from './flags.js';
import { locateModel } from './hub.js';
import { interruptible } from './interrupt.js';
import { formatBytes } from './terminal.js';

/** `gradcache export` */
export const exportCommand: Command = {
  usage: 'gradcache export --onnx FOLDER|NAME OUT [FLAGS]',
  about:
    'Writes a model as ONNX: OUT/onnx/model.onnx, with the tokenizer and what else is needed to serve it by onnxruntime,\n' +
    'transformers.js or the ONNX backend of sentence-transformers. A graph gives last_hidden_state and sentence_embedding, which is\n' +
    "what `gradcache embed` gives; a cross-encoder's gives logits. Adapters are merged. Where OUT is FOLDER, onnx/ is added to it.",
  sections: {
    Export: {
      onnx: onOff('write ONNX, the one form there is'),
      precision: list(
        'TYPES',
        'float32 (default), float16 (onnx/model_fp16.onnx), int8 (onnx/model_quantized.onnx); several as\nfloat32,int8',
      ),
    },
    'Reading the model': {
      pooling: text('NAME', 'mean (default), cls, last …, of a folder that names none'),
      'base-model': text('FOLDER', "an adapter's base model; default: where the adapter says"),
      route: text('TASK', 'query or document: which model of a folder with a Router'),
    },
  },
  examples: [
    'gradcache export --onnx runs/a/model served',
    'gradcache export --onnx runs/a/model served --precision float32,int8',
  ],
  operands: ['FOLDER', 'OUT'],
  needed: ['onnx'],
  async run(args, { progress, print }) {
    const [given = '', out = ''] = args.operands;
    const options = {
      precisions: precisionsOf(args),
      pooling: args.oneOf('pooling', [...TOKEN_POOLINGS, 'splade']),
      baseModel: args.text('base-model'),
      route: args.oneOf('route', ['query', 'document']),
    };
    const files = await interruptible(
      async (signal) => {
        const folder = await locateModel(given, progress, signal);
        return exportOnnx(folder, out, {
          ...options,
          signal,
          onProgress: ({ file, bytes, totalBytes }) =>
            progress.show(`${file} · ${formatBytes(bytes)} of ${formatBytes(totalBytes)}`),
        });
      },
      progress,
      () => `Nothing was written to ${out}.`,
    );
    progress.clear();
    if (args.on('json')) print(JSON.stringify({ folder: out, files }));
    else
      for (const { file, bytes, sideFile } of files)
        print(
          `${out}/${file}: ${formatBytes(bytes)}${sideFile === null ? '' : `, weights in ${out}/${sideFile}`}`,
        );
    return 0;
  },
};

function precisionsOf(args: Arguments) {
  const precisions = args.list('precision');
  if (precisions === undefined || isSeveralOf(precisions, ONNX_PRECISIONS)) return precisions;
  throw new UsageError(
    `--precision is ${show(precisions.join(','))}; ${severalOf(ONNX_PRECISIONS).replace('a list of ', '')} is needed.`,
  );
}
