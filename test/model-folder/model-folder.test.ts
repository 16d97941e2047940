import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DenseLayer } from '../../lib/model-folder/head-modules.js';
import { readModelFolder } from '../../lib/model-folder/model-folder.js';
import { writeSafetensors } from '../../lib/safetensors/safetensors.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import {
  floats,
  modules,
  smallConfig,
  smallTensors,
  writeFiles,
  writeSentenceTransformers,
  writeTransformers,
} from '../encoders/small-model.js';

async function lengthOf(
  t: Parameters<typeof temporaryFolder>[0],
  files: Record<string, unknown>,
): Promise<number> {
  const folder = await temporaryFolder(t);
  await writeTransformers(folder, files);
  return (await readModelFolder(folder)).maxLength;
}

test('a transformers folder: weights as stored, mean pooling, nothing more', async (t) => {
  const folder = await temporaryFolder(t);
  await writeTransformers(folder);
  const model = await readModelFolder(folder);
  assert.equal(model.modelType, 'bert');
  assert.deepEqual(model.config, smallConfig);
  assert.deepEqual(new Map([...model.tensors].sort()), new Map([...smallTensors].sort()));
  const { pooling, modules: head, prompts, defaultPrompt, maxLength, similarity } = model;
  assert.deepEqual(
    [pooling, head, prompts, defaultPrompt, maxLength, similarity],
    ['mean', [], {}, null, 16, null],
  );
});

test('shards: all tensors, wherever they are', async (t) => {
  const folder = await temporaryFolder(t);
  await writeTransformers(folder);
  await rm(join(folder, 'model.safetensors'));
  const weight_map: Record<string, string> = {};
  for (const [i, [name, tensor]] of [...smallTensors].entries()) {
    const shard = `model-${(i % 2) + 1}.safetensors`;
    weight_map[name] = shard;
    const others = [...smallTensors].filter(([other]) => weight_map[other] === shard && other !== name);
    await writeSafetensors(join(folder, shard), [[name, tensor], ...others]);
  }
  const index = join(folder, 'model.safetensors.index.json');
  await writeFile(index, JSON.stringify({ metadata: {}, weight_map }));
  const model = await readModelFolder(folder);
  assert.deepEqual(new Map([...model.tensors].sort()), new Map([...smallTensors].sort()));

  const bad: [Record<string, unknown>, RegExp][] = [
    [
      { ...weight_map, extra: 'model-1.safetensors' },
      /tensor "extra" is placed in "model-1\.safetensors", which lacks it/,
    ],
    [{ ...weight_map, extra: 'model-3.safetensors' }, /model-3\.safetensors cannot be read/],
    [{ ...weight_map, extra: '../model-1.safetensors' }, /the name of a file beside it is needed/],
    [{ ...weight_map, extra: '/etc/passwd' }, /the name of a file beside it is needed/],
    [{ ...weight_map, extra: 7 }, /the name of a file beside it is needed/],
  ];
  for (const [map, message] of bad) {
    await writeFile(index, JSON.stringify({ weight_map: map }));
    await assert.rejects(readModelFolder(folder), { code: 'CHECKPOINT', message });
  }
  await writeSafetensors(join(folder, 'model-2.safetensors'), smallTensors);
  await writeFile(index, JSON.stringify({ weight_map }));
  await assert.rejects(readModelFolder(folder), {
    code: 'CHECKPOINT',
    message: /is in model-\d\.safetensors and in model-\d/,
  });
  await writeFile(index, '{}');
  await assert.rejects(readModelFolder(folder), {
    code: 'CHECKPOINT',
    message: /weight_map is undefined; an object is needed/,
  });
});

test('a sentence-transformers folder in the layout before release 5', async (t) => {
  const folder = await temporaryFolder(t);
  await writeSentenceTransformers(folder);
  const model = await readModelFolder(folder);
  assert.equal(model.pooling, 'cls');
  assert.deepEqual(model.modules, [
    {
      kind: 'Dense',
      inFeatures: 4,
      outFeatures: 2,
      activation: 'tanh',
      weight: floats([2, 4], 300),
      bias: floats([2], 400),
      residualWeight: null,
    },
    { kind: 'Normalize' },
  ]);
  assert.deepEqual(model.prompts, { query: 'query: ', passage: '' });
  assert.equal(model.defaultPrompt, 'query');
  assert.equal(model.maxLength, 9);
  assert.equal(model.similarity, 'dot');
  assert.deepEqual(
    [...(await model.tokenizer.encode(['The'], { maxLength: 9 })).ids],
    [2, 5, 3],
    'lower-cased',
  );
});

test('a sentence-transformers folder in the layout of release 6', async (t) => {
  const folder = await temporaryFolder(t);
  const embedding = { module_input_name: 'sentence_embedding', module_output_name: 'sentence_embedding' };
  const types = [
    'base.modules.transformer.Transformer',
    'sentence_transformer.modules.pooling.Pooling',
    'base.modules.dense.Dense',
    'base.modules.normalize.Normalize',
  ];
  await writeSentenceTransformers(folder, {
    'modules.json': modules('Pooling', 'Dense', 'Normalize').map((module, i) => ({
      ...module,
      type: `sentence_transformers.${types[i]!}`,
    })),
    '1_Pooling/config.json': { embedding_dimension: 4, pooling_mode: 'lasttoken', include_prompt: true },
    '2_Dense/config.json': {
      in_features: 4,
      out_features: 2,
      bias: true,
      activation_function: 'torch.nn.modules.linear.Identity',
      ...embedding,
    },
    '3_Normalize/config.json': embedding,
    'sentence_bert_config.json': {
      transformer_task: 'feature-extraction',
      modality_config: { text: { method: 'forward', method_output_name: 'last_hidden_state' } },
      module_output_name: 'token_embeddings',
    },
    'config_sentence_transformers.json': {
      model_type: 'SentenceTransformer',
      prompts: { query: '', document: null },
      default_prompt_name: null,
    },
  });
  const model = await readModelFolder(folder);
  assert.equal(model.pooling, 'last');
  assert.equal((model.modules[0] as DenseLayer).activation, 'identity');
  assert.equal(model.maxLength, 12, 'from tokenizer_config.json');
  assert.deepEqual(model.prompts, { query: '', document: '' });
});

test('the old layout with the transformer in a folder of its own', async (t) => {
  const folder = await temporaryFolder(t);
  await writeTransformers(join(folder, '0_Transformer'), {
    'sentence_roberta_config.json': { max_seq_length: 7 },
  });
  const [transformer, pooling] = modules('Pooling');
  await writeFiles(folder, {
    'modules.json': [{ ...transformer, path: '0_Transformer' }, pooling],
    '1_Pooling/config.json': { word_embedding_dimension: 4 },
  });
  const model = await readModelFolder(folder);
  assert.deepEqual([model.pooling, model.maxLength, model.modules], ['mean', 7, []]);
});

test('the length limit: sentence_bert_config, else tokenizer_config, never more than there are positions', async (t) => {
  const tokenizer = (model_max_length: unknown) => ({ 'tokenizer_config.json': { model_max_length } });
  const plain = { ...smallConfig, tokenizer_class: 'PreTrainedTokenizerFast' };
  const config = (changes: object) => ({ 'config.json': { ...plain, ...changes } });
  assert.equal(await lengthOf(t, tokenizer(10)), 10);
  assert.equal(await lengthOf(t, tokenizer(1e30)), 16);
  assert.equal(await lengthOf(t, tokenizer(512)), 16);
  assert.equal(
    await lengthOf(t, config({ model_type: 'roberta', max_position_embeddings: 514, pad_token_id: 1 })),
    512,
  );
  assert.equal(await lengthOf(t, config({ model_type: 'xlm-roberta', max_position_embeddings: 514 })), 512);
  assert.equal(
    await lengthOf(t, config({ model_type: 'mpnet', max_position_embeddings: 514, pad_token_id: 0 })),
    512,
  );
  const sentence = { 'modules.json': modules('Pooling'), '1_Pooling/config.json': {} };
  const limit = (fields: object) => ({ ...sentence, 'sentence_bert_config.json': fields });
  assert.equal(await lengthOf(t, limit({ max_seq_length: 5 })), 5);
  assert.equal(await lengthOf(t, limit({ max_seq_length: null })), 16);
  assert.equal(await lengthOf(t, limit({ max_seq_length: 400 })), 16);
  assert.equal(await lengthOf(t, limit({ max_seq_length: 5, tokenizer_args: { model_max_length: 6 } })), 6);
  assert.equal(await lengthOf(t, config({ max_position_embeddings: undefined })), 512, 'of transformers');
  assert.equal(await lengthOf(t, config({ model_type: 'roberta', max_position_embeddings: undefined })), 510);
  const bad: [Record<string, unknown>, RegExp][] = [
    [limit({ max_seq_length: 0 }), /max_seq_length is 0; a whole number from 1/],
    [limit({ max_seq_length: '9' }), /max_seq_length is "9"/],
    [limit({ max_seq_length: 5, query_length: 17 }), /query_length is 17; at most 16, the model's number/],
    [limit({ document_length: '4' }), /document_length is "4"; a whole number from 1/],
    [tokenizer('9'), /model_max_length is "9"/],
    [tokenizer(0), /model_max_length is 0/],
    [config({ model_type: 'roberta', max_position_embeddings: 2 }), /leaves no position for a token/],
    [config({ model_type: 'gpt2' }), /model_type 'gpt2' is not supported/],
    [config({ max_position_embeddings: '16' }), /max_position_embeddings is "16"/],
  ];
  for (const [files, message] of bad)
    await assert.rejects(lengthOf(t, files), { code: 'CHECKPOINT', message });
  assert.equal(await lengthOf(t, limit({ max_seq_length: 5, query_length: 4, document_length: null })), 5);
});

test('prompts of a folder without modules.json are not used, as in sentence-transformers', async (t) => {
  const folder = await temporaryFolder(t);
  await writeTransformers(folder, {
    'config_sentence_transformers.json': { prompts: { query: 'query: ' }, default_prompt_name: 'query' },
    'sentence_bert_config.json': { max_seq_length: 3, do_lower_case: true },
  });
  const { prompts, defaultPrompt, maxLength, tokenizer } = await readModelFolder(folder);
  assert.deepEqual([prompts, defaultPrompt, maxLength], [{}, null, 16]);
  assert.equal(tokenizer.settings.lowercase, false);
});
