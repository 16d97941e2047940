import { join } from 'node:path';
import type { Classifier } from '../architectures/classifier.js';
import { labelsIn } from '../architectures/classifier.js';
import { architectureOf, MODEL_TYPES } from '../architectures/architectures.js';
import { GradCacheError } from '../errors.js';
import { faultIn, refusedIn } from '../files/file-fault.js';
import { isJsonObject } from '../files/strict-json.js';
import { show } from '../options/option-values.js';
import { activationClass } from './activations.js';
import { CLASSIFIER_KEYS, CROSS_ENCODER_KEYS } from './folder-keys.js';
import { noWeights, requireFolder, type ModelFolder } from './model-folder.js';
import { NoHead } from './no-head.js';
import {
  MODEL_CONFIG,
  readModelConfig,
  readTransformerConfig,
  requireOneLength,
  statedKind,
  type ModelConfig,
  type TransformerConfig,
} from './sentence-config.js';
import { readModuleEntries } from './sentence-modules.js';
import { readTransformer, type TransformerFolder } from './transformer-folder.js';
import { writeJson } from '../files/write-json.js';
import { replaceModel, writeTransformer } from './write-model-folder.js';

/** What `predict` applies to logits. */
export type ScoreActivation = 'sigmoid' | 'identity' | 'tanh';

/** A cross-encoder as a folder holds it. Among the tensors are those of its head, if it has one. */
export interface CrossEncoderFolder extends ModelFolder {
  /** How many labels config.json states. */
  readonly labels: number;
  readonly activation: ScoreActivation;
}

const SCORE_ACTIVATIONS: readonly ScoreActivation[] = ['sigmoid', 'identity', 'tanh'];

/**
 * Reads the folder of a cross-encoder: what CrossEncoder of sentence-transformers saves, old and new layouts, or
 * AutoModelForSequenceClassification of transformers.
 *
 * @param anyModel also take a folder of another kind, of which only the transformer is read: one that gets a new head
 * @param withoutWeights as {@link Asked.withoutWeights}
 * @throws GradCacheError `CHECKPOINT` for damaged or missing files and for anything that cannot be honoured exactly
 */
export async function readCrossEncoderFolder(
  path: string,
  { anyModel, withoutWeights }: { readonly anyModel: boolean; readonly withoutWeights?: boolean },
): Promise<CrossEncoderFolder> {
  await requireFolder(path);
  const entries = await readModuleEntries(path);
  const kind = await kindOf(path, entries !== undefined);
  if (kind !== 'CrossEncoder') {
    if (!anyModel)
      throw new NoHead(
        `${join(path, 'modules.json')}: it is that of a ${kind}, which has no head for pairs; give the option newHead to train one.`,
      );
    const transformer = entries?.find((entry) => entry.kind === 'Transformer')?.folder ?? path;
    return withHead(await readTransformer(transformer, undefined), undefined, undefined);
  }
  const order = entries?.map((entry) => entry.kind).join(', ') ?? 'Transformer';
  if (order !== 'Transformer')
    throw faultIn(join(path, 'modules.json'), `its modules are ${order}; supported is a Transformer alone`);
  const folder = entries?.[0]!.folder ?? path;
  const transformer = entries && (await readTransformerConfig(folder, CLASSIFIER_KEYS));
  const model = entries && (await readModelConfig(path, CROSS_ENCODER_KEYS));
  const read = await readTransformer(folder, transformer, folder, withoutWeights ? noWeights : undefined);
  if (transformer) requireOneLength(transformer, read.maxLength);
  return { ...withHead(read, transformer, model), transformerFolder: folder };
}

/** sentence-transformers reads its own files only where there is a modules.json. Without it, this is a cross-encoder there. */
async function kindOf(path: string, modules: boolean): Promise<string> {
  if (!modules) return 'CrossEncoder';
  const kind = await statedKind(path);
  return typeof kind === 'string' ? kind : 'SentenceTransformer';
}

function withHead(
  { generation, ...read }: TransformerFolder,
  transformer: TransformerConfig | undefined,
  model: ModelConfig | undefined,
): CrossEncoderFolder {
  const labels = labelsIn(read.config);
  return {
    ...read,
    labels,
    activation: activationOf(read.config, model, labels),
    pooling: 'cls',
    modules: [],
    prompts: model?.prompts ?? {},
    defaultPrompt: model?.defaultPrompt ?? null,
    similarity: model?.similarity ?? null,
    kept: {
      transformer: transformer?.kept ?? {},
      model: model?.kept ?? {},
      generation,
      modules: new Map(),
    },
  };
}

/** As sentence-transformers finds it: in its own file, or in config.json under the names of releases before; else by labels. */
function activationOf(
  config: Readonly<Record<string, unknown>>,
  model: ModelConfig | undefined,
  labels: number,
): ScoreActivation {
  const { sentence_transformers: own, sbert_ce_default_activation_function: oldest } = config;
  const older = isJsonObject(own) ? own['activation_fn'] : undefined;
  const name = model?.activation ?? older ?? oldest ?? null;
  if (name === null) return labels === 1 ? 'sigmoid' : 'identity';
  const found = SCORE_ACTIVATIONS.find((each) => activationClass(each) === name);
  if (found !== undefined) return found;
  const file = (model?.activation ?? null) === null ? 'config.json' : MODEL_CONFIG;
  throw refusedIn(file, 'activation_fn', name, SCORE_ACTIVATIONS.map(activationClass).join(' or '));
}

/** The head of an architecture. @throws GradCacheError `CHECKPOINT` where it has none */
export function classifierOf(modelType: string): Classifier {
  const { classifier } = architectureOf(modelType);
  if (classifier !== undefined) return classifier;
  const able = MODEL_TYPES.filter((type) => architectureOf(type).classifier !== undefined);
  throw new GradCacheError(
    'CHECKPOINT',
    `model_type ${show(modelType)} is not supported as a cross-encoder; ${able.join(', ')} are.`,
  );
}

/**
 * Writes a folder that CrossEncoder of sentence-transformers and AutoModelForSequenceClassification of transformers open, with
 * the names of config.json that older releases of sentence-transformers read.
 *
 * @param model its tensors are named as transformers names them
 * @throws GradCacheError `INPUT` where `path` is a file or a non-empty folder without a model
 */
export async function writeCrossEncoderFolder(path: string, model: CrossEncoderFolder): Promise<void> {
  await replaceModel(path, (folder) => writeCrossEncoderInto(folder, model));
}

/** Writes the files of a cross-encoder into a folder that is being made. */
export async function writeCrossEncoderInto(folder: string, model: CrossEncoderFolder): Promise<void> {
  const { config, modelType, labels, activation, kept, maxLength, prompts, defaultPrompt } = model;
  const activationName = activationClass(activation);
  const { sentence_transformers: before, sbert_ce_default_activation_function: _, ...rest } = config;
  const stated = {
    ...rest,
    architectures: [`${classifierOf(modelType).classes[modelType]}ForSequenceClassification`],
    ...labelNames(config, labels),
    sentence_transformers: { ...(isJsonObject(before) && before), activation_fn: activationName },
  };
  await writeTransformer(folder, { ...model, config: stated }, kept?.generation ?? null);
  await writeJson(join(folder, 'sentence_bert_config.json'), {
    ...kept?.transformer,
    transformer_task: 'sequence-classification',
    modality_config: { text: { method: 'forward', method_output_name: 'logits' } },
    module_output_name: 'scores',
    max_seq_length: maxLength,
    ...(model.tokenizer.settings.lowercase === true && { do_lower_case: true }),
  });
  await writeJson(join(folder, MODEL_CONFIG), {
    ...kept?.model,
    model_type: 'CrossEncoder',
    activation_fn: activationName,
    prompts,
    default_prompt_name: defaultPrompt,
    ...(typeof model.similarity === 'string' && { similarity_fn_name: model.similarity }),
  });
  const type = 'sentence_transformers.base.modules.transformer.Transformer';
  await writeJson(join(folder, 'modules.json'), [{ idx: 0, name: '0', path: '', type }]);
}

/** The names of the labels, new ones if there are others than before. */
function labelNames(config: Readonly<Record<string, unknown>>, labels: number): Record<string, unknown> {
  const { id2label, label2id, num_labels: _ } = config;
  if (isJsonObject(id2label) && Object.keys(id2label).length === labels)
    return { id2label, ...(isJsonObject(label2id) && { label2id }) };
  const numbers = Array.from({ length: labels }, (_, label) => label);
  return {
    id2label: Object.fromEntries(numbers.map((label) => [label, `LABEL_${label}`])),
    label2id: Object.fromEntries(numbers.map((label) => [`LABEL_${label}`, label])),
  };
}
