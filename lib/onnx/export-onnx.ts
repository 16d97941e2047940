import { join } from 'node:path';
import { checkLoadOptions } from '../encoders/text-encoder-options.js';
import { folderOfModel } from '../hub/pull.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import type { Pooling } from '../model-folder/pooling.js';
import { throwIfAborted } from '../options/abort.js';
import { checkKnown } from '../options/known-options.js';
import {
  refused,
  requireFunction,
  requireSeveralOf,
  requireSignal,
  requireString,
} from '../options/option-values.js';
import { tell } from '../options/synchronous.js';
import type { OnnxPrecision } from './builder.js';
import { writeOnnx } from './model-file.js';
import { graphOf, readModelSource } from './model-source.js';
import { GRAPHS, replaceOnnxFolder } from './onnx-folder.js';

/** The file of each precision, by the names that transformers.js looks for. */
const FILES: Readonly<Record<OnnxPrecision, string>> = {
  float32: 'model.onnx',
  float16: 'model_fp16.onnx',
  int8: 'model_quantized.onnx',
};

/** The precisions that a graph can have. */
export const ONNX_PRECISIONS = Object.keys(FILES) as readonly OnnxPrecision[];

/** What {@link exportOnnx} takes. */
export interface ExportOnnxOptions {
  /**
   * One file each: `'float32'`; `'float16'`, half as large; `'int8'`, a quarter as large, whose matrices and word vectors are in
   * eight bits, and activations too, by scales that are found as the graph runs. Default: `['float32']`.
   */
  readonly precisions?: readonly OnnxPrecision[] | undefined;
  /** As in {@link LoadOptions}, for a folder that names no pooling. */
  readonly pooling?: Pooling | undefined;
  /** As in {@link LoadOptions}: the folder of an adapter's base model. */
  readonly baseModel?: string | undefined;
  /** As in {@link LoadOptions}: which model of a folder with a Router. */
  readonly route?: TextTask | undefined;
  /** Ends the export; nothing is written then. */
  readonly signal?: AbortSignal | undefined;
  /** Called as a file grows. */
  readonly onProgress?: ((progress: OnnxProgress) => void) | undefined;
}

/** How far a file of an export has come. */
export interface OnnxProgress {
  /** Its path in the folder, such as `onnx/model.onnx`. */
  readonly file: string;
  /** Bytes of weights. */
  readonly bytes: number;
  /** Bytes in all. */
  readonly totalBytes: number;
}

/** A graph that {@link exportOnnx} has written. */
export interface OnnxFile {
  /** Its path in the folder, such as `onnx/model.onnx`. */
  readonly file: string;
  /** The type of its weights. */
  readonly precision: OnnxPrecision;
  /** Its size, with that of its side file. */
  readonly bytes: number;
  /** The file of its weights, where they are more than fit into 2 GiB, else null. */
  readonly sideFile: string | null;
}

/**
 * Writes a model as ONNX, for onnxruntime, transformers.js and the ONNX backend of sentence-transformers: a folder with `onnx/`, its
 * tokenizer and what else the model needs, without its weights. Any model that `TextEncoder.load` or `CrossEncoder.load` takes can be
 * exported, with its pooling and what is behind it; adapters are merged. Weights are read and written one at a time, so that
 * memory does not grow with the model. The folder is replaced whole. Where it is the model's own, only `onnx/` is added.
 *
 * A graph takes `input_ids`, `attention_mask` and, of models that know several, `token_type_ids`, all int64 [batch, sequence].
 * It gives, in float32, `last_hidden_state` [batch, sequence, hidden] and `sentence_embedding` [batch, dimension], which is what
 * `encode` gives. Of SPLADE it gives `logits` and `sentence_embedding` [batch, vocabulary], of a cross-encoder `logits` [batch,
 * labels], to which {@link CrossEncoder.activation} is still to be applied.
 *
 * ```ts
 * await exportOnnx('runs/a/model', 'served', { precisions: ['float32', 'int8'] });
 * ```
 *
 * @param folder of the model, or `hf:owner/name`
 * @throws GradCacheError `INPUT` for options, for a folder that cannot be written, and for what a graph cannot hold: a model with a
 * representation for each token, and one that leaves prompts out of its pooling; `CHECKPOINT` as `TextEncoder.load`; `HUB`,
 * `ABORTED`, `OUT_OF_MEMORY`
 */
export async function exportOnnx(
  folder: string,
  out: string,
  options: ExportOnnxOptions = {},
): Promise<OnnxFile[]> {
  requireString('folder', folder);
  requireString('out', out);
  if (out === '') throw refused('out', out, 'the path of a folder');
  const { precisions = ['float32'], signal, onProgress, ...asked } = checked(options);
  const from = await folderOfModel('folder', folder);
  const source = await readModelSource(from, asked);
  throwIfAborted(signal);
  const files: OnnxFile[] = [];
  await replaceOnnxFolder(out, from, source, async (graphs) => {
    files.length = 0; // a folder that cannot be renamed is filled a second time
    for (const precision of precisions) {
      const name = FILES[precision];
      const file = `${GRAPHS}/${name}`;
      const { bytes, sideFile } = await writeOnnx(join(graphs, name), graphOf(source, precision), {
        onBytes(bytes, totalBytes) {
          throwIfAborted(signal);
          tell('onProgress', onProgress, { file, bytes, totalBytes });
        },
      });
      files.push({ file, precision, bytes, sideFile: sideFile && `${GRAPHS}/${sideFile}` });
    }
    return files.flatMap(({ precision, sideFile }) => (sideFile === null ? [] : [FILES[precision]]));
  });
  return files;
}

function checked(options: ExportOnnxOptions): ExportOnnxOptions {
  const names = ['precisions', 'pooling', 'baseModel', 'route', 'signal', 'onProgress'];
  checkKnown('exportOnnx', options, names);
  const { precisions, pooling, baseModel, route, signal, onProgress } = options;
  if (precisions !== undefined) requireSeveralOf('precisions', precisions, ONNX_PRECISIONS);
  checkLoadOptions({
    ...(pooling !== undefined && { pooling }),
    ...(baseModel !== undefined && { baseModel }),
    ...(route !== undefined && { route }),
  });
  requireSignal('signal', signal);
  if (onProgress !== undefined) requireFunction('onProgress', onProgress);
  return options;
}
