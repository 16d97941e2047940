import assert from 'node:assert/strict';
import { lstat, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { beside } from '../../lib/files/names-beside.js';
import { readModelFolder } from '../../lib/model-folder/model-folder.js';
import { writeModelFolder } from '../../lib/model-folder/write-model-folder.js';
import type { ModelFolder } from '../../lib/model-folder/model-folder.js';
import { ACTIVATIONS } from '../../lib/model-folder/activations.js';
import { NORMALIZE, type DenseLayer, type HeadModule } from '../../lib/model-folder/head-modules.js';
import { TOKEN_POOLINGS } from '../../lib/model-folder/pooling.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import {
  floats,
  modules,
  smallConfig,
  smallTensors,
  smallTokenizer,
  writeFiles,
  writeSentenceTransformers,
  writeTransformers,
} from '../encoders/small-model.js';

const json = async (...path: string[]) =>
  JSON.parse(await readFile(join(...path), 'utf8')) as Record<string, unknown>;
/** What a folder holds, wherever it lies. */
const content = ({ tokenizer, tensors, transformerFolder: _, ...rest }: ModelFolder) => ({
  ...rest,
  json: tokenizer.json,
  companions: tokenizer.companions,
  settings: tokenizer.settings,
  tensors: new Map([...tensors].sort()),
});

test('what was read is written so that it reads the same, for every pooling and activation', async (t) => {
  const folder = await temporaryFolder(t);
  await writeSentenceTransformers(join(folder, 'source'));
  const model = await readModelFolder(join(folder, 'source'));
  const poolings = [...TOKEN_POOLINGS, ['cls', 'mean'], ['weighted-mean', 'max', 'last']] as const;
  for (const [place, pooling] of poolings.entries()) {
    const heads = ACTIVATIONS.filter((_, number) => number % poolings.length === place).map(
      (activation, number): HeadModule => ({
        ...{ kind: 'Dense', inFeatures: 2, outFeatures: 2, activation, weight: floats([2, 2]) },
        ...{ bias: number % 2 === 0 ? floats([2]) : null, residual: number > 0, residualWeight: null },
      }),
    );
    const [first, ...others] = model.modules;
    const norm: HeadModule = { kind: 'LayerNorm', weight: floats([2]), bias: floats([2], 9) };
    const wide = { ...(first as DenseLayer), inFeatures: 4 * [pooling].flat().length };
    const input = { ...wide, weight: floats([2, wide.inFeatures]) };
    const drop: HeadModule = { kind: 'Dropout', probability: 0.25 };
    const changed = {
      ...model,
      ...{ pooling, modules: [input, ...others, drop, ...heads, norm, norm], includePrompt: place % 2 === 0 },
      taskLengths: place % 3 === 0 ? { query: 4, document: null } : { query: null, document: 6 },
    };
    await writeModelFolder(join(folder, 'copy'), changed);
    assert.deepEqual(content(await readModelFolder(join(folder, 'copy'))), content(changed));
  }
  for (const name of ['tokenizer.json', 'vocab.txt', 'tokenizer_config.json']) {
    assert.deepEqual(
      await readFile(join(folder, 'copy', name)),
      await readFile(join(folder, 'source', name)),
    );
  }
  const list = (await json(folder, 'copy', 'modules.json')) as unknown as { path: string }[];
  assert.deepEqual(
    list.map(({ path }) => path),
    [
      '',
      '1_Pooling',
      '2_Dense',
      '3_Normalize',
      '4_Dropout',
      '5_Dense',
      '6_Dense',
      '7_LayerNorm',
      '8_LayerNorm',
    ],
  );
  assert.deepEqual((await readdir(folder)).sort(), ['copy', 'source']);
});

test('keys that mean nothing here are kept, in every file', async (t) => {
  const folder = await temporaryFolder(t);
  const own = { owner: { name: 'us', __proto__x: [1] } };
  const embedding = { module_input_name: 'sentence_embedding', module_output_name: 'sentence_embedding' };
  const kept: Record<string, Record<string, unknown>> = {
    'config.json': { ...own, id2label: { 0: 'a' }, classifier_dropout: null, transformers_version: '5.0.0' },
    'config_sentence_transformers.json': {
      ...own,
      model_type: 'SentenceTransformer',
      __version__: { sentence_transformers: '6.2.0' },
      truncate_dim: 1,
    },
    'sentence_bert_config.json': {
      ...own,
      transformer_task: 'feature-extraction',
      modality_config: { text: { method: 'forward', method_output_name: 'last_hidden_state' } },
      module_output_name: 'token_embeddings',
      unpad_inputs: false,
      model_args: { torch_dtype: 'float16' },
    },
    '1_Pooling/config.json': { ...own, include_prompt: true },
    '2_Dense/config.json': { ...own, ...embedding, use_residual: false },
    '3_Normalize/config.json': { ...own, ...embedding },
    'generation_config.json': { ...own, _from_model_config: true },
  };
  await writeSentenceTransformers(join(folder, 'source'));
  const source: Record<string, unknown> = {
    'modules.json': modules('Pooling', 'Dense', 'Normalize').map((module) => ({
      ...module,
      ...own,
      kwargs: [],
    })),
  };
  for (const [file, keys] of Object.entries(kept)) {
    const before = /^(3_|generation)/.test(file) ? {} : await json(folder, 'source', file);
    source[file] = { ...before, ...keys };
  }
  await writeFiles(join(folder, 'source'), source);
  await writeModelFolder(join(folder, 'copy'), await readModelFolder(join(folder, 'source')));
  for (const [file, keys] of Object.entries(kept)) {
    const after = await json(folder, 'copy', file);
    for (const [key, value] of Object.entries(keys)) assert.deepEqual(after[key], value, `${file}: ${key}`);
  }
  const list = (await json(folder, 'copy', 'modules.json')) as unknown as Record<string, unknown>[];
  for (const module of list) assert.deepEqual([module.owner, module.kwargs], [own.owner, []]);
  const { tensors: _, ...first } = content(await readModelFolder(join(folder, 'source')));
  const { tensors: __, ...second } = content(await readModelFolder(join(folder, 'copy')));
  assert.deepEqual(second, first);
});

test('config.json states the type that the weights are stored in', async (t) => {
  const folder = await temporaryFolder(t);
  await writeTransformers(folder, {
    'config.json': { ...smallConfig, dtype: 'float16', torch_dtype: 'float16' },
  });
  const model = await readModelFolder(folder);
  await writeModelFolder(folder, model);
  assert.deepEqual(await json(folder, 'config.json'), {
    ...smallConfig,
    dtype: 'float32',
    torch_dtype: 'float32',
  });
});

test('a tokenizer that came alone gets a tokenizer_config.json with its special tokens', async (t) => {
  const folder = join(await temporaryFolder(t), 'deep', 'new');
  await writeModelFolder(folder, {
    config: smallConfig,
    modelType: 'bert',
    tensors: smallTensors,
    pooling: 'mean',
    modules: [NORMALIZE],
    prompts: {},
    defaultPrompt: null,
    maxLength: 11,
    tokenizer: await Tokenizer.fromJson(JSON.stringify(smallTokenizer())),
  });
  assert.deepEqual(await json(folder, 'tokenizer_config.json'), {
    tokenizer_class: 'PreTrainedTokenizerFast',
    model_max_length: 11,
    unk_token: '[UNK]',
    sep_token: '[SEP]',
    pad_token: '[PAD]',
    cls_token: '[CLS]',
    mask_token: '[MASK]',
  });
  assert.equal((await readModelFolder(folder)).maxLength, 11);
});

test('a model is replaced as a whole; what is no part of a model stays', async (t) => {
  const folder = await temporaryFolder(t);
  const mine = [
    'README.md',
    '.git/HEAD',
    'logs/run.jsonl',
    '2024_Data/texts.jsonl',
    'vectors.bin',
    'scores.safetensors',
    'classifier.model',
    // The old weights in other formats, which took someone's time to export.
    'onnx/model.onnx',
    'openvino/openvino_model.bin',
    'pytorch_model.bin',
    'tf_model.h5',
  ];
  await writeSentenceTransformers(folder, {
    ...Object.fromEntries(mine.map((name) => [name, 'mine'])),
    'model-00001-of-00002.safetensors': 'stale',
    'sentence_roberta_config.json': {},
    'sentencepiece.bpe.model': 'of another tokenizer',
  });
  const model = await readModelFolder(folder);
  await writeModelFolder(folder, {
    ...model,
    modules: [],
    tensors: new Map([['only', floats([1])]]),
    tokenizer: await Tokenizer.fromJson(model.tokenizer.json),
  });
  assert.deepEqual(
    (await readdir(folder)).sort(),
    [
      '1_Pooling',
      'config.json',
      'config_sentence_transformers.json',
      'model.safetensors',
      'modules.json',
      'sentence_bert_config.json',
      'tokenizer.json',
      'tokenizer_config.json',
      ...new Set(mine.map((name) => name.split('/')[0]!)),
    ].sort(),
  );
  for (const name of mine) assert.equal(await readFile(join(folder, name), 'utf8'), 'mine');
  assert.deepEqual([...(await readModelFolder(folder)).tensors.keys()], ['only']);
  assert.deepEqual(
    (await readdir(join(folder, '..'))).filter((name) => name.startsWith(`${folder.split('/').pop()!}.`)),
    [],
  );
});

test('a folder without a model and a file are not replaced', async (t) => {
  const folder = await temporaryFolder(t);
  await writeTransformers(join(folder, 'model'));
  const model = await readModelFolder(join(folder, 'model'));
  await writeFiles(folder, { 'home/letters.txt': 'dear', 'home/photos/1.jpg': 'x', file: 'x' });
  await assert.rejects(writeModelFolder(join(folder, 'home'), model), {
    code: 'INPUT',
    message: /holds no model \(letters\.txt, photos\)/,
  });
  await assert.rejects(writeModelFolder(join(folder, 'file'), model), {
    code: 'INPUT',
    message: /it is a file/,
  });
  assert.deepEqual((await readdir(join(folder, 'home'))).sort(), ['letters.txt', 'photos']);
  await mkdir(join(folder, 'empty'));
  await writeModelFolder(join(folder, 'empty'), model);
  assert.equal((await readModelFolder(join(folder, 'empty'))).modelType, 'bert');
});

test('a write that fails leaves the old model and nothing beside it', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'model');
  await writeSentenceTransformers(path);
  const model = await readModelFolder(path);
  const before = content(model);
  const broken: ModelFolder[] = [
    { ...model, tensors: new Map([['w', { ...floats([2]), shape: [3] }]]) },
    { ...model, defaultPrompt: 'none such' },
    { ...model, modules: [], config: { model_type: 'bert' } },
  ];
  for (const each of broken) await assert.rejects(writeModelFolder(path, each), { code: 'INPUT' });
  await assert.rejects(writeModelFolder(5 as never, model), { code: 'INPUT', message: /is 5, not a path/ });
  assert.deepEqual(content(await readModelFolder(path)), before);
  assert.deepEqual(await readdir(folder), ['model']);
});

test('saves of one folder at once take turns: each succeeds, and the last one stays', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'model');
  await writeTransformers(path);
  const model = await readModelFolder(path);
  const lengths = [11, 12, 13, 14, 15];
  await Promise.all(lengths.map((maxLength) => writeModelFolder(path, { ...model, maxLength })));
  assert.equal((await readModelFolder(path)).maxLength, lengths.at(-1));
  assert.deepEqual(await readdir(folder), ['model']);
});

test('remains of interrupted saves are in nobody’s way, and a link stays a link', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'model');
  await writeTransformers(path);
  const model = await readModelFolder(path);
  await writeFiles(beside(path, 'tmp'), { 'half.json': '{' });
  await writeFiles(beside(path, 'old'), { 'config.json': '{}' });
  await writeModelFolder(path, model);
  assert.deepEqual(await readdir(folder), ['model']);
  await symlink('model', join(folder, 'latest'));
  await writeModelFolder(join(folder, 'latest'), model);
  assert.ok((await lstat(join(folder, 'latest'))).isSymbolicLink());
  assert.deepEqual((await readdir(folder)).sort(), ['latest', 'model']);
  await writeFile(join(path, 'notes.txt'), 'mine');
  await writeModelFolder(path, model);
  assert.equal(await readFile(join(path, 'notes.txt'), 'utf8'), 'mine');
});
