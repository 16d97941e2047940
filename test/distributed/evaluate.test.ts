import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gradcache } from '../cli/program.js';
import { pairs, saveTinyModel, temporaryFolder, writeRows } from '../training/support.js';

test('texts are embedded and measured over ranks as by one process', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const rows = pairs(23);
  const texts = join(folder, 'texts.txt');
  await writeFile(texts, rows.map(({ anchor }) => `${anchor}\n`).join(''));
  const embed = async (name: string, ...more: string[]): Promise<Float32Array> => {
    const output = join(folder, `${name}.npy`);
    const flags = ['--model', model, '--device', 'cpu', '--input', texts, '--output', output, '--block', '5'];
    const { code, stdout, stderr } = await gradcache(['embed', ...flags, ...more]);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^.*\.npy: 23 vectors of 16 numbers\n$/);
    const bytes = await readFile(output);
    return new Float32Array(
      bytes.buffer.slice(bytes.byteOffset + bytes.length - 23 * 16 * 4, bytes.byteOffset + bytes.length),
    );
  };
  const [alone, shared] = [await embed('alone'), await embed('shared', '--ranks', '2')];
  for (const [place, value] of alone.entries()) assert.ok(Math.abs(shared[place]! - value) < 1e-6);

  const data = await writeRows(join(folder, 'held.jsonl'), rows);
  const flags = ['evaluate', '--model', model, '--device', 'cpu', '--data', data, '--json'];
  const [one, two] = [await gradcache(flags), await gradcache([...flags, '--ranks', '2'])];
  assert.equal(two.code, 0, two.stderr);
  const [first, second] = [one, two].map(({ stdout }) => JSON.parse(stdout) as Record<string, number>);
  assert.deepEqual(Object.keys(second!), Object.keys(first!));
  for (const [name, score] of Object.entries(first!))
    if (typeof score === 'number') assert.ok(Math.abs(second![name]! - score) < 1e-6, name);
});
