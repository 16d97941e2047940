import { types } from 'node:util';
import type { CrossEncoder } from '../encoders/cross-encoder.js';
import { overlapOf, refuseWindows, type Windows } from '../encoders/long-texts.js';
import { promptNameFor } from '../encoders/prompts.js';
import type { SparseRows } from '../encoders/sparse-rows.js';
import type { TextEncoder } from '../encoders/text-encoder.js';
import type { TextTask } from '../model-folder/late-interaction.js';
import { requireNumber } from '../options/option-values.js';
import { Tensor } from '../tensor/tensor.js';
import type { EncodesTexts } from './encode-texts.js';
import type { SharedModel } from './shared-encoder.js';

/** A text encoder that can read long texts in windows. */
type WindowedModel = SharedModel & Pick<TextEncoder, 'device' | 'expandsQueries'>;

/**
 * An encoder that reads texts beyond its limit in windows: one that is sparse, or has a representation for each token. Queries that are
 * expanded to one length are cut to it as ever. Without windows, the encoder itself.
 *
 * @throws GradCacheError `INPUT` for windows of a model with one dense representation of a text
 */
export function windowedEncoder(model: WindowedModel, windows: Windows | undefined): SharedModel {
  if (overlapOf(windows) === undefined) return model;
  const { prompts, similarity, sparse, perToken, device, expandsQueries } = model;
  if (!sparse && !perToken) refuseWindows({ windows });
  const encodeSparse: SharedModel['encodeSparse'] = (texts, options) =>
    model.encodeSparse(texts, { ...options, windows });
  const encode: Required<EncodesTexts>['encode'] = async (texts, { dimensions, ...options } = {}) =>
    toRows(await encodeSparse(texts, options), dimensions, device);
  const encodeFor =
    (task: TextTask): SharedModel['encodeQuery'] =>
    async (texts, options = {}) => {
      const { prompt = promptNameFor(task, (name) => Object.hasOwn(prompts, name)) } = options;
      const { dimensions, ...others } = options;
      return toRows(await encodeSparse(texts, { ...others, prompt, task }), dimensions, device);
    };
  const dense = perToken
    ? {
        encode: model.encode.bind(model),
        encodeQuery: model.encodeQuery.bind(model),
        encodeDocument: model.encodeDocument.bind(model),
      }
    : { encode, encodeQuery: encodeFor('query'), encodeDocument: encodeFor('document') };
  return {
    ...{ prompts, similarity, sparse, perToken, ...dense, encodeSparse },
    encodeTokens: (texts, options) => {
      const whole = options?.task === 'query' && expandsQueries;
      return model.encodeTokens(texts, whole ? options : { ...options, windows });
    },
  };
}

/** A cross-encoder that reads documents beyond its limit in windows. Without windows, the cross-encoder itself. */
export function windowedScorer(
  model: CrossEncoder,
  windows: Windows | undefined,
): Pick<CrossEncoder, 'predict' | 'labels'> {
  if (overlapOf(windows) === undefined) return model;
  return {
    labels: model.labels,
    predict: (pairs, options) => model.predict(pairs, { ...options, windows }),
  };
}

/** Sparse rows with their zeros, [rows, dimensions]. */
function toRows(
  { values, columns, offsets, dimension }: SparseRows,
  dimensions: number | undefined,
  device: string,
): Tensor {
  const width = dimensions ?? dimension;
  requireNumber('dimensions', width, { from: 1, to: dimension, whole: true });
  const rows = offsets.length - 1;
  const whole = types.isFloat64Array(values)
    ? new Float64Array(rows * width)
    : new Float32Array(rows * width);
  for (let row = 0; row < rows; row++)
    for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++)
      if (columns[entry]! < width) whole[row * width + columns[entry]!] = values[entry]!;
  return Tensor.from(whole, { shape: [rows, width], device });
}
