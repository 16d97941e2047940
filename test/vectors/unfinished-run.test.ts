import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { temporaryFolder } from '../training/support.js';
import type { WriterSettings } from '../../lib/vectors/vector-writer.js';
import type { TextRow } from '../../lib/vectors/vector-format.js';
import { openWriter } from './writing.js';

const DIMENSION = 5;
const BLOCK = 3;

/** Rows and vectors that follow from their number. */
function block(first: number, count = BLOCK): { rows: TextRow[]; vectors: Float32Array } {
  const numbers = Array.from({ length: count }, (_, k) => first + k);
  return {
    rows: numbers.map((n) => ({
      text: `text ${n}`,
      place: `texts.jsonl, line ${n + 1}`,
      kept: { id: `${n}`, title: n % 2 === 0 ? null : 'odd' },
    })),
    vectors: Float32Array.from(numbers.flatMap((n) => [n, -n, Math.sin(n), n / 7, 1 - n])),
  };
}

/** Writes rows of a run, as `embed` does; the run ends at once after so many rows. */
async function run(
  path: string,
  settings: Partial<WriterSettings>,
  { total = 20, dieAfter = Infinity } = {},
): Promise<void> {
  const writer = await openWriter(path, { keep: ['id', 'title'], saveEvery: 0, ...settings });
  try {
    if (writer.complete !== undefined) return await writer.finish(writer.complete.dimension);
    await writer.prepare(DIMENSION);
    for (let begin = 0; begin < total; begin += BLOCK) {
      if (begin >= dieAfter) throw new Error('killed');
      const { rows, vectors } = block(begin, Math.min(BLOCK, total - begin));
      if (begin > 0 && begin + rows.length <= writer.done) writer.pass(rows);
      else await writer.write(rows, vectors, DIMENSION);
    }
    await writer.finish(DIMENSION);
  } catch (error) {
    await writer.abandon();
    throw error;
  }
}

async function contents(folder: string): Promise<Record<string, string>> {
  const names = (await readdir(folder)).sort();
  const found: Record<string, string> = {};
  for (const name of names) found[name] = (await readFile(join(folder, name))).toString('hex');
  return found;
}

async function twoFolders(t: TestContext): Promise<[string, string]> {
  const folder = await temporaryFolder(t);
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  await mkdir(a);
  await mkdir(b);
  return [a, b];
}

for (const [format, type] of [
  ['npy', 'float32'],
  ['safetensors', 'int8'],
  ['jsonl', 'float16'],
  ['npy', 'binary'],
  ['jsonl', 'uint8'],
] as const)
  test(`a run that was interrupted anywhere comes to the same bytes: ${type} in ${format}`, async (t) => {
    const [whole, parts] = await twoFolders(t);
    const name = `v.${format}`;
    const settings = { format, type, calibrationRows: 7 } as const;
    await run(join(whole, name), settings);
    const expected = await contents(whole);
    const beside = [
      ...(format === 'jsonl' ? [] : ['rows.jsonl']),
      ...(type.endsWith('int8') ? ['ranges.npy'] : []),
    ];
    assert.deepEqual(Object.keys(expected), [name, ...beside.map((end) => `${name}.${end}`)].sort());

    const path = join(parts, name);
    for (const dieAfter of [9, 9, 12, 18])
      await assert.rejects(run(path, { ...settings, resume: true }, { dieAfter }), /killed/);
    assert.deepEqual(await readdir(parts), [`${name}.unfinished`]);
    // A kill leaves bytes behind those that are stored.
    const vectors = join(`${path}.unfinished`, 'vectors');
    await writeFile(vectors, Buffer.concat([await readFile(vectors), Buffer.from('half a row')]));
    await run(path, { ...settings, resume: true });
    assert.deepEqual(await contents(parts), expected);
  });

test('what does not belong together is refused, and nothing of the run is lost', async (t) => {
  const path = join(await temporaryFolder(t), 'v.npy');
  const settings = { format: 'npy', decisive: { block: 3, prompt: null } } as const;
  await assert.rejects(run(path, settings, { dieAfter: 9 }), /killed/);
  const before = await contents(`${path}.unfinished`);
  for (const [more, message] of [
    [{}, /An earlier run into .*v\.npy did not end: 9 vectors of it are in .*unfinished\. Go on .*--resume/],
    [{ resume: true, decisive: { block: 4, prompt: null } }, /--block is 4, and the run to go on with has 3/],
    [{ resume: true, decisive: { block: 3, prompt: 'q' } }, /--prompt is "q", and .* has not given/],
  ] as const)
    await assert.rejects(run(path, { ...settings, ...more }), { code: 'INPUT', message });
  const goingOn = { ...settings, resume: true, keep: ['id', 'title'], saveEvery: 0 };
  const other = await openWriter(path, goingOn);
  const { rows, vectors } = block(0);
  await assert.rejects(other.write(rows, vectors.map(Math.fround).fill(2), DIMENSION), {
    code: 'INPUT',
    message: /other vectors for the first texts of the input.*--no-resume/,
  });
  await other.abandon();
  const texts = await openWriter(path, goingOn);
  await texts.write(rows, vectors, DIMENSION);
  texts.pass(block(30).rows);
  assert.throws(() => texts.pass(block(6).rows), {
    code: 'INPUT',
    message: /The first 9 texts of the input/,
  });
  await texts.abandon();
  const short = await openWriter(path, goingOn);
  await short.write(rows, vectors, DIMENSION);
  await assert.rejects(short.finish(DIMENSION), {
    code: 'INPUT',
    message: /has 3 texts, and .* vectors of 9/,
  });
  await short.abandon();
  assert.deepEqual(await contents(`${path}.unfinished`), before);
  await run(path, { ...settings, resume: false });
  assert.equal((await readFile(path)).length, 256 + 20 * DIMENSION * 4);
});

test('a run that is ended while it stores how far it is keeps that', async (t) => {
  const path = join(await temporaryFolder(t), 'v.npy');
  const writer = await openWriter(path, { format: 'npy', saveEvery: 0 });
  const { rows, vectors } = block(0);
  const written = writer.write(rows, vectors, DIMENSION);
  assert.equal(await writer.abandon(), BLOCK);
  await written;
  assert.equal((await openWriter(path, { format: 'npy', resume: true })).done, BLOCK);
});

test('two runs into one file are refused', async (t) => {
  const path = join(await temporaryFolder(t), 'v.npy');
  const first = await openWriter(path, { format: 'npy' });
  await assert.rejects(openWriter(path, { format: 'npy' }), {
    code: 'INPUT',
    message: /v\.npy is being written by process \d+ on/,
  });
  await first.abandon();
  assert.deepEqual(await readdir(join(path, '..')), []);
});

test('files that an earlier run left beside the output are not left there for other vectors', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'v.npy');
  await run(path, { format: 'npy' });
  await assert.rejects(run(path, { format: 'npy', keep: [] }), {
    code: 'INPUT',
    message: /v\.npy\.rows\.jsonl is of an earlier run, and this one writes none/,
  });
  await run(path, { format: 'npy' });
});

test('ranges of another run, and what cannot be them', async (t) => {
  const folder = await temporaryFolder(t);
  const path = (name: string): string => join(folder, name);
  const int8 = { format: 'npy', type: 'int8' } as const;
  await run(path('a.npy'), { ...int8, calibrationRows: 100 });
  const ranges = path('a.npy.ranges.npy');
  await run(path('b.npy'), { ...int8, ranges });
  assert.deepEqual(await readFile(path('b.npy')), await readFile(path('a.npy')));
  await writeFile(path('text'), 'no array');
  for (const [wrong, message] of [
    [path('text'), /text holds no ranges of 5 dimensions/],
    [path('a.npy'), /holds no ranges/],
    [path('gone'), /gone cannot be read/],
  ] as const)
    await assert.rejects(run(path('c.npy'), { ...int8, ranges: wrong }), { code: 'INPUT', message });
  await assert.rejects(run(path('c.npy'), int8, { total: 1 }), {
    code: 'INPUT',
    message: /one text, from which/,
  });
  for (const [more, message] of [
    [int8, /npy begins with the number/],
    [{ type: 'int8' }, /ranges of int8/],
    [{ resume: true }, /--resume/],
  ] as const)
    await assert.rejects(openWriter('/dev/null', more), { code: 'INPUT', message });
});

test('a number beyond those of float16 is refused with its text', async (t) => {
  const writer = await openWriter(join(await temporaryFolder(t), 'v.npy'), {
    format: 'npy',
    type: 'float16',
  });
  await assert.rejects(writer.write(block(0, 1).rows, Float32Array.of(1e5), 1), {
    code: 'INPUT',
    message:
      /^texts.jsonl, line 1: the vector of the text "text 0" holds 100000, and float16 goes up to 65504/,
  });
  await writer.abandon();
});
