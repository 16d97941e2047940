import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readSafetensors } from '../../lib/encoders/safetensors.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';
import { gradcache } from './program.js';

const TEXTS = [
  'the old dog',
  'a river',
  'bread, and "butter"',
  '',
  'the last one is longer than the others by far',
];

async function vectorsOf(model: string): Promise<number[]> {
  const encoder = await TextEncoder.load(model);
  const representations = await encoder.encode(TEXTS);
  return Array.from((await representations.values()) as Float32Array);
}

test('lines become vectors in every format, the same ones whatever the block', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const expected = await vectorsOf(model);
  const input = join(folder, 'texts.txt');
  await writeFile(input, TEXTS.join('\n') + '\n');
  const embed = async (output: string, ...more: string[]): Promise<string> => {
    const path = join(folder, output);
    const { code, stdout, stderr } = await gradcache([
      'embed',
      '--model',
      model,
      '--device',
      'cpu',
      '--input',
      input,
      '--output',
      path,
      ...more,
    ]);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, `${path}: 5 vectors of 16 numbers\n`);
    return path;
  };
  const close = (values: ArrayLike<number>): void => {
    assert.equal(values.length, expected.length);
    expected.forEach((value, index) => assert.ok(Math.abs(values[index]! - value) < 1e-6));
  };

  const rows = (await readFile(await embed('a.jsonl', '--block', '2'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { text: string; vector: number[] });
  assert.deepEqual(
    rows.map(({ text }) => text),
    TEXTS,
  );
  close(rows.flatMap(({ vector }) => vector));

  const { dtype, shape, bytes } = (await readSafetensors(await embed('a.safetensors'))).get('embeddings')!;
  assert.deepEqual([dtype, shape], ['float32', [5, 16]]);
  close(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4));

  const npy = await readFile(await embed('b.bin', '--format', 'npy', '--block', '1'));
  assert.equal(npy.subarray(1, 6).toString(), 'NUMPY');
  const headerEnd = 10 + npy.readUInt16LE(8);
  assert.equal(headerEnd % 64, 0);
  assert.match(
    npy.subarray(10, headerEnd).toString(),
    /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(5, 16\), \} *\n$/,
  );
  close(new Float32Array(npy.buffer.slice(npy.byteOffset + headerEnd, npy.byteOffset + npy.byteLength)));

  // Numbers in JSON are the shortest that are read back as the same float32.
  const again = rows.flatMap(({ vector }) => vector);
  assert.deepEqual(
    again.map(Math.fround),
    Array.from(new Float32Array(npy.buffer.slice(npy.byteOffset + headerEnd)), Math.fround),
  );
});

test('texts come from a column, from compressed lines, or from standard input', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const texts = TEXTS.filter((text) => text !== '');
  const column = await writeRows(
    join(folder, 'rows.jsonl'),
    texts.map((text, id) => ({ id, text })),
  );
  const lines = join(folder, 'lines.txt.gz');
  await writeFile(lines, gzipSync(texts.join('\r\n')));
  const outputs: Buffer[] = [];
  for (const [input, ...more] of [[column, '--column', 'text'], [lines], ['-']]) {
    const output = join(folder, `${outputs.length}.npy`);
    const args = [
      'embed',
      '--model',
      model,
      '--device',
      'cpu',
      '--input',
      input!,
      '--output',
      output,
      '--json',
      ...more,
    ];
    const { code, stdout, stderr } = await gradcache(args, { input: `${texts.join('\n')}\n` });
    assert.equal(code, 0, stderr);
    const { texts: count, dimension } = JSON.parse(stdout) as { texts: number; dimension: number };
    assert.deepEqual([count, dimension], [4, 16]);
    outputs.push(await readFile(output));
  }
  assert.deepEqual(outputs[1], outputs[0]);
  assert.deepEqual(outputs[2], outputs[0]);
});

test('a failure leaves no file behind, and says what is wrong', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const rows = await writeRows(join(folder, 'rows.jsonl'), [{ text: 'good' }, { text: null }]);
  const output = join(folder, 'out.npy');
  const args = ['embed', '--model', model, '--device', 'cpu', '--input', rows, '--output', output];
  const failed = await gradcache([...args, '--column', 'text', '--block', '1']);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /INPUT: .*rows\.jsonl, line 2: "text" is null, not a text or number\.\n$/);
  const unclear = await gradcache(args);
  assert.match(
    unclear.stderr,
    / on cpu\nINPUT: .*rows\.jsonl has columns: say which holds the texts with --column NAME\.\n/,
  );
  const missing = await gradcache(args.map((arg) => (arg === rows ? join(folder, 'gone.txt') : arg)));
  assert.match(missing.stderr, / on cpu\nINPUT: .*gone\.txt cannot be read/);
  assert.deepEqual((await readdir(folder)).sort(), ['model', 'rows.jsonl']);
});
