import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { embedCommand } from '../../lib/cli/embed.js';
import { readSafetensors, writeSafetensors } from '../../lib/safetensors/safetensors.js';
import { TextEncoder } from '../../lib/encoders/text-encoder.js';
import { Tokenizer } from '../../lib/tokenizer/tokenizer.js';
import { collectGarbage } from '../collect-garbage.js';
import { smallTokenizer } from '../exactness/small-tokenizer.js';
import { saveTinyModel, temporaryFolder, TINY_CONFIG, writeRows } from '../training/support.js';
import { gradcache, runCommand } from './program.js';

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

test('vectors have the dimensions asked for', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const [input, output] = [join(folder, 'texts.txt'), join(folder, 'vectors.safetensors')];
  await writeFile(input, TEXTS.join('\n') + '\n');
  const flags = ['--model', model, '--device', 'cpu', '--input', input, '--output', output];
  const { printed } = await runCommand(embedCommand, [...flags, '--dimensions', '5']);
  assert.match(printed.join(''), /5 vectors of 5 numbers/);
  const [stored] = (await readSafetensors(output)).values();
  const all = await vectorsOf(model);
  const found = Array.from(new Float32Array(stored!.bytes.slice().buffer));
  assert.deepEqual(
    found,
    [0, 1, 2, 3, 4].flatMap((text) => all.slice(16 * text, 16 * text + 5)),
  );
});

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
  assert.match(
    failed.stderr,
    /INPUT: .*rows\.jsonl, line 2: "text" is null, not a text or number\. Correct it, or name other columns \(--column\)/,
  );
  const unclear = await gradcache(args);
  assert.match(
    unclear.stderr,
    /^INPUT: .*rows\.jsonl has columns: say which holds the texts with --column NAME\.\n/,
  );
  const missing = await gradcache(args.map((arg) => (arg === rows ? join(folder, 'gone.txt') : arg)));
  assert.match(missing.stderr, /^INPUT: .*gone\.txt cannot be read/);
  assert.deepEqual((await readdir(folder)).sort(), ['model', 'rows.jsonl']);
});

const embed = (...args: string[]) => runCommand(embedCommand, args);

test('no file that is read is written over', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const input = await writeRows(join(folder, 'rows.jsonl'), [{ text: 'the old dog' }]);
  const before = await readFile(input);
  const link = join(folder, 'link.jsonl');
  await symlink(input, link);
  const args = ['--model', model, '--device', 'cpu', '--input', input, '--column', 'text', '--output'];
  for (const output of [input, link, join(model, 'model.safetensors')]) {
    await assert.rejects(embed(...args, output), { code: 'INPUT', message: /--output .* would overwrite/ });
  }
  assert.deepEqual(await readFile(input), before);
  await TextEncoder.load(model);
});

test('texts and output are looked at before the model is', async (t) => {
  const folder = await temporaryFolder(t);
  const model = join(folder, 'no model');
  const rows = await writeRows(join(folder, 'rows.jsonl'), [{ text: 'dog' }]);
  const good = join(folder, 'out.jsonl');
  const wrong: [input: string, column: string | undefined, output: string, message: RegExp][] = [
    [rows, 'words', good, /rows\.jsonl, line 1: it has no "words"/],
    [rows, undefined, good, /say which holds the texts with --column/],
    [join(folder, 'gone.txt'), undefined, good, /gone\.txt cannot be read/],
    [folder, undefined, good, /is a folder/],
    [rows, 'text', join(folder, 'gone', 'out.npy'), /out\.npy cannot be written/],
    [rows, 'text', join(folder, 'rows.npy'), /rows\.npy is a folder/],
  ];
  await mkdir(join(folder, 'rows.npy'));
  for (const [input, column, output, message] of wrong) {
    const more = column === undefined ? [] : ['--column', column];
    const called = embed('--model', model, '--input', input, '--output', output, ...more);
    await assert.rejects(called, { code: 'INPUT', message });
  }
  await assert.rejects(embed('--model', model, '--input', rows, '--column', 'text', '--output', good), {
    code: 'CHECKPOINT',
  });
  assert.deepEqual((await readdir(folder)).sort(), ['rows.jsonl', 'rows.npy']);
});

test('an empty text is encoded, wherever it comes from, and a text that is not there is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const [lines, rows, table, out] = ['t.txt', 't.jsonl', 't.csv', 'out.jsonl'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  await writeFile(lines, 'dog\n\n');
  await writeRows(rows, [{ text: 'dog' }, { text: '' }]);
  await writeFile(table, '1,dog\n2,""\n');
  const outputs: string[] = [];
  for (const [input, ...more] of [
    [lines],
    [rows, '--column', 'text'],
    [table, '--column', 'b', '--fields', 'a,b'],
  ] as const) {
    await embed('--model', model, '--device', 'cpu', '--input', input, '--output', out, ...more);
    outputs.push(await readFile(out, 'utf8'));
  }
  assert.match(outputs[0]!, /^\{"text":"dog",.*\n\{"text":"","vector":\[-?\d.*\n$/);
  assert.deepEqual(outputs, [outputs[0], outputs[0], outputs[0]]);
  await writeRows(rows, [{ text: 'dog' }, { other: 'x' }]);
  await assert.rejects(
    embed('--model', model, '--device', 'cpu', '--input', rows, '--column', 'text', '--output', out),
    { code: 'INPUT', message: /line 2: it has no "text"/ },
  );
});

test('a flag that would mean nothing is refused', async () => {
  const args = ['--model', 'm', '--output', 'o.npy', '--input'];
  for (const [message, ...more] of [
    [/--fields is for a file with columns/, 'a.txt', '--fields', 'a'],
    [/--no-header is for CSV and TSV files; a.jsonl is jsonl/, 'a.jsonl', '--column', 'a', '--no-header'],
    [/needs --input-format/, '-', '--column', 'a'],
    [/--input-format is xml/, 'a', '--column', 'a', '--input-format', 'xml'],
    [/--header and --fields contradict/, 'a.csv', '--column', 'a', '--fields', 'a', '--header'],
  ] as const) {
    await assert.rejects(embed(...args, ...more), { code: 'INPUT', message });
  }
});

test('long texts are read in windows for a sparse model, and a dense one takes none', async (t) => {
  const folder = await temporaryFolder(t);
  const tokenizer = await smallTokenizer(40);
  const config = { ...TINY_CONFIG, vocab_size: tokenizer.vocabularySize };
  const model = join(folder, 'sparse');
  using encoder = TextEncoder.create(config, tokenizer, { pooling: 'splade', maxLength: 6, seed: 3 });
  await encoder.save(model);
  const texts = ['w1 w2', Array.from({ length: 20 }, (_, k) => `w${k}`).join(' '), 'w3'];
  const [input, output] = [join(folder, 'texts.txt'), join(folder, 'vectors.safetensors')];
  await writeFile(input, texts.join('\n') + '\n');
  const args = ['--model', model, '--device', 'cpu', '--input', input, '--output', output];
  for (const [flags, windows] of [
    [['--windows'], true],
    [['--windows', '--window-overlap', '2', '--as', 'document'], { overlap: 2 }],
    [[], false],
  ] as const) {
    await embed(...args, ...flags);
    const { values, columns, offsets, dimension } = await encoder.encodeSparse(texts, { windows });
    const expected = new Float32Array(3 * dimension);
    for (const row of [0, 1, 2])
      for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++)
        expected[row * dimension + columns[entry]!] = values[entry]!;
    const [stored] = (await readSafetensors(output)).values();
    const found = new Float32Array(stored!.bytes.slice().buffer);
    assert.equal(found.length, expected.length);
    const near = found.every((value, place) => Math.abs(value - expected[place]!) < 1e-5);
    assert.ok(near, JSON.stringify(windows));
  }
  await embed(...args, '--windows', '--dimensions', '5');
  assert.deepEqual((await readSafetensors(output)).get('embeddings')?.shape, [3, 5]);
  const dense = await saveTinyModel(join(folder, 'dense'));
  for (const [message, ...flags] of [
    [/^--windows is for sparse models, .*: this model gives a text one dense/, '--windows'],
    [/^--window-overlap is of windows, and there are none: add --windows/, '--window-overlap', '2'],
    [/^--window-overlap is -1; .*from 0/, '--windows', '--window-overlap', '-1'],
    [/^--windows is for texts, not for --images/, '--windows', '--images'],
  ] as const)
    await assert.rejects(embed(...args.with(1, dense), ...flags), { code: 'INPUT', message });
});

test('a vector that is not finite is refused with its text', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const path = join(model, 'model.safetensors');
  const weights = await readSafetensors(path);
  const [name, words] = [...weights].find(([key]) => key.endsWith('word_embeddings.weight'))!;
  const encoder = await TextEncoder.load(model);
  const { ids } = await encoder.tokenize(['bread']);
  encoder.dispose();
  const bytes = Buffer.from(words.bytes);
  bytes.writeFloatLE(NaN, ids[1]! * 16 * 4);
  await writeSafetensors(path, weights.set(name, { ...words, bytes }));
  const input = join(folder, 'texts.txt');
  await writeFile(input, 'the old dog\na river\nsome bread\na ship\n');
  for (const format of ['jsonl', 'npy', 'safetensors']) {
    const output = join(folder, `out.${format}`);
    await assert.rejects(
      embed('--model', model, '--device', 'cpu', '--input', input, '--output', output, '--block', '2'),
      { code: 'NON_FINITE', message: /text 3 of .*texts\.txt, "some bread", holds NaN/ },
    );
    assert.ok(!existsSync(output));
  }
});

test('Ctrl-C ends it while it waits for standard input, and vectors can go to standard output', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const output = join(folder, 'out.npy');
  const args = ['embed', '--model', model, '--device', 'cpu', '--input', '-', '--output'];
  let sent = false;
  const ended = await gradcache([...args, output], {
    input: null,
    onOutput: (child, written) => {
      if (sent || !written.includes('on cpu')) return;
      sent = true;
      setTimeout(() => child.kill('SIGINT'), 200);
    },
  });
  assert.deepEqual([ended.code, ended.signal], [130, null], ended.stderr);
  assert.match(ended.stderr, /ABORTED: Interrupted\. .*out\.npy is as it was before\.\n$/);
  assert.deepEqual(await readdir(folder), ['model']);

  for (const output of ['/dev/stdout', '-']) {
    const shown = await gradcache([...args, output, '--format', 'jsonl'], { input: 'a dog\nbread\n' });
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /^\{"text":"a dog","vector":\[.*\]\}\n\{"text":"bread","vector":\[.*\]\}\n$/);
    assert.match(shown.stderr, /2 vectors of 16 numbers/);
  }
});

test('columns are kept beside the vectors, and a row that has none has null there', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const rows = [
    { id: 7, text: 'the old dog', title: 'a dog' },
    { id: 'x"y', text: 'a river' },
    { id: 9, text: 'some bread', title: null },
  ];
  const input = await writeRows(join(folder, 'rows.jsonl'), rows);
  const table = join(folder, 'rows.csv');
  await writeFile(table, 'id,text,title\n7,the old dog,a dog\n8,a river,\n');
  const expected = [
    { id: '7', title: 'a dog' },
    { id: 'x"y', title: null },
    { id: '9', title: null },
  ];
  const run = (from: string, output: string, ...more: string[]) =>
    runCommand(embedCommand, [
      ...['--model', model, '--device', 'cpu', '--input', from, '--column', 'text', '--output', output],
      ...more,
    ]);
  const [jsonl, npy] = [join(folder, 'out.jsonl'), join(folder, 'out.npy')];
  await run(input, jsonl, '--keep', 'id,title');
  const lines = (await readFile(jsonl, 'utf8')).trim().split('\n');
  assert.deepEqual(
    lines.map((line) => ({ ...(JSON.parse(line) as object), vector: undefined })),
    rows.map(({ text }, row) => ({ ...expected[row], text, vector: undefined })),
  );
  await run(input, npy, '--keep', 'id,title', '--block', '2');
  const beside = (await readFile(`${npy}.rows.jsonl`, 'utf8')).trim().split('\n');
  assert.deepEqual(
    beside.map((line) => JSON.parse(line) as unknown),
    expected,
  );
  await run(table, npy, '--keep', 'id,text');
  assert.equal(
    await readFile(`${npy}.rows.jsonl`, 'utf8'),
    '{"id":"7","text":"the old dog"}\n{"id":"8","text":"a river"}\n',
  );
  for (const [message, ...more] of [
    [/has no column "titel", or nothing in it/, '--keep', 'id,titel'],
    [/--keep names "id" twice/, '--keep', 'id,id'],
    [/--keep names "vector"/, '--keep', 'vector'],
  ] as const)
    await assert.rejects(run(input, join(folder, 'no.npy'), ...more), { code: 'INPUT', message });
  assert.ok(!existsSync(join(folder, 'no.npy.unfinished')));
});

test('vectors of other types, and what they need', async (t) => {
  const folder = await temporaryFolder(t);
  const model = await saveTinyModel(join(folder, 'model'));
  const input = join(folder, 'texts.txt');
  await writeFile(input, TEXTS.join('\n') + '\n');
  const run = (output: string, ...more: string[]) =>
    runCommand(embedCommand, [
      ...['--model', model, '--device', 'cpu', '--input', input, '--output', join(folder, output)],
      ...more,
    ]);
  const lengths: number[] = [];
  for (const type of ['float32', 'float16', 'int8', 'ubinary']) {
    await run(`${type}.npy`, '--vector-type', type, '--dimensions', '12');
    lengths.push((await readFile(join(folder, `${type}.npy`))).length - 256);
  }
  assert.deepEqual(lengths, [5 * 48, 5 * 24, 5 * 12, 5 * 2]);
  const ranges = join(folder, 'int8.npy.ranges.npy');
  await run('again.npy', '--vector-type', 'int8', '--dimensions', '12', '--ranges', ranges);
  assert.deepEqual(await readFile(join(folder, 'again.npy')), await readFile(join(folder, 'int8.npy')));
  for (const [message, output, ...more] of [
    [/--ranges is for --vector-type int8 and uint8, and it is float32/, 'a.npy', '--ranges', ranges],
    [/--vector-type is int4/, 'a.npy', '--vector-type', 'int4'],
    [/holds no ranges of 16 dimensions/, 'a.npy', '--vector-type', 'int8', '--ranges', ranges],
    [/--output .* would overwrite/, 'int8.npy', '--vector-type', 'int8', '--ranges', ranges],
    [/int8\.npy\.ranges\.npy is of an earlier run/, 'int8.npy'],
  ] as const)
    await assert.rejects(run(output, ...more), { code: 'INPUT', message });
});

/** Feeds a run of `embed` through its standard input, and ends it when so many rows are stored. */
async function interrupted(
  args: readonly string[],
  output: string,
  signal: NodeJS.Signals,
  lines: readonly string[],
): Promise<string> {
  const state = join(`${output}.unfinished`, 'state.json');
  let begun = false;
  const ended = gradcache(args, {
    input: null,
    onOutput: (child, written) => {
      if (begun || !written.includes('on cpu')) return;
      begun = true;
      child.stdin!.write(lines.map((line) => `${line}\n`).join(''));
      const timer = setInterval(() => {
        if (!existsSync(state)) return;
        clearInterval(timer);
        child.kill(signal);
      }, 5);
    },
  });
  return (await ended).stderr;
}

for (const signal of ['SIGKILL', 'SIGINT'] as const)
  test(`a run that ${signal} ended is gone on with, and comes to the same bytes`, async (t) => {
    const folder = await temporaryFolder(t);
    const model = await saveTinyModel(join(folder, 'model'));
    const texts = Array.from({ length: 60 }, (_, k) => `${TEXTS[k % 5]} ${k}`);
    const input = join(folder, 'texts.txt');
    await writeFile(input, texts.join('\n') + '\n');
    const [whole, output] = [join(folder, 'whole.npy'), join(folder, 'out.npy')];
    const how = ['embed', '--model', model, '--device', 'cpu', '--block', '8', '--save-every', '0'];
    const here = (to: string, ...more: string[]) =>
      runCommand(embedCommand, [...how.slice(1), '--input', input, '--output', to, ...more]);
    await here(whole);
    const args = [...how, '--input', '-', '--output', output];
    const told = await interrupted(args, output, signal, texts.slice(0, 43));
    if (signal === 'SIGINT')
      assert.match(told, /out\.npy is as it was before\. \d+ vectors can be gone on from/);
    assert.ok(!existsSync(output));
    const refused = /An earlier run into .*out\.npy did not end.*--resume/;
    await assert.rejects(here(output), { code: 'INPUT', message: refused });
    const { said, printed } = await here(output, '--resume');
    assert.match(printed.join(), /out\.npy: 60 vectors of 16 numbers/);
    assert.match(said, /out\.npy: \d+ vectors there already/);
    assert.deepEqual(await readFile(output), await readFile(whole));
    assert.deepEqual((await readdir(folder)).sort(), ['model', 'out.npy', 'texts.txt', 'whole.npy']);
  });

test('memory does not grow with the input', async (t) => {
  const folder = await temporaryFolder(t);
  const [BLOCKS, SIZE, DIMENSIONS, CHARACTERS] = [20, 128, 32_768, 8000];
  const { json, vocabularySize } = await smallTokenizer(100);
  const encoder = TextEncoder.create(
    { model_type: 'static', vocab_size: vocabularySize, hidden_size: DIMENSIONS },
    await Tokenizer.fromJson(json, { specialTokens: false }),
  );
  await encoder.save(join(folder, 'model'));
  encoder.dispose();
  const block = Array.from({ length: SIZE }, (_, k) => `w${1 + (k % 99)}`.padEnd(CHARACTERS) + '\n').join('');
  const input = join(folder, 'texts.txt');
  await writeFile(input, block.repeat(BLOCKS));
  // The collector runs after each block: what is counted is what is held, not what it has not come to yet.
  const [held, resident]: [number[], number[]] = [[], []];
  const output = join(folder, 'vectors.npy');
  await runCommand(
    embedCommand,
    [
      ...['--model', join(folder, 'model'), '--device', 'cpu', '--input', input, '--output', output],
      ...['--block', String(SIZE), '--vector-type', 'ubinary'],
    ],
    (text) => {
      if (!text.includes(' texts · ')) return;
      collectGarbage();
      const { heapUsed, external, rss } = process.memoryUsage();
      held.push(heapUsed + external);
      resident.push(rss);
    },
  );
  assert.equal(held.length, BLOCKS);
  // Since the fifth block, 252 MB of vectors were computed, and 15 MB of texts read. What the process has of the system varies
  // by a few vectors of a block, that is by tens of megabytes.
  for (const [what, bytes, allowed] of [
    ['held', held, 5e6],
    ['resident', resident, 125e6],
  ] as const) {
    const [early, late] = [Math.max(...bytes.slice(0, 5)), Math.max(...bytes.slice(-5))];
    assert.ok(late < early + allowed, `${what}: ${early} bytes after five blocks, ${late} at the end`);
  }
});
