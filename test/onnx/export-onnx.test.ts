import assert from 'node:assert/strict';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { exportOnnx, TextEncoder } from '../../lib/index.js';
import { MODEL_TYPES, architectureOf } from '../../lib/architectures/architectures.js';
import { familyOf } from '../../lib/onnx/families/families.js';
import { readSafetensors, writeSafetensors } from '../../lib/safetensors/safetensors.js';
import { gradcache } from '../cli/program.js';
import { saveTinyModel, temporaryFolder } from '../training/support.js';

/** A tiny model, and a place for graphs of it. */
async function places(t: TestContext): Promise<{ model: string; out: string }> {
  const folder = await temporaryFolder(t);
  return { model: await saveTinyModel(join(folder, 'model')), out: join(folder, 'out') };
}

const json = async (...path: string[]) =>
  JSON.parse(await readFile(join(...path), 'utf8')) as Record<string, unknown>;

test('there is a graph of every type of model', () => {
  for (const type of MODEL_TYPES) assert.equal(typeof familyOf(architectureOf(type).native), 'function');
});

test('a folder holds graphs, tokenizer and modules, and no weights besides', async (t) => {
  const { model, out } = await places(t);
  const seen: number[] = [];
  const files = await exportOnnx(model, out, {
    precisions: ['int8', 'float32'],
    onProgress: ({ bytes, totalBytes }) => seen.push(bytes / totalBytes),
  });
  assert.deepEqual(
    files.map(({ file, precision, sideFile }) => [file, precision, sideFile]),
    [
      ['onnx/model_quantized.onnx', 'int8', null],
      ['onnx/model.onnx', 'float32', null],
    ],
  );
  for (const { file, bytes } of files) assert.equal((await stat(join(out, file))).size, bytes);
  assert.equal(seen.at(-1), 1);
  const names = await readdir(out);
  for (const name of ['config.json', 'modules.json', 'tokenizer.json', 'tokenizer_config.json', '1_Pooling'])
    assert.ok(names.includes(name), name);
  assert.ok(!names.includes('model.safetensors'));
  const [small, wide] = files.map(({ bytes }) => bytes) as [number, number];
  assert.ok(small < wide / 1.5, `${small} bytes in eight bits, ${wide} in float32`);
});

test('an export replaces another whole, and keeps what is no part of a model', async (t) => {
  const { model, out } = await places(t);
  await exportOnnx(model, out, { precisions: ['float32', 'float16'] });
  await writeFile(join(out, 'README.md'), 'mine');
  await exportOnnx(model, out, { precisions: ['int8'] });
  assert.deepEqual(await readdir(join(out, 'onnx')), ['model_quantized.onnx']);
  assert.equal(await readFile(join(out, 'README.md'), 'utf8'), 'mine');
});

test("in the model's own folder only onnx/ is added, and the side of padding where it matters", async (t) => {
  const { model } = await places(t);
  const weights = await readFile(join(model, 'model.safetensors'));
  const before = await readdir(model);
  await exportOnnx(model, model);
  assert.deepEqual((await readdir(model)).sort(), [...before, 'onnx'].sort());
  assert.deepEqual(await readFile(join(model, 'model.safetensors')), weights);
  assert.equal((await json(model, 'tokenizer_config.json')).padding_side, undefined);
  const pooling = await json(model, '1_Pooling', 'config.json');
  const last = { ...pooling, pooling_mode_mean_tokens: false, pooling_mode_lasttoken: true };
  await writeFile(join(model, '1_Pooling', 'config.json'), JSON.stringify(last));
  await exportOnnx(model, model);
  assert.equal((await json(model, 'tokenizer_config.json')).padding_side, 'left');
  (await TextEncoder.load(model)).dispose();
});

test('an aborted export leaves nothing, and what was there', async (t) => {
  const { model, out } = await places(t);
  const controller = new AbortController();
  const options = { signal: controller.signal, onProgress: () => controller.abort() };
  await assert.rejects(exportOnnx(model, out, options), { code: 'ABORTED' });
  assert.deepEqual(await readdir(join(out, '..')), ['model']);
  const late = (async () => Promise.resolve()) as () => void;
  await assert.rejects(exportOnnx(model, out, { onProgress: late }), {
    message: /onProgress is asynchronous/,
  });
  await exportOnnx(model, out);
  const before = await readFile(join(out, 'onnx', 'model.onnx'));
  await assert.rejects(exportOnnx(model, out, options), { code: 'ABORTED' });
  assert.deepEqual(await readFile(join(out, 'onnx', 'model.onnx')), before);
});

test('what a graph cannot hold is refused by name', async (t) => {
  const { model, out } = await places(t);
  const refused = (code: string, message: RegExp, options = {}) =>
    assert.rejects(exportOnnx(model, out, options), { code, message });
  const without = await json(model, '1_Pooling', 'config.json');
  const write = (content: unknown) =>
    writeFile(join(model, '1_Pooling', 'config.json'), JSON.stringify(content));
  await write({ ...without, include_prompt: false });
  await refused('INPUT', /include_prompt is false/);
  await write(without);
  await refused('INPUT', /precisions is \["int4"\]/, { precisions: ['int4'] });
  await refused('INPUT', /pooling is "cls", and .* is a folder of sentence-transformers/, { pooling: 'cls' });
  const path = join(model, 'model.safetensors');
  const tensors = await readSafetensors(path);
  const [name, tensor] = [...tensors].find(([each]) => each.endsWith('LayerNorm.bias'))!;
  tensors.delete(name);
  await writeSafetensors(path, tensors);
  await refused('CHECKPOINT', new RegExp(`missing: ${name}`));
  tensors.set(name, tensor);
  tensors.set('encoder.more', tensor);
  await writeSafetensors(path, tensors);
  await refused('CHECKPOINT', /unexpected: encoder\.more/);
  assert.deepEqual(await readdir(join(out, '..')), ['model']);
});

test('models with a representation for each token are refused', async (t) => {
  const { model, out } = await places(t);
  const folder = join(out, '..', 'tokens');
  const encoder = await TextEncoder.load(model);
  const perToken = TextEncoder.create(await json(model, 'config.json'), encoder.tokenizer, {
    pooling: 'none',
  });
  await perToken.save(folder);
  perToken.dispose();
  encoder.dispose();
  await assert.rejects(exportOnnx(folder, out), { code: 'INPUT', message: /representation for each token/ });
});

test('the command writes what it says', async (t) => {
  const { model, out } = await places(t);
  const wrong = await gradcache(['export', model, out]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^INPUT: --onnx is needed/);
  const none = await gradcache(['export', '--onnx', model, out, '--precision', 'float32,int4']);
  assert.match(none.stderr, /^INPUT: --precision is "float32,int4"; one or more of/);
  const { code, stdout } = await gradcache(['export', '--onnx', model, out, '--json']);
  assert.equal(code, 0);
  const told = JSON.parse(stdout) as { folder: string; files: { file: string; bytes: number }[] };
  assert.equal(told.folder, out);
  assert.equal((await stat(join(out, told.files[0]!.file))).size, told.files[0]!.bytes);
});
