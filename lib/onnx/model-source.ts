import type { EncoderSettings } from '../addon/native.js';
import { isUnused } from '../architectures/architecture.js';
import { architectureOf } from '../architectures/architectures.js';
import { byParameter, otherWeights, requireSizes } from '../encoders/model-state.js';
import { changed, mergeOf } from '../encoders/merged-weights.js';
import { settingsOf as settingsOfPairs } from '../encoders/pair-head.js';
import { settingsOf } from '../encoders/text-encoder-settings.js';
import { GradCacheError } from '../errors.js';
import { readCrossEncoderFolder, type CrossEncoderFolder } from '../model-folder/cross-encoder-folder.js';
import { moduleTensors } from '../model-folder/head-modules.js';
import { inFolder } from '../model-folder/in-folder.js';
import { isCrossEncoderFolder } from '../model-folder/is-cross-encoder-folder.js';
import { readModelFolder, type Asked, type ModelFolder } from '../model-folder/model-folder.js';
import { openWeights } from '../model-folder/model-weights.js';
import { refused } from '../options/option-values.js';
import type { OnnxPrecision } from './builder.js';
import { encoderGraph, type OnnxKind } from './encoder-graph.js';
import type { Graph } from './graph.js';
import { Parameters } from './parameters.js';
import { weightOf, type Weight } from './weights.js';

/** A model as graphs are made of it. */
export interface ModelSource {
  readonly kind: OnnxKind;
  /** Without the weights of a transformer. Adapters are merged. */
  readonly folder: ModelFolder | CrossEncoderFolder;
  readonly settings: EncoderSettings;
  /** By the names of parameters. */
  readonly weights: ReadonlyMap<string, Weight>;
}

/**
 * Reads all of a model's folder but its weights, which are read when they are written.
 *
 * @throws GradCacheError `CHECKPOINT` as `TextEncoder.load`; `INPUT` for a model that a graph cannot hold
 */
export async function readModelSource(path: string, asked: Asked): Promise<ModelSource> {
  if (await isCrossEncoderFolder(path)) {
    for (const [name, value] of Object.entries(asked))
      if (value !== undefined) throw refused(name, value, `none, since ${path} is a cross-encoder,`);
    const folder = await readCrossEncoderFolder(path, { anyModel: false, withoutWeights: true });
    const weights = await weightsOf(folder);
    return inFolder(path, () => ({ kind: 'scores', folder, settings: settingsOfPairs(folder, {}), weights }));
  }
  const folder = await readModelFolder(path, { ...asked, withoutWeights: true });
  requireWhole(path, folder);
  const weights = await weightsOf(folder);
  return inFolder(path, () => ({
    kind: folder.splade ? 'splade' : 'embedding',
    folder: { ...folder, adapter: null },
    settings: settingsOf(folder, {}).settings,
    weights,
  }));
}

/** @throws GradCacheError `INPUT` for a model that does more with tokens than a graph is told of */
function requireWhole(path: string, { pooling, includePrompt }: ModelFolder): void {
  if (pooling === 'none')
    throw new GradCacheError(
      'INPUT',
      `${path} has a representation for each token (late interaction), which cannot be written as ONNX: which tokens count ` +
        'depends on the task of a text, and a graph is not told that. A model that pools is needed.',
    );
  if (includePrompt === false)
    throw new GradCacheError(
      'INPUT',
      `${path} leaves the tokens of its prompts out of the pooling (include_prompt is false), which cannot be written as ` +
        'ONNX: a graph does not know where a prompt ends. A model that pools all tokens is needed.',
    );
}

async function weightsOf(folder: ModelFolder): Promise<ReadonlyMap<string, Weight>> {
  const tensors = folder.layout
    ? new Map(Array.from(folder.tensors, ([name, tensor]) => [name, weightOf(tensor)]))
    : await transformerWeights(folder);
  const described = { ...folder, tensors };
  const weights = inFolder(folder.transformerFolder ?? '', () => {
    requireSizes(described);
    return new Map(byParameter(described));
  });
  for (const [name, tensor] of moduleTensors(folder.modules)) weights.set(name, weightOf(tensor));
  return weights;
}

/** The weights of a transformer with its adapters added, under the names of its folder. */
async function transformerWeights({
  adapter,
  modelType,
  transformerFolder = '',
}: ModelFolder): Promise<Map<string, Weight>> {
  const weights = new Map<string, Weight>(await openWeights(transformerFolder));
  if (!adapter) return weights;
  for (const [name, changes] of mergeOf(adapter, modelType, weights.keys())) {
    const { shape, read } = weights.get(name)!;
    weights.set(name, { shape, read: async () => changed(name, await read(), changes) });
  }
  return weights;
}

/** The graph of a model. @throws GradCacheError `CHECKPOINT` naming every weight that is missing, unexpected or of another shape */
export function graphOf({ kind, folder, settings, weights }: ModelSource, precision: OnnxPrecision): Graph {
  const parameters = new Parameters(weights);
  const dimensions = folder.truncateDimension ?? null;
  const graph = encoderGraph(settings, parameters, { kind, precision, dimensions });
  const architecture = architectureOf(folder.modelType);
  const faults = parameters.faults((name) => isUnused(architecture, name));
  if (faults !== undefined) throw otherWeights(folder, faults);
  return graph;
}
