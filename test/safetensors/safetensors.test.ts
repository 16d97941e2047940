import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { GradCacheError } from '../../lib/errors.js';
import {
  readSafetensors,
  readSafetensorsHeader,
  writeSafetensors,
} from '../../lib/safetensors/safetensors.js';
import type { StoredTensor } from '../../lib/safetensors/safetensors.js';
import { temporaryFolder, testFolder } from '../data/temporary-folder.js';

const hostile = join(testFolder, 'hostile');

test('every hostile file is refused with its name and the rule it breaks', async () => {
  const rules = JSON.parse(await readFile(join(hostile, 'rules.json'), 'utf8')) as Record<string, string>;
  const files = (await readdir(hostile)).filter((name) => name.endsWith('.safetensors'));
  assert.deepEqual(files.sort(), Object.keys(rules).sort());
  for (const file of files) {
    const path = join(hostile, file);
    for (const read of [readSafetensors, readSafetensorsHeader]) {
      await assert.rejects(read(path), (error: unknown) => {
        assert.ok(error instanceof GradCacheError, `${file}: ${String(error)}`);
        assert.equal(error.code, 'CHECKPOINT', file);
        assert.ok(error.message.includes(path), error.message);
        assert.ok(error.message.includes(rules[file]!), `${file}: ${error.message}`);
        return true;
      });
    }
  }
  assert.equal(({} as Record<string, unknown>).dtype, undefined);
});

test('a missing file and a folder are refused by name', async () => {
  for (const path of [join(hostile, 'not-there.safetensors'), hostile]) {
    await assert.rejects(readSafetensors(path), (error: unknown) => {
      return error instanceof GradCacheError && error.code === 'CHECKPOINT' && error.message.includes(path);
    });
  }
});

const DTYPES = [
  ['float64', 8],
  ['float32', 4],
  ['float16', 2],
  ['bfloat16', 2],
  ['int64', 8],
  ['int32', 4],
  ['int16', 2],
  ['int8', 1],
  ['uint8', 1],
  ['bool', 1],
] as const;

test('every dtype, a scalar, an empty tensor and odd names come back as written', async (t) => {
  const path = join(await temporaryFolder(t), 'model.safetensors');
  const tensors = new Map<string, StoredTensor>();
  for (const [dtype, size] of DTYPES) {
    const bytes = Uint8Array.from({ length: 6 * size }, (_, i) =>
      dtype === 'bool' ? i % 2 : (i * 37) % 256,
    );
    tensors.set(dtype, { dtype, shape: [2, 3], bytes });
  }
  tensors.set('scalar', { dtype: 'float32', shape: [], bytes: Uint8Array.of(0, 0, 128, 63) });
  tensors.set('empty', { dtype: 'int64', shape: [0, 7], bytes: new Uint8Array(0) });
  for (const name of ['__proto__', 'constructor', '', 'ü 😀 " \\ \n']) {
    tensors.set(name, { dtype: 'uint8', shape: [1], bytes: Uint8Array.of(9) });
  }
  await writeSafetensors(path, tensors, { format: 'pt', note: 'ü' });

  const read = await readSafetensors(path);
  assert.deepEqual(new Map([...read].sort()), new Map([...tensors].sort()));
  assert.equal(({} as Record<string, unknown>).dtype, undefined);
  const { entries, metadata } = await readSafetensorsHeader(path);
  assert.deepEqual(metadata, { format: 'pt', note: 'ü' });
  for (const { byteOffset, dtype } of entries) {
    const size = DTYPES.find(([name]) => name === dtype)![1];
    assert.equal(byteOffset % size, 0, `${dtype} at ${byteOffset}`);
  }
});

test('tensors of many files share no memory and start at the beginning of their buffers', async (t) => {
  const path = join(await temporaryFolder(t), 'model.safetensors');
  const tensor: StoredTensor = { dtype: 'float32', shape: [2], bytes: new Uint8Array(8) };
  await writeSafetensors(path, [
    ['a', tensor],
    ['b', tensor],
  ]);
  const [a, b] = [...(await readSafetensors(path)).values()];
  assert.notEqual(a!.bytes.buffer, b!.bytes.buffer);
  assert.equal(a!.bytes.byteOffset, 0);
});

test('the file is laid out as the reference implementation does it', async (t) => {
  const path = join(await temporaryFolder(t), 'model.safetensors');
  const of = (dtype: StoredTensor['dtype'], bytes: number[]): StoredTensor => ({
    dtype,
    shape: [1],
    bytes: Uint8Array.from(bytes),
  });
  await writeSafetensors(path, [
    ['b', of('uint8', [5])],
    ['z', of('float32', [1, 2, 3, 4])],
    ['a', of('float32', [6, 7, 8, 9])],
  ]);
  const json =
    '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"z":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},' +
    '"b":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}}';
  const header = json.padEnd(Math.ceil(json.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const expected = Buffer.concat([length, Buffer.from(header), Buffer.of(6, 7, 8, 9, 1, 2, 3, 4, 5)]);
  assert.deepEqual(await readFile(path), expected);
});

test('random bytes and random damage to a good file never do anything but throw CHECKPOINT', async (t) => {
  const folder = await temporaryFolder(t);
  const good = join(folder, 'good.safetensors');
  await writeSafetensors(good, [['w', { dtype: 'float32', shape: [2, 2], bytes: new Uint8Array(16) }]], {
    format: 'pt',
  });
  const bytes = await readFile(good);
  const path = join(folder, 'damaged.safetensors');
  for (let at = 0; at < bytes.length; at++) {
    for (const value of [0, 0x22, 0x2d, 0x39, 0x7d, 0xff]) {
      const damaged = Buffer.from(bytes);
      damaged[at] = value;
      await writeFile(path, damaged);
      await readSafetensors(path).catch((error: unknown) => {
        assert.ok(error instanceof GradCacheError && error.code === 'CHECKPOINT', String(error));
      });
    }
    await writeFile(path, bytes.subarray(0, at));
    await assert.rejects(readSafetensors(path), { code: 'CHECKPOINT' });
  }
});

test('the writer refuses what would make a bad file and leaves the old file alone', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'model.safetensors');
  const tensor: StoredTensor = { dtype: 'float32', shape: [1], bytes: new Uint8Array(4) };
  await writeSafetensors(path, [['kept', tensor]]);
  const attempts: [string, StoredTensor][][] = [
    [
      ['a', tensor],
      ['a', tensor],
    ],
    [['a', { ...tensor, shape: [2] }]],
    [['__metadata__', tensor]],
    [['\ud800', tensor]],
    [['a', { ...tensor, dtype: 'complex64' as StoredTensor['dtype'] }]],
  ];
  for (const attempt of attempts) await assert.rejects(writeSafetensors(path, attempt), { code: 'INPUT' });
  assert.deepEqual([...(await readSafetensors(path)).keys()], ['kept']);
  assert.deepEqual(await readdir(folder), ['model.safetensors']);
});
