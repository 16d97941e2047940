import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { GradCacheError } from '../errors.js';
import type { ModelFolder } from './model-folder.js';
import { replaceFile } from './replace-file.js';
import { replaceFolder } from './replace-folder.js';
import { writeSafetensors } from './safetensors.js';
import type { StoredTensor } from './safetensors.js';
import type { Activation, Pooling } from './sentence-modules.js';
import { minimalTokenizerConfig } from './tokenizer-config.js';

/** Python classes under the names that every release of sentence-transformers from 2 to 6 resolves. */
const MODULE_CLASS = 'sentence_transformers.models.';
const ACTIVATION_CLASS: Readonly<Record<Activation, string>> = {
  identity: 'torch.nn.modules.linear.Identity',
  tanh: 'torch.nn.modules.activation.Tanh',
  relu: 'torch.nn.modules.activation.ReLU',
  gelu: 'torch.nn.modules.activation.GELU',
};

/** Files and folders of a model, its tokenizer, and the same weights in other formats: out of date once it is replaced. */
const MODEL_ENTRIES: readonly RegExp[] = [
  /^(config|generation_config|modules|config_sentence_transformers|sentence_[\w-]+_config)\.json$/,
  /^(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json$/,
  /^(vocab\.txt|merges\.txt|bpe\.codes|.*\.model)$/,
  /\.(safetensors|bin|h5|msgpack|ot|onnx)(\.index\.json)?$/,
  /^(\d+_[A-Z]\w*|onnx|openvino)$/,
];

/**
 * Writes a model as a sentence-transformers folder, which transformers opens as well: config.json, model.safetensors,
 * tokenizer.json byte for byte as it was read with the files that lay beside it, modules.json and its modules' folders,
 * config_sentence_transformers.json and sentence_bert_config.json. A tokenizer that came alone gets a minimal
 * tokenizer_config.json.
 *
 * The whole folder is written beside `path` and renamed into place. A model that is there already is removed only when
 * the new one is complete; files in the folder that belong to no model (README.md, .git, …) stay.
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
  await replaceFolder(path, {
    write: (folder) => writeInto(folder, model),
    recognise: (names) => names.includes('config.json') || names.includes('modules.json'),
    belongs: belongsToModel,
  });
}

/** Whether an entry of a folder is part of a model, and so out of date once the model is replaced. */
export function belongsToModel(name: string): boolean {
  return MODEL_ENTRIES.some((pattern) => pattern.test(name));
}

async function writeInto(folder: string, model: ModelFolder): Promise<void> {
  const { tokenizer } = model;
  await writeJson(join(folder, 'config.json'), withStoredType(model.config, model.tensors));
  await writeSafetensors(join(folder, 'model.safetensors'), model.tensors, { format: 'pt' });
  for (const [name, bytes] of tokenizer.companions)
    await replaceFile(join(folder, name), (file) => file.writeFile(bytes));
  await replaceFile(join(folder, 'tokenizer.json'), (file) => file.writeFile(tokenizer.json));
  if (!tokenizer.companions.has('tokenizer_config.json')) {
    const special = tokenizer.addedTokens.filter((token) => token.special).map((token) => token.content);
    await writeJson(join(folder, 'tokenizer_config.json'), minimalTokenizerConfig(special, model.maxLength));
  }
  await writeJson(join(folder, 'sentence_bert_config.json'), {
    max_seq_length: model.maxLength,
    do_lower_case: tokenizer.settings.lowercase === true,
  });
  await writeJson(join(folder, 'config_sentence_transformers.json'), {
    prompts: model.prompts,
    default_prompt_name: model.defaultPrompt,
    ...(typeof model.similarity === 'string' && { similarity_fn_name: model.similarity }),
  });
  await writeModules(folder, model);
}

async function writeModules(
  folder: string,
  { pooling, dense, normalize, config }: ModelFolder,
): Promise<void> {
  const modules: { kind: string; fill: (folder: string) => Promise<void> }[] = [
    {
      kind: 'Pooling',
      fill: (at) =>
        writeJson(
          join(at, 'config.json'),
          poolingConfig(pooling, dense[0]?.inFeatures ?? hiddenSizeOf(config)),
        ),
    },
    ...dense.map(({ inFeatures, outFeatures, activation, weight, bias }) => ({
      kind: 'Dense',
      fill: async (at: string) => {
        await writeJson(join(at, 'config.json'), {
          in_features: inFeatures,
          out_features: outFeatures,
          bias: bias !== null,
          activation_function: ACTIVATION_CLASS[activation],
        });
        const tensors = new Map([['linear.weight', weight]]);
        if (bias !== null) tensors.set('linear.bias', bias);
        await writeSafetensors(join(at, 'model.safetensors'), tensors, { format: 'pt' });
      },
    })),
    ...(normalize ? [{ kind: 'Normalize', fill: () => Promise.resolve() }] : []),
  ];
  const list = [{ idx: 0, name: '0', path: '', type: `${MODULE_CLASS}Transformer` }];
  for (const { kind, fill } of modules) {
    const idx = list.length;
    const path = `${idx}_${kind}`;
    await mkdir(join(folder, path));
    await fill(join(folder, path));
    list.push({ idx, name: String(idx), path, type: MODULE_CLASS + kind });
  }
  await writeJson(join(folder, 'modules.json'), list);
}

function poolingConfig(pooling: Pooling, dimension: number): Record<string, unknown> {
  return {
    word_embedding_dimension: dimension,
    pooling_mode_cls_token: pooling === 'cls',
    pooling_mode_mean_tokens: pooling === 'mean',
    pooling_mode_max_tokens: pooling === 'max',
    pooling_mode_mean_sqrt_len_tokens: false,
    // Releases before 2.3 know neither this mode nor its flag.
    ...(pooling === 'last' && { pooling_mode_lasttoken: true }),
  };
}

function hiddenSizeOf(config: Readonly<Record<string, unknown>>): number {
  const size = config.hidden_size ?? config.dim ?? config.d_model;
  if (typeof size === 'number') return size;
  throw new GradCacheError(
    'INPUT',
    'The config states no hidden_size (or dim), which the folder of the pooling module needs.',
  );
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

async function writeJson(path: string, value: unknown): Promise<void> {
  await replaceFile(path, (file) => file.writeFile(`${JSON.stringify(value, null, 2)}\n`));
}
