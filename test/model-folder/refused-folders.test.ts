import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readModelFolder } from '../../lib/model-folder/model-folder.js';
import { readCrossEncoderFolder } from '../../lib/model-folder/cross-encoder-folder.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { writeSafetensors } from '../../lib/safetensors/safetensors.js';
import {
  floats,
  modules,
  smallConfig,
  smallTokenizer,
  writeFiles,
  writeSentenceTransformers,
  writeTransformers,
} from '../encoders/small-model.js';

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
    [{ 'adapter_config.json': {} }, /adapter_config\.json: base_model_name_or_path is undefined/],
    [{ 'adapter_config.json': { peft_type: 'LOHA' } }, /peft_type is "LOHA"; "LORA" is needed/],
    [{ 'adapter_config.json': { use_dora: true } }, /use_dora is true; .*magnitudes/],
    [{ 'adapter_config.json': { init_lora_weights: 'pissa' } }, /init_lora_weights is "pissa"/],
    [
      { 'config.json': { ...smallConfig, is_decoder: true } },
      /is_decoder is true; false is needed\. Encoders alone/,
    ],
    [{ 'config.json': { ...smallConfig, pruned_heads: { 0: [1] } } }, /pruned_heads/],
    [{ 'config.json': { ...smallConfig, per_layer_config: { 0: {} } } }, /per_layer_config/],
    [{ 'tokenizer.json': '{}' }, /tokenizer\.json cannot be used/],
    [{ 'modules.json': {} }, /not a list of modules/],
    [{ 'modules.json': [null] }, /needs a "type"/],
    [
      { 'modules.json': modules('Dense', 'Pooling', 'Normalize') },
      /Transformer, Dense, Pooling, Normalize; supported/,
    ],
    [{ 'modules.json': modules('Pooling', 'LSTM') }, /LSTM; supported/],
    [{ 'modules.json': modules() }, /its modules are Transformer; supported/],
    [{ 'modules.json': [first[0], { ...first[1], path: '../elsewhere' }] }, /leads out of the folder/],
    [{ 'modules.json': [first[0], { ...first[1], path: '/etc' }] }, /leads out of the folder/],
    [{ 'modules.json': [first[0], { ...first[1], type: 'my_code.Pooling' }] }, /code of its own/],
    [{ 'modules.json': [{ ...first[0], kwargs: ['task'] }, first[1]] }, /Transformer: kwargs is \["task"\]/],
    [pooling({ pooling_mode: [] }), /pooling is none;/],
    [pooling({ pooling_mode: ['mean', { toString: 1 }] }), /pooling is mean \+ \{"toString":1\};/],
    [pooling({ pooling_mode_mean_tokens: 1 }), /pooling_mode_mean_tokens is 1; true or false/],
    [pooling({ pooling_mode: 'mean', include_prompt: null }), /include_prompt is null/],
    [pooling({ pooling_mode: 'constructor' }), /pooling is constructor;/],
    [pooling({ pooling_mode_mean_tokens: true, include_prompt: 'no' }), /include_prompt is "no"/],
    ...['PReLU', 'GLU', 'Softmax', 'Threshold'].map((name): [Record<string, unknown>, RegExp] => [
      dense({ activation_function: `torch.nn.modules.activation.${name}` }),
      new RegExp(
        `activation is torch\\.nn\\.modules\\.activation\\.${name}; supported are, of torch\\.nn, Identity, Tanh`,
      ),
    ]),
    [dense({ activation_function: { toString: 1 } }), /activation is \{"toString":1\}/],
    [dense({ use_residual: true }), /calls for the tensors .*residual\.weight \[2,4\]/],
    [dense({ use_residual: 1 }), /use_residual is 1; true or false/],
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

test('what older folders of late interaction say is read or refused', async (t) => {
  const older = (
    config: Readonly<Record<string, unknown>>,
    model: Readonly<Record<string, unknown>> = {},
  ) => ({
    'modules.json': [
      { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Transformer' },
      { idx: 1, name: '1', path: '2_Dense', type: 'pylate.models.Dense.Dense' },
    ],
    'config_sentence_transformers.json': { model_type: 'ColBERT', query_prefix: '[Q] ', ...config, ...model },
  });
  for (const [config, message] of [
    [{ query_prefix: 3 }, /query_prefix is 3; a string or null/],
    [{ document_length: 'long' }, /document_length is "long"; a whole number/],
    [{ query_length: 0 }, /length of query_expansion is 0/],
    [{ query_length: 300 }, /query_expansion\.length is 300; at most \d+/],
    [{ attend_to_expansion_tokens: 1 }, /attend_to_expansion_tokens is 1; true, false or null/],
    [{ do_query_expansion: 'no' }, /do_query_expansion is "no"/],
    [{ skiplist_words: '.' }, /skiplist_words is "\."; a list of strings or null/],
    [{ query_expansion: { strategy: 'other' } }, /strategy of query_expansion is "other"/],
    [{ query_prefix: undefined, model_type: 'SentenceTransformer' }, /its modules are Transformer, Dense/],
  ] as const) {
    const folder = await temporaryFolder(t);
    await writeSentenceTransformers(folder, older(config));
    await assert.rejects(readModelFolder(folder), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CHECKPOINT', error.stack);
      assert.match(error.message, message);
      assert.ok(error.message.includes(folder), error.message);
      return true;
    });
  }
  const folder = await temporaryFolder(t);
  await writeSentenceTransformers(folder, older({ query_length: 5 }));
  await assert.rejects(readModelFolder(folder, { pooling: 'mean' }), { code: 'INPUT', message: /pooling/ });
});

test('a folder of ColBERT without what ColBERT saves is refused, and its transformer alone can be read', async (t) => {
  const folder = await temporaryFolder(t);
  await writeTransformers(folder);
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as object;
  await writeFiles(folder, { 'config.json': { ...config, architectures: ['HF_ColBERT'] } });
  await assert.rejects(readModelFolder(folder), {
    code: 'CHECKPOINT',
    message: /HF_ColBERT.*no linear\.weight/,
  });
  assert.equal((await readModelFolder(folder, { pooling: 'cls' })).pooling, 'cls');
  for (const [metadata, message] of [
    [{ query_token_id: 3 }, /query_token_id is 3; a token or null/],
    [{ doc_maxlen: -1 }, /doc_maxlen is -1/],
    [{ mask_punctuation: 'yes' }, /mask_punctuation is "yes"/],
  ] as const) {
    await writeFiles(folder, { 'artifact.metadata': metadata });
    await assert.rejects(readModelFolder(folder), { code: 'CHECKPOINT', message });
  }
});

test('a Router is read where it lies in the folder alone, and as code of sentence-transformers alone', async (t) => {
  const folder = await temporaryFolder(t);
  const router = { idx: 0, name: '0', path: '', type: 'sentence_transformers.models.Router' };
  const inside = join(folder, 'model');
  await writeSentenceTransformers(inside);
  await writeFiles(folder, { 'router_config.json': { types: {}, structure: {} } });
  for (const [entry, message] of [
    [{ ...router, path: '..' }, /path ".." leads out of the folder/],
    [{ ...router, path: folder }, /leads out of the folder/],
    [{ ...router, type: 'my_code.Router' }, /code of its own/],
  ] as const) {
    await writeFiles(inside, { 'modules.json': [entry] });
    await assert.rejects(readModelFolder(inside, { route: 'query' }), { code: 'CHECKPOINT', message });
  }
});

test('what is asked of a folder that has no use for it is refused', async (t) => {
  const plain = await temporaryFolder(t);
  await writeTransformers(plain);
  const pooled = await temporaryFolder(t);
  await writeSentenceTransformers(pooled);
  const words = await temporaryFolder(t);
  await writeFiles(words, { 'config.json': { model_type: 'model2vec' }, 'tokenizer.json': smallTokenizer() });
  await writeSafetensors(join(words, 'model.safetensors'), new Map([['embeddings', floats([18, 4])]]));
  await readModelFolder(words);
  for (const folder of [plain, pooled, words]) {
    const asked = [
      [{ route: 'query' }, /route is "query"; none/],
      [{ baseModel: plain }, /is no adapter/],
    ] as const;
    for (const [each, message] of asked)
      await assert.rejects(readModelFolder(folder, each), { code: 'INPUT', message });
  }
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

test('an adapter of a cross-encoder is named as such, with a config.json and without', async (t) => {
  const folder = await temporaryFolder(t);
  await writeFiles(folder, { 'adapter_config.json': {}, 'adapter_model.safetensors': 'x' });
  const told = { code: 'CHECKPOINT', message: /holds an adapter.*merge_and_unload\(\)/ };
  await assert.rejects(readCrossEncoderFolder(folder, { anyModel: false }), told);
  await writeFiles(folder, { 'config.json': smallConfig });
  await assert.rejects(readCrossEncoderFolder(folder, { anyModel: false }), told);
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
  for (const [name, found] of [
    ['tf_model.h5', 'found only tf_model\\.h5'],
    ['pytorch_model.bin', 'pytorch_model\\.bin: it is no file of torch\\.save'],
  ] as const) {
    await writeFile(join(folder, name), 'x');
    await assert.rejects(readModelFolder(folder), {
      code: 'CHECKPOINT',
      message: new RegExp(`${found}.*save_pretrained\\(folder, safe_serialization=True\\)`),
    });
  }
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
