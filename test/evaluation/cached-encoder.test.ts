import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { cachedEncoder } from '../../lib/evaluation/cached-encoder.js';
import type { EncodesTexts } from '../../lib/evaluation/encode-texts.js';
import { Tensor } from '../../lib/tensor/tensor.js';
import { temporaryFolder } from '../training/support.js';

function counting(): EncodesTexts & { texts: number } {
  const encoder: EncodesTexts & { texts: number } = {
    texts: 0,
    encode(texts, options) {
      encoder.texts += texts.length;
      const shift = typeof options?.prompt === 'string' ? options.prompt.length : 0;
      return Promise.resolve(
        Tensor.from(Float32Array.from(texts.flatMap((text) => [text.length + shift, 1])), {
          shape: [texts.length, 2],
        }),
      );
    },
  };
  return encoder;
}

test('texts are encoded once, by model, prompt and kind, also in a new encoder', async (t) => {
  const folder = join(await temporaryFolder(t), 'cache');
  const encoder = counting();
  const cached = cachedEncoder(encoder, { folder, model: 'm' });
  const values = async (rows: Promise<Tensor>) => [...((await (await rows).values()) as Float32Array)];
  const first = await values(cached.encode(['a', 'bcd']));
  assert.deepEqual(first, [1, 1, 3, 1]);
  assert.deepEqual(await values(cached.encode(['a', 'bcd'])), first);
  assert.deepEqual(await values(cachedEncoder(encoder, { folder, model: 'm' }).encode(['a', 'bcd'])), first);
  assert.equal(encoder.texts, 2);
  assert.deepEqual(await values(cached.encode(['a', 'bcd'], { prompt: 'xy' })), [3, 1, 5, 1]);
  await cached.encodeQuery!(['a', 'bcd']);
  await cached.encode(['ab', 'cd']);
  await cachedEncoder(encoder, { folder, model: 'other' }).encode(['a', 'bcd']);
  assert.equal(encoder.texts, 10);
  assert.equal((await readdir(folder)).length, 5);
});

test('what was encoded before an error is kept', async (t) => {
  const folder = await temporaryFolder(t);
  const encoder = counting();
  const failing: EncodesTexts = {
    encode: (texts) => (texts.includes('stop') ? Promise.reject(new Error('gone')) : encoder.encode(texts)),
  };
  const texts = Array.from({ length: 8192 * 2 }, (_, place) => `t${place}`);
  const stopped = cachedEncoder(failing, { folder, model: 'm' });
  await assert.rejects(stopped.encode([...texts, 'stop']), /gone/);
  assert.equal(encoder.texts, texts.length);
  const rows = await cachedEncoder(encoder, { folder, model: 'm' }).encode([...texts, 'stop']);
  assert.deepEqual(rows.shape, [texts.length + 1, 2]);
  assert.equal(encoder.texts, texts.length + 1);
});

test('a damaged file is refused by its name', async (t) => {
  const folder = await temporaryFolder(t);
  const cached = cachedEncoder(counting(), { folder, model: 'm' });
  await cached.encode(['a']);
  const [name] = await readdir(folder);
  await writeFile(join(folder, name!), 'nothing');
  await assert.rejects(cached.encode(['a']), { code: 'CHECKPOINT', message: new RegExp(name!) });
});

test('what is no folder, and a model without one dense representation a text, are refused', async (t) => {
  const folder = join(await temporaryFolder(t), 'file');
  await writeFile(folder, '');
  await assert.rejects(cachedEncoder(counting(), { folder, model: 'm' }).encode(['a']), {
    code: 'INPUT',
    message: /cannot be read: .*ENOTDIR.* A part of the path is a file/,
  });
  for (const kind of ['sparse', 'perToken'])
    assert.throws(() => cachedEncoder({ ...counting(), [kind]: true }, { folder, model: 'm' }), {
      code: 'INPUT',
      message: new RegExp(`encoder.${kind} is true; a model with one dense representation a text is needed`),
    });
});
