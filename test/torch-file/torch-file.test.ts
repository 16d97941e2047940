import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readSafetensors, TextEncoder, Tokenizer, type StoredTensor } from '../../lib/index.js';
import { readTorchFile } from '../../lib/torch-file/torch-file.js';
import { temporaryFolder } from '../data/temporary-folder.js';
import { floats, smallTensors, smallTokenizer } from '../encoders/small-model.js';
import { pickle, pickledDict, pickledTensor, torchFile, zip } from './write-torch-file.js';

const { code, text, int, tuple, global } = pickle;
const archive = (data: Buffer, ...storages: Uint8Array[]) =>
  zip([
    ['a/data.pkl', data],
    ...storages.map((bytes, key): [string, Uint8Array] => [`a/data/${key}`, bytes]),
  ]);

test('tensors of every type, dense and not, are read as they are', async (t) => {
  const path = join(await temporaryFolder(t), 'file.bin');
  const bytes = Uint8Array.from({ length: 48 }, (_, place) => place);
  const types = {
    float64: 8,
    int64: 8,
    float32: 4,
    int32: 4,
    float16: 2,
    bfloat16: 2,
    int16: 2,
    int8: 1,
    uint8: 1,
    bool: 1,
  };
  const tensors = new Map(
    Object.entries(types).map(([dtype, size]): [string, StoredTensor] => [
      dtype,
      { dtype: dtype as StoredTensor['dtype'], shape: [48 / size / 2, 1, 2], bytes },
    ]),
  );
  tensors.set('empty', { dtype: 'float32', shape: [0, 3], bytes: new Uint8Array(0) });
  tensors.set('scalar', { dtype: 'float32', shape: [], bytes: bytes.slice(0, 4) });
  await writeFile(path, torchFile(tensors));
  assert.deepEqual(await readTorchFile(path), tensors);

  const whole = { dtype: 'int8', shape: [3, 2], bytes } as const;
  const views: [string, Buffer][] = [
    ['transposed', pickledTensor('0', whole, { strides: [1, 3], elements: 48 })],
    ['later', pickledTensor('0', whole, { offset: 7, elements: 48 })],
    ['every other', pickledTensor('0', { ...whole, shape: [4] }, { offset: 1, strides: [2], elements: 48 })],
  ];
  await writeFile(path, archive(pickledDict(views), bytes));
  const read = [...(await readTorchFile(path))].map(([name, each]) => [name, each.shape, [...each.bytes]]);
  assert.deepEqual(read, [
    ['transposed', [3, 2], [0, 3, 1, 4, 2, 5]],
    ['later', [3, 2], [7, 8, 9, 10, 11, 12]],
    ['every other', [4], [1, 3, 5, 7]],
  ]);
});

test('a model whose weights are in pytorch_model.bin alone is opened', async (t) => {
  const folder = await temporaryFolder(t);
  const config = {
    ...{ model_type: 'bert', vocab_size: 18, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2 },
    ...{ intermediate_size: 9, max_position_embeddings: 16 },
  };
  using expected = TextEncoder.create(config, await Tokenizer.fromJson(JSON.stringify(smallTokenizer())));
  await expected.save(folder);
  const tensors = await readSafetensors(join(folder, 'model.safetensors'));
  await rm(join(folder, 'model.safetensors'));
  await writeFile(join(folder, 'pytorch_model.bin'), torchFile(tensors));
  using encoder = await TextEncoder.load(folder);
  const rows = async (model: TextEncoder) => (await model.encode(['a text', 'cat'])).values();
  assert.deepEqual(await rows(encoder), await rows(expected));
  const names = [...tensors.keys()];
  await rm(join(folder, 'pytorch_model.bin'));
  const index = Object.fromEntries(names.map((name, place) => [name, `part-${place % 2}.bin`]));
  for (const part of [0, 1])
    await writeFile(
      join(folder, `part-${part}.bin`),
      torchFile(new Map([...tensors].filter((_, place) => place % 2 === part))),
    );
  await writeFile(join(folder, 'pytorch_model.bin.index.json'), JSON.stringify({ weight_map: index }));
  using shards = await TextEncoder.load(folder);
  assert.deepEqual(await rows(shards), await rows(expected));
});

test('anything but tensors by name is refused, and nothing of it runs', async (t) => {
  const path = join(await temporaryFolder(t), 'file.bin');
  const four = floats([4]);
  const good = pickledTensor('0', four);
  const dict = (value: Buffer) => archive(pickledDict([['w', value]]), four.bytes);
  const compressed = zip([['a/data.pkl', pickledDict([['w', good]])]], 8);
  const cases: [Uint8Array, RegExp][] = [
    [dict(code(global('os', 'system'), tuple(text('echo')), 'R')), /it calls "os\.system"/],
    [dict(code(global('builtins', 'eval'), tuple(text('1')), 'R')), /it calls "builtins\.eval"/],
    [dict(code(global('torch._utils', '_rebuild_tensor_v2'), tuple(int(1)), 'R')), /describes a tensor/],
    [dict(code(global('a', 'B'), ')\x81')), /operation "\x81" of a pickle/],
    [dict(code(global('a', 'B'), tuple(int(1)), 'b')), /sets attributes/],
    [dict(int(3)), /holds 3 under "w", where a tensor by name/],
    [dict(pickledDict([]).subarray(2, -1)), /holds a dict under "w"/],
    [archive(code('\x80\x02]q\x00.')), /holds no dict of tensors/],
    [archive(code('\x80\x02h\x05.')), /recalls object 5/],
    [archive(code('\x80\x02(((tR.')), /damaged|no function/],
    [archive(code('\x80\x02')), /it is cut off/],
    [archive(code('.')), /it is damaged/],
    [dict(pickledTensor('0', four, { offset: 1 })), /tensor \[4\] with strides \[1\] at 1 of a storage of 4/],
    [
      dict(pickledTensor('0', { ...four, shape: [4, 2 ** 30] }, { strides: [1, 0], elements: 4 })),
      /strides \[1,0\]/,
    ],
    [dict(pickledTensor('7', four)), /storage 7 has no bytes/],
    [dict(pickledTensor('0', four, { elements: 2 ** 30 })), /claim 4294967296 bytes of a file/],
    [dict(pickledTensor('0', four, { elements: 5 })), /storage 0 has 16 bytes, for 5 numbers of float32/],
    [zip([['a/else', new Uint8Array(3)]]), /no data\.pkl/],
    [compressed, /compressed or encrypted/],
    [torchFile(smallTensors).subarray(0, -30), /no end of a zip archive/],
    [Buffer.from('hello'), /no file of torch\.save/],
    [new Uint8Array(0), /no file of torch\.save/],
    [Buffer.from('version https://git-lfs.github.com/spec/v1\n'), /git lfs pull/],
    [
      Buffer.concat([code('\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'), dict(good)]),
      /operation "P"|cut off|damaged/,
    ],
  ];
  for (const [content, message] of cases) {
    await writeFile(path, content);
    await assert.rejects(readTorchFile(path), { code: 'CHECKPOINT', message }, String(message));
  }
  const many = Array.from({ length: 20 }, (_, place): [string, Buffer] => [
    `t${place}`,
    pickledTensor('0', { ...four, shape: [2, 2] }, { strides: [1, 2], elements: 4 }),
  ]);
  await writeFile(path, archive(pickledDict(many), four.bytes));
  await assert.rejects(readTorchFile(path), { code: 'CHECKPOINT', message: /far more memory/ });
  await assert.rejects(readTorchFile(join(path, 'none')), { code: 'CHECKPOINT' });
});
