import { mkdir, realpath } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { GradCacheError } from '../errors.js';
import { isOfAdapter, writeAdapter } from './adapter-folder.js';
import { refused } from '../options/option-values.js';
import { hiddenSizeOf } from './hidden-size.js';
import { interactionToSave, PLAIN_INTERACTION, type TextTask } from './late-interaction.js';
import type { KeptFiles, ModelFolder } from './model-folder.js';
import { replaceFile } from '../files/replace-file.js';
import { replaceFolder } from '../files/replace-folder.js';
import { IMAGE_MODEL } from '../hub/model-files.js';
import { writeJson } from '../files/write-json.js';
import { type StoredTensor, writeSafetensors } from '../safetensors/safetensors.js';
import { headModuleFiles, type HeadModule } from './head-modules.js';
import { poolingConfig, poolingsOf } from './pooling.js';
import { ROUTER_CONFIG, routerConfig, type RoutedModule } from './routes.js';
import type { SpladePooling } from './sentence-modules.js';
import { writeStaticEmbedding } from './static-embedding.js';
import { tokenizerConfigToSave } from '../tokenizer/tokenizer-config.js';

/**
 * Where the Python classes are, under names that every release of sentence-transformers from 2 to 6 resolves, those of
 * sparse encoders from 5, which brought them, to 6, and that of late interaction from 6.
 */
const MODULES = 'sentence_transformers.models.';
const SPARSE_MODULES = 'sentence_transformers.sparse_encoder.models.';
const TOKEN_MODULES = 'sentence_transformers.multi_vector_encoder.modules.';

/**
 * Files of a model and its tokenizer, which another model beside them would be read with. The names are exact: what a user
 * keeps in the folder stays, and so do the weights in other formats.
 */
const MODEL_ENTRIES: readonly RegExp[] = [
  /^(config|generation_config|modules|config_sentence_transformers|sentence_[\w-]+_config)\.json$/,
  /^model(-\d+-of-\d+)?\.safetensors$/,
  /^(model\.safetensors\.index\.json|loss\.safetensors)$/,
  /^(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json$/,
  /^(vocab\.txt|merges\.txt|bpe\.codes|(sentencepiece\.bpe|sentencepiece|spiece|spm|tokenizer)\.model)$/,
  /^router_config\.json$/,
  /^(pre)?processor_config\.json$/,
  new RegExp(`^${IMAGE_MODEL}$`),
  /^(query|document|\d+)_(\d+_)?((MLM)?Transformer|StaticEmbedding|(Splade)?Pooling|Dense|LayerNorm|Dropout|MultiVectorMask|Normalize)$/,
];

/**
 * Writes a model as a sentence-transformers folder, which transformers opens as well: config.json, model.safetensors,
 * tokenizer.json byte for byte as it was read with the files that lay beside it, modules.json and its modules' folders,
 * config_sentence_transformers.json and sentence_bert_config.json. A tokenizer whose files do not say by which class it
 * was read gets a tokenizer_config.json that does. Keys that were read and mean nothing here are written again. An adapted
 * model has adapter_config.json and adapter_model.safetensors of PEFT in place of config.json and model.safetensors.
 *
 * The whole folder is written beside `path` and renamed into place. A model that is there already is removed only when
 * the new one is complete. All else in the folder stays: README.md, .git, and the old weights in other formats (onnx/,
 * openvino/, pytorch_model.bin), which are out of date from then on.
 *
 * @throws GradCacheError `INPUT` where `path` is a file or a non-empty folder without a model, or where the tensors'
 * bytes and shapes disagree.
 */
export async function writeModelFolder(path: string, model: ModelFolder): Promise<void> {
  if (model.defaultPrompt !== null && !Object.hasOwn(model.prompts, model.defaultPrompt)) {
    throw new GradCacheError(
      'INPUT',
      `The default prompt ${JSON.stringify(model.defaultPrompt)} is none of the model's prompts.`,
    );
  }
  if (model.adapter) await requireApart(path, model.adapter.base);
  await replaceModel(path, (folder) => writeModelInto(folder, model));
}

/** @throws GradCacheError `INPUT` where adapters would replace the model that they need */
async function requireApart(path: string, base: string): Promise<void> {
  const [place, home] = await Promise.all(
    [path, base].map((each) => realpath(each).catch(() => resolve(each))),
  );
  if (place !== home) return;
  throw new GradCacheError(
    'INPUT',
    `${path} is the folder of the adapters' base model, which they would replace: save them in another folder, or merge() first.`,
  );
}

/** Writes a model beside `path`, and renames it into place as {@link writeModelFolder} says. @throws GradCacheError `INPUT` */
export async function replaceModel(path: string, write: (folder: string) => Promise<void>): Promise<void> {
  await replaceFolder(path, {
    write,
    recognise: (names) =>
      ['config.json', 'modules.json', 'adapter_config.json'].some((name) => names.includes(name)),
    belongs: belongsToModel,
  });
}

/** Keys of config.json that are numbers with a decimal point to transformers, which refuses `2` where it expects `2.0`. */
export const FLOATS =
  /(factor|softcapping|_eps|epsilon|_prob|dropout|_pdrop|dropout_rate|initializer_range|rope_theta|_rope_theta|base_freq)$/;

/** Whether an entry of a folder is part of a model, and so out of date once the model is replaced. */
export function belongsToModel(name: string): boolean {
  return isOfAdapter(name) || MODEL_ENTRIES.some((pattern) => pattern.test(name));
}

/** Writes what transformers reads: configuration, weights and tokenizer. A model without tensors gets no file of weights. */
export async function writeTransformer(
  folder: string,
  model: Pick<ModelFolder, 'config' | 'tensors' | 'tokenizer' | 'maxLength'>,
  generation: KeptFiles['generation'],
): Promise<void> {
  await writeJson(join(folder, 'config.json'), withStoredType(model.config, model.tensors), FLOATS);
  if (model.tensors.size > 0)
    await writeSafetensors(join(folder, 'model.safetensors'), model.tensors, { format: 'pt' });
  await writeTokenizer(folder, model);
  if (generation) await writeJson(join(folder, 'generation_config.json'), generation);
}

async function writeTokenizer(
  folder: string,
  { tokenizer, maxLength }: Pick<ModelFolder, 'tokenizer' | 'maxLength'>,
): Promise<void> {
  for (const [name, bytes] of tokenizer.companions)
    await replaceFile(join(folder, name), (file) => file.writeFile(bytes));
  await replaceFile(join(folder, 'tokenizer.json'), (file) => file.writeFile(tokenizer.json));
  const tokenizerConfig = tokenizerConfigToSave(tokenizer, maxLength);
  if (tokenizerConfig) await writeJson(join(folder, 'tokenizer_config.json'), tokenizerConfig);
}

const interactionIn = ({ pooling, lateInteraction }: ModelFolder) =>
  pooling === 'none' ? interactionToSave(lateInteraction ?? PLAIN_INTERACTION) : undefined;

/** Writes what turns texts into tokens with a representation: the first module. */
async function writeFirst(folder: string, model: ModelFolder): Promise<void> {
  if (model.layout) {
    await writeStaticEmbedding(folder, model, model.layout);
    return;
  }
  if (model.adapter) {
    await writeAdapter(folder, model.adapter);
    await writeTokenizer(folder, model);
  } else {
    await writeTransformer(folder, model, model.kept?.generation ?? null);
  }
  const { query = null, document = null } = model.taskLengths ?? {};
  await writeJson(join(folder, 'sentence_bert_config.json'), {
    ...model.kept?.transformer,
    max_seq_length: model.maxLength,
    do_lower_case: model.tokenizer.settings.lowercase === true,
    ...(query !== null && { query_length: query }),
    ...(document !== null && { document_length: document }),
    ...interactionIn(model)?.transformer,
  });
}

/** Writes the files of a model into a folder that is being made. */
export async function writeModelInto(folder: string, model: ModelFolder): Promise<void> {
  const first = join(folder, model.layout?.place ?? '');
  await mkdir(first, { recursive: true });
  await writeFirst(first, model);
  await writeModelConfig(folder, model);
  await writeModules(folder, model);
}

async function writeModelConfig(folder: string, model: ModelFolder): Promise<void> {
  await writeJson(join(folder, 'config_sentence_transformers.json'), {
    ...model.kept?.model,
    ...(model.splade && { model_type: 'SparseEncoder' }),
    ...(model.pooling === 'none' && { model_type: 'MultiVectorEncoder' }),
    prompts: model.prompts,
    default_prompt_name: model.defaultPrompt,
    ...(typeof model.similarity === 'string' && { similarity_fn_name: model.similarity }),
    ...(typeof model.truncateDimension === 'number' && { truncate_dim: model.truncateDimension }),
  });
}

async function writeModules(folder: string, model: ModelFolder): Promise<void> {
  const { kept, splade, pooling } = model;
  const modules = splade
    ? sparseModules(model, splade)
    : pooling === 'none'
      ? tokenModules(model)
      : pooledModules(model);
  const list: unknown[] = [];
  for (const module of modules) {
    const idx = list.length;
    const type = classOf(module);
    const path = module.config === null ? (model.layout?.place ?? '') : `${idx}_${kindOf(module)}`;
    if (module.config !== null) await writeModule(join(folder, path), module, model);
    list.push({ ...kept?.modules.get(module.name)?.entry, idx, name: String(idx), path, type });
  }
  await writeJson(join(folder, 'modules.json'), list);
}

const kindOf = ({ name }: WrittenModule): string => name.slice(0, name.indexOf(' '));
/** The Python class of a module. */
const classOf = (module: WrittenModule): string => (module.package ?? MODULES) + kindOf(module);

/** Writes a module into a folder of its own. */
async function writeModule(folder: string, module: WrittenModule, model: ModelFolder): Promise<void> {
  await mkdir(folder);
  if (module.config === null) {
    await writeFirst(folder, model);
    return;
  }
  const content = { ...model.kept?.modules.get(module.name)?.config, ...module.config };
  // A Normalize without settings has an empty folder, as older releases write it.
  if (Object.keys(content).length > 0) await writeJson(join(folder, 'config.json'), content);
  if (module.weights)
    await writeSafetensors(join(folder, 'model.safetensors'), module.weights, { format: 'pt' });
}

/**
 * Writes two models that pool as one folder of sentence-transformers with a Router: one for queries, the other for documents, from
 * which the folder has its prompts and its similarity.
 *
 * @throws GradCacheError `INPUT`, also for models that do not pool
 */
export async function writeRoutes(
  path: string,
  routes: Readonly<Record<TextTask, ModelFolder>>,
): Promise<void> {
  const { document, query } = routes;
  for (const { pooling } of [query, document])
    if (pooling === 'none' || pooling === 'splade')
      throw refused('pooling', pooling, 'one representation of a text, for a Router,');
  await replaceModel(path, async (folder) => {
    const written = { query: [] as RoutedModule[], document: [] as RoutedModule[] };
    for (const route of ['query', 'document'] as const)
      for (const [place, module] of pooledModules(routes[route]).entries()) {
        const own = `${route}_${place}_${kindOf(module)}`;
        await writeModule(join(folder, own), module, routes[route]);
        written[route].push({ folder: own, type: classOf(module) });
      }
    await writeJson(join(folder, ROUTER_CONFIG), routerConfig(written));
    await writeJson(join(folder, 'modules.json'), [
      { idx: 0, name: '0', path: '', type: `${MODULES}Router` },
    ]);
    await writeModelConfig(folder, { ...document, prompts: { ...query.prompts, ...document.prompts } });
  });
}

function pooledModules({ pooling, includePrompt, modules, config, layout }: ModelFolder): WrittenModule[] {
  if (layout) return [{ name: 'StaticEmbedding 0', config: null }, ...writtenModules(modules)];
  const first = modules.find((each) => each.kind === 'Dense');
  const width = first && first.inFeatures / poolingsOf(pooling).length;
  return [
    { name: 'Transformer 0', config: null },
    { name: 'Pooling 0', config: poolingConfig(pooling, width ?? hiddenSizeOf(config), includePrompt) },
    ...writtenModules(modules),
  ];
}

function tokenModules({ modules, lateInteraction }: ModelFolder): WrittenModule[] {
  const onTokens = { module_input_name: 'token_embeddings', module_output_name: 'token_embeddings' };
  const { mask } = interactionToSave(lateInteraction ?? PLAIN_INTERACTION);
  const written = writtenModules(modules, onTokens);
  // Before the scaling to length one, as sentence-transformers has it.
  const masked = written.findIndex(({ name }) => name.startsWith('Normalize'));
  written.splice(masked < 0 ? written.length : masked, 0, {
    name: 'MultiVectorMask 0',
    config: mask,
    package: TOKEN_MODULES,
  });
  return [{ name: 'Transformer 0', config: null }, ...written];
}

function sparseModules({ config }: ModelFolder, { strategy, activation }: SpladePooling): WrittenModule[] {
  const pooling = {
    pooling_strategy: strategy,
    activation_function: activation,
    word_embedding_dimension: config.vocab_size,
  };
  return [
    { name: 'MLMTransformer 0', config: null, package: SPARSE_MODULES },
    { name: 'SpladePooling 0', config: pooling, package: SPARSE_MODULES },
  ];
}

/** One module as it goes to the folder. */
interface WrittenModule {
  /** As {@link KeptFiles.modules} names it. */
  readonly name: string;
  /** Its config.json; null for the first module, which is written before. */
  readonly config: Readonly<Record<string, unknown>> | null;
  readonly weights?: ReadonlyMap<string, StoredTensor>;
  /** Where its Python class is. Default: {@link MODULES}. */
  readonly package?: string;
}

/** @param names settings of every module that say what it works on */
function writtenModules(
  modules: readonly HeadModule[],
  names: Readonly<Record<string, string>> = {},
): WrittenModule[] {
  const seen = new Map<string, number>();
  return modules.map((module) => {
    const number = seen.get(module.kind) ?? 0;
    seen.set(module.kind, number + 1);
    const { config, weights } = headModuleFiles(module);
    return {
      name: `${module.kind} ${number}`,
      config: { ...config, ...names },
      ...(weights && { weights }),
    };
  });
}

/** transformers loads weights in the type that config.json states, so it must be able to hold those that are stored. */
function withStoredType(
  config: Readonly<Record<string, unknown>>,
  tensors: ReadonlyMap<string, StoredTensor>,
): Readonly<Record<string, unknown>> {
  const types = new Set(
    [...tensors.values()].map(({ dtype }) => dtype).filter((dtype) => dtype.includes('float')),
  );
  if (types.size === 0) return config;
  const [only] = types;
  const type = types.size === 1 ? only : types.has('float64') ? 'float64' : 'float32';
  const stated = ['dtype', 'torch_dtype'].filter((key) => key in config);
  return { ...config, ...Object.fromEntries(stated.map((key) => [key, type])) };
}
