import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
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
  const { pooling, dense, normalize, prompts, defaultPrompt, maxLength, similarity } = model;
  assert.deepEqual(
    [pooling, dense, normalize, prompts, defaultPrompt, maxLength, similarity],
    ['mean', [], false, {}, null, 16, null],
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
    [{ ...weight_map, extra: 'model-1.safetensors' }, /places tensor "extra"/],
    [{ ...weight_map, extra: 'model-3.safetensors' }, /model-3\.safetensors cannot be read/],
    [{ ...weight_map, extra: '../model-1.safetensors' }, /only names of files beside it/],
    [{ ...weight_map, extra: '/etc/passwd' }, /only names of files beside it/],
    [{ ...weight_map, extra: 7 }, /only names of files beside it/],
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
  await assert.rejects(readModelFolder(folder), { code: 'CHECKPOINT', message: /no "weight_map"/ });
});

test('a sentence-transformers folder in the layout before release 5', async (t) => {
  const folder = await temporaryFolder(t);
  await writeSentenceTransformers(folder);
  const model = await readModelFolder(folder);
  assert.equal(model.pooling, 'cls');
  assert.equal(model.normalize, true);
  assert.deepEqual(model.dense, [
    {
      inFeatures: 4,
      outFeatures: 2,
      activation: 'tanh',
      weight: floats([2, 4], 300),
      bias: floats([2], 400),
    },
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
  assert.equal(model.dense[0]!.activation, 'identity');
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
  assert.deepEqual([model.pooling, model.maxLength, model.normalize], ['mean', 7, false]);
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
    [limit({ max_seq_length: 5, query_length: 4 }), /query_length is 4, where the model's length is 5/],
    [limit({ document_length: 4 }), /document_length is 4, where the model's length is 16/],
    [tokenizer('9'), /model_max_length is "9"/],
    [tokenizer(0), /model_max_length is 0/],
    [config({ model_type: 'roberta', max_position_embeddings: 2 }), /leaves no position for a token/],
    [config({ model_type: 't5' }), /model_type 't5' is not supported/],
    [config({ max_position_embeddings: '16' }), /max_position_embeddings is "16"/],
  ];
  for (const [files, message] of bad)
    await assert.rejects(lengthOf(t, files), { code: 'CHECKPOINT', message });
  assert.equal(await lengthOf(t, limit({ max_seq_length: 5, query_length: 5, document_length: null })), 5);
});

test('what cannot be honoured exactly is refused with what was found', async (t) => {
  const pooling = (fields: object) => ({ '1_Pooling/config.json': fields });
  const dense = (fields: object) => ({
    '2_Dense/config.json': { in_features: 4, out_features: 2, ...fields },
  });
  const sentence = (fields: object) => ({ 'sentence_bert_config.json': fields });
  const prompts = (fields: object) => ({ 'config_sentence_transformers.json': fields });
  const first = modules('Pooling');
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ 'config.json': '{' }, /config\.json is not JSON/],
    [{ 'config.json': [] }, /config\.json is not a JSON object/],
    [{ 'config.json': {} }, /no "model_type"/],
    [{ 'config.json': { ...smallConfig, quantization_config: { bits: 4 } } }, /quantized/],
    [{ 'adapter_config.json': {} }, /merge_and_unload/],
    [{ 'config.json': { ...smallConfig, is_decoder: true } }, /is_decoder is true; supported is false/],
    [{ 'config.json': { ...smallConfig, pruned_heads: { 0: [1] } } }, /pruned_heads/],
    [{ 'config.json': { ...smallConfig, per_layer_config: { 0: {} } } }, /per_layer_config/],
    [{ 'tokenizer.json': '{}' }, /tokenizer\.json cannot be used/],
    [{ 'modules.json': {} }, /not a list of modules/],
    [{ 'modules.json': [null] }, /needs a "type"/],
    [
      { 'modules.json': modules('Pooling', 'Normalize', 'Dense') },
      /Transformer, Pooling, Normalize, Dense; supported/,
    ],
    [{ 'modules.json': modules('Pooling', 'LayerNorm') }, /LayerNorm; supported/],
    [{ 'modules.json': modules() }, /its modules are Transformer; supported/],
    [{ 'modules.json': [first[0], { ...first[1], path: '../elsewhere' }] }, /leads out of the folder/],
    [{ 'modules.json': [first[0], { ...first[1], path: '/etc' }] }, /leads out of the folder/],
    [{ 'modules.json': [first[0], { ...first[1], type: 'my_code.Pooling' }] }, /code of its own/],
    [{ 'modules.json': [{ ...first[0], kwargs: ['task'] }, first[1]] }, /Transformer: kwargs is \["task"\]/],
    [pooling({ pooling_mode_mean_tokens: true, pooling_mode_max_tokens: true }), /pooling is max \+ mean;/],
    [pooling({ pooling_mode: ['mean', 'cls'] }), /pooling is mean \+ cls;/],
    [pooling({ pooling_mode_weightedmean_tokens: true }), /pooling is weightedmean;/],
    [pooling({ pooling_mode: 'mean_sqrt_len_tokens' }), /pooling is mean_sqrt_len_tokens;/],
    [pooling({ pooling_mode: ['mean', { toString: 1 }] }), /pooling is mean \+ \{"toString":1\};/],
    [pooling({ pooling_mode_mean_tokens: 1 }), /pooling_mode_mean_tokens is 1; true or false/],
    [pooling({ pooling_mode: 'mean', include_prompt: null }), /include_prompt is null/],
    [pooling({ pooling_mode: 'constructor' }), /pooling is constructor;/],
    [pooling({ pooling_mode_mean_tokens: true, include_prompt: false }), /include_prompt is false/],
    [
      dense({ activation_function: 'torch.nn.modules.activation.SiLU' }),
      /activation is torch\.nn\.modules\.activation\.SiLU/,
    ],
    [dense({ activation_function: { toString: 1 } }), /activation is \{"toString":1\}/],
    [dense({ use_residual: true }), /residual/],
    [dense({ module_input_name: 'token_embeddings' }), /module_input_name is "token_embeddings"/],
    [
      dense({ bias: false }),
      /calls for the tensors linear\.weight \[2,4\]; the weights beside it are .*linear\.bias/,
    ],
    [dense({ in_features: 3 }), /linear\.weight \[2,3\]/],
    [
      { '3_Normalize/config.json': { module_input_name: 'token_embeddings' } },
      /module_input_name is "token_embeddings"/,
    ],
    [sentence({ transformer_task: 'fill-mask' }), /transformer_task is "fill-mask"/],
    [sentence({ module_output_name: 'sentence_embedding' }), /module_output_name is/],
    [sentence({ modality_config: { image: {} } }), /modality_config is/],
    [sentence({ model_args: [] }), /model_args is \[\]; an object/],
    [sentence({ do_lower_case: 'no' }), /do_lower_case is "no"; true or false/],
    [sentence({ query_expansion: { length: 32 } }), /query_expansion is/],
    [sentence({ processing_kwargs: { text: { max_length: 3 } } }), /processing_kwargs is/],
    [sentence({ tokenizer_name_or_path: 'bert' }), /tokenizer_name_or_path is "bert"/],
    [prompts({ truncate_dim: 0 }), /truncate_dim is 0; a whole number from 1/],
    [prompts({ truncate_dim: '2' }), /truncate_dim is "2"/],
    [sentence({ model_args: { add_pooling_layer: true } }), /model_args sets add_pooling_layer/],
    [prompts({ prompts: [] }), /prompts is \[\]; an object/],
    [prompts({ prompts: { query: 3 } }), /the prompt "query" is 3; a string/],
    [
      prompts({ prompts: { query: 'q' }, default_prompt_name: 'passage' }),
      /default_prompt_name is "passage"; one of the prompts \(query\)/,
    ],
    [prompts({ prompts: {}, default_prompt_name: 'toString' }), /one of the prompts/],
    [prompts({ similarity_fn_name: 3 }), /similarity_fn_name is 3; the name of a similarity/],
    [prompts({ similarity_fn_name: ['cosine'] }), /similarity_fn_name is \["cosine"\]/],
    [prompts({ model_type: 'SparseEncoder' }), /model_type is "SparseEncoder"/],
  ];
  for (const [files, message] of cases) {
    const folder = await temporaryFolder(t);
    await writeSentenceTransformers(folder, files);
    await assert.rejects(readModelFolder(folder), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CHECKPOINT', `${String(message)}: ${error.stack}`);
      assert.match(error.message, message);
      assert.ok(error.message.includes(folder), error.message);
      return true;
    });
  }
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

test('what was not fetched is told from what is damaged, in every file', async (t) => {
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 90868376\n`;
  const page = '<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n'.padEnd(2000);
  const files = [
    'config.json',
    'modules.json',
    'config_sentence_transformers.json',
    'sentence_bert_config.json',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'added_tokens.json',
    'vocab.txt',
    'sentencepiece.bpe.model',
    'tokenizer.json',
    '1_Pooling/config.json',
    '2_Dense/config.json',
    '2_Dense/model.safetensors',
    'model.safetensors',
  ];
  const folder = await temporaryFolder(t);
  await writeSentenceTransformers(folder);
  const beside = { 'special_tokens_map.json': {}, 'added_tokens.json': {}, 'vocab.txt': 'a\n' };
  await writeFiles(folder, { ...beside, 'sentencepiece.bpe.model': 'x' });
  for (const file of files) {
    const content = await readFile(join(folder, file));
    for (const [placeholder, way] of [
      [pointer, /pointer of Git LFS.*`git lfs pull`/],
      [page, /web page.*download it again/],
      [` \n${page}`, /web page/],
    ] as const) {
      await writeFile(join(folder, file), placeholder);
      await assert.rejects(readModelFolder(folder), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'CHECKPOINT');
        assert.ok(error.message.includes(join(folder, file)), error.message);
        assert.match(error.message, way);
        return true;
      });
    }
    await writeFile(join(folder, file), content);
  }
  for (const file of Object.keys(beside)) {
    const path = join(folder, file);
    await rm(path);
    await mkdir(path);
    await assert.rejects(readModelFolder(folder), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CHECKPOINT');
      assert.ok(error.message.startsWith(`${path} cannot be read`), error.message);
      return true;
    });
    await rm(path, { recursive: true });
  }
  await readModelFolder(folder);
});

test('an adapter is named as such, with a config.json and without', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFiles(folder, { 'adapter_config.json': {}, 'adapter_model.safetensors': 'x' });
  const told = { code: 'CHECKPOINT', message: /holds an adapter.*merge_and_unload\(\)/ };
  await assert.rejects(readModelFolder(folder), told);
  await writeFiles(folder, { 'modules.json': modules('Pooling'), '1_Pooling/config.json': {} });
  await assert.rejects(readModelFolder(folder), told);
});

test('missing files are named, and weights of another kind come with the conversion', async (t) => {
  const folder = await temporaryFolder(t);
  await writeSentenceTransformers(folder);
  for (const name of [
    'config.json',
    'tokenizer.json',
    '1_Pooling/config.json',
    '2_Dense/config.json',
    '2_Dense/model.safetensors',
    'model.safetensors',
  ]) {
    const content = await readFile(join(folder, name));
    await rm(join(folder, name));
    await assert.rejects(readModelFolder(folder), {
      code: 'CHECKPOINT',
      message: new RegExp(name.split('/').pop()!.replace('.', '\\.')),
    });
    await writeFile(join(folder, name), content);
  }
  await rm(join(folder, 'model.safetensors'));
  await writeFile(join(folder, 'pytorch_model.bin'), 'x');
  await assert.rejects(readModelFolder(folder), {
    code: 'CHECKPOINT',
    message: /found only pytorch_model\.bin.*save_pretrained\(folder, safe_serialization=True\)/,
  });
  await assert.rejects(readModelFolder(join(folder, 'nowhere')), {
    code: 'CHECKPOINT',
    message: /nowhere cannot be read as a model folder/,
  });
  await assert.rejects(readModelFolder(join(folder, 'config.json')), {
    code: 'CHECKPOINT',
    message: /not a folder/,
  });
});

test('where only the remains of an interrupted save exist, they are pointed out', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'model.123.old'));
  await assert.rejects(
    readModelFolder(join(folder, 'model')),
    (error: Error) => !error.message.includes('.old'),
  );
  await writeFile(join(folder, 'model.123.old', 'config.json'), '{}');
  await assert.rejects(readModelFolder(join(folder, 'model')), {
    code: 'CHECKPOINT',
    message: /model\.123\.old beside it is a complete model/,
  });
  await mkdir(join(folder, 'mounted', '.gradcache.old'), { recursive: true });
  await assert.rejects(readModelFolder(join(folder, 'mounted')), {
    code: 'CHECKPOINT',
    message: /has no config\.json\. A save that was interrupted has set aside .* save again/,
  });
});
