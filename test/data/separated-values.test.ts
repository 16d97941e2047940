import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { ReadOptions } from '../../lib/data/read-pairs.js';
import { Random } from '../../lib/data/random.js';
import type { BadLine } from '../../lib/data/row.js';
import { readSts } from '../../lib/evaluation/tasks.js';
import { collect, temporaryFolder } from './temporary-folder.js';

/** Texts with quotes wherever a writer of natural language puts them, but neither tabs nor line ends. */
function quotedTexts(count: number): { a: string; b: string }[] {
  const random = new Random(3);
  const shapes = ['x y', '"x" y', 'x "y"', '"x y"', '"x y', 'x y"', '"', '""', '"x" "y"', "'x'", '"""'];
  const text = (i: number) =>
    `${shapes[random.below(shapes.length)]!}${random.below(2) === 0 ? '' : ` ${i}`}`;
  return Array.from({ length: count }, (_, i) => ({ a: text(i), b: text(i) }));
}

test('unquoted TSV, as sentence-transformers writes it, keeps every row and every quote', async (t) => {
  const path = join(await temporaryFolder(t), 'nli.tsv');
  const rows = quotedTexts(750);
  await writeFile(path, `a\tb\n${rows.map(({ a, b }) => `${a}\t${b}\n`).join('')}`);
  for (const quoting of [undefined, 'none', 'auto'] as const)
    assert.deepEqual(await collect(readPairs(path, { quoting })), rows, quoting);
});

test('TSV whose quotes all close in their line is read without them', async (t) => {
  const path = join(await temporaryFolder(t), 'quoted.tsv');
  const rows = quotedTexts(300).map(({ a, b }) => ({ a: `${a}\t${a}`, b }));
  const field = (text: string) => `"${text.replaceAll('"', '""')}"`;
  await writeFile(path, `a\tb\r\n${rows.map(({ a, b }) => `${field(a)}\t${field(b)}\r\n`).join('')}`);
  for (const quoting of [undefined, 'csv'] as const)
    assert.deepEqual(await collect(readPairs(path, { quoting })), rows, quoting);
});

test('one stray quote makes the quotes of a TSV file text, in whatever line it is', async (t) => {
  const path = join(await temporaryFolder(t), 'stray.tsv');
  const lines = Array.from({ length: 40 }, (_, i) => `"a ${i}"\tb`);
  for (const at of [0, 17, 39]) {
    const stray = lines.with(at, '"stray\tb');
    await writeFile(path, `x\ty\n${stray.join('\n')}\n`);
    const rows = await collect(readPairs(path));
    assert.deepEqual(
      rows.map(({ x }) => x),
      stray.map((line) => line.split('\t')[0]),
    );
  }
});

test('TSV with line ends in quoted fields is read as quoted, as text, or refused where it can be either', async (t) => {
  const path = join(await temporaryFolder(t), 'lines.tsv');
  const read = async (content: string, options?: ReadOptions) => {
    await writeFile(path, content);
    return (await collect(readPairs(path, { onBadLine: 'skip', ...options }))).map((row) =>
      Object.values(row),
    );
  };
  const long = 'a\tb\n'.repeat(50_000);
  for (const end of ['\n', '\r\n', '\r']) {
    const quoted = [`"two${end}lines"`, 'b'];
    const rows = [['"He said ""hi"""', 'c'], quoted, ['d', `"${end}${end}"`], ['e', 'f']];
    const expected = [
      ['He said "hi"', 'c'],
      [`two${end}lines`, 'b'],
      ['d', `${end}${end}`],
      ['e', 'f'],
    ];
    const content = ['x\ty', ...rows.map((row) => row.join('\t'))].join(end);
    // The last field but one has nothing but line ends: a bad line.
    assert.deepEqual(await read(content), expected.toSpliced(2, 1), JSON.stringify(end));
    // One column, where any line has the number of columns: a doubled quote decides.
    assert.deepEqual(await read(['x', ...rows.map(([text]) => text)].join(end)), [
      ['He said "hi"'],
      [`two${end}lines`],
      ['d'],
      ['e'],
    ]);
  }
  assert.equal((await read(`x\ty\n${long}"two\nlines"\tb\n${long}`)).length, 100_001);
  // Quotes by chance: what they would make one row has not its columns.
  assert.deepEqual(await read('x\ty\n"a\tb\nc\td"\n'), [
    ['"a', 'b'],
    ['c', 'd"'],
  ]);
  for (const [content, options] of [
    ['x\ty\na\tb\nc\t"d\ne\tf"\n', {}],
    ['a\tb\na\tb\nc\t"d\ne\tf"\n', { header: ['x', 'y'] }],
    ['x\na\n"two\nlines"\n', {}],
  ] as const) {
    const message = /lines\.tsv, line 3: a quote opens here and closes in line 4\..*--quoting csv or none/;
    await assert.rejects(read(content, options), { code: 'INPUT', message });
    const csv = await read(content, { ...options, quoting: 'csv' });
    const none = await read(content, { ...options, quoting: 'none' });
    assert.equal(csv.length + 1, none.length);
  }
});

test('CSV without quoting, where asked', async (t) => {
  const path = join(await temporaryFolder(t), 'plain.csv');
  await writeFile(path, 'a,b\n"x,y"\n"z,w\n');
  assert.deepEqual(await collect(readPairs(path, { quoting: 'none' })), [
    { a: '"x', b: 'y"' },
    { a: '"z', b: 'w' },
  ]);
  assert.throws(() => readPairs(path, { quoting: 'rfc' } as unknown as ReadOptions), {
    code: 'INPUT',
    message: /quoting is "rfc".*"auto" or "csv" or "none"/,
  });
});

test('a pipe cannot be looked through: a quote in it must be explained', async (t) => {
  const path = join(await temporaryFolder(t), 'pipe.tsv');
  execFileSync('mkfifo', [path]);
  const read = async (content: string, options?: ReadOptions) => {
    const [rows] = await Promise.all([collect(readPairs(path, options)), writeFile(path, content)]);
    return rows;
  };
  assert.deepEqual(await read('a\tb\nx\t5" disk\n'), [{ a: 'x', b: '5" disk' }]);
  assert.deepEqual(await read('a\tb\n"x\ty\n', { quoting: 'none' }), [{ a: '"x', b: 'y' }]);
  await assert.rejects(read('a\tb\n"x"\ty\n'), { code: 'INPUT', message: /line 2.*--quoting csv or none/ });
});

test('a stray quote in CSV costs its own line, not the rest of the file', async (t) => {
  const path = join(await temporaryFolder(t), 'stray.csv');
  const rows = Array.from({ length: 1000 }, (_, i) => ({
    a: `a ${i}`,
    b: i % 3 === 0 ? `x, ${i}` : `b ${i}`,
  }));
  for (const [stray, quotesAfter] of [
    [`"open,b`, true],
    [`"open,b`, false],
    [`a,"open`, true],
    [`"a"b,c`, true],
  ] as const) {
    const lines = rows.map(({ a, b }, i) => (i < 500 || quotesAfter ? `${a},"${b}"` : `${a},b ${i}`));
    const expected = quotesAfter ? rows : rows.map((row, i) => (i < 500 ? row : { a: row.a, b: `b ${i}` }));
    await writeFile(path, ['a,b', ...lines.slice(0, 500), stray, ...lines.slice(500)].join('\n'));
    const bad: BadLine[] = [];
    const dataset = readPairs(path, { onBadLine: 'skip', onSkip: (line) => bad.push(line) });
    assert.deepEqual(await collect(dataset), expected, stray);
    assert.deepEqual(
      bad.map(({ line }) => line),
      [502],
    );
    assert.match(bad[0]!.reason, /quote.*--quoting none/);
  }
});

test('lines that end with a carriage return alone', async (t) => {
  const folder = await temporaryFolder(t);
  const rows = Array.from({ length: 30_000 }, (_, i) => ({ a: `ä ${i}`, b: `"${i}",\r\nx` }));
  const csv = rows.map(({ a, b }) => `${a},"${b.replaceAll('"', '""')}"\r`).join('');
  await writeFile(join(folder, 'mac.csv'), `a,b\r${csv}`);
  assert.deepEqual(await collect(readPairs(join(folder, 'mac.csv'))), rows);
  await writeFile(join(folder, 'mac.tsv'), 'a\tb\rx\ty\r\r1\r2\t3');
  await assert.rejects(collect(readPairs(join(folder, 'mac.tsv'))), { message: /line 4: it has 1 field / });
});

test('fields of a file without a header have names of which columns picks some, in any order', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'semeval.tsv');
  await writeFile(path, '4.5\tone\ttwo\n\tno\tscore\n0\tthree\t"four\n');
  const header = ['score', 'first', 'second'];
  assert.deepEqual((await collect(readPairs(path, { header, columns: ['second', 'first'] })))[0], {
    second: 'two',
    first: 'one',
  });
  await writeFile(path, '4.5\tone\ttwo\n0\tthree\t"four\n');
  const task = await readSts(path, { header, columns: ['first', 'second', 'score'] });
  assert.deepEqual(task, { first: ['one', 'three'], second: ['two', '"four'], scores: [4.5, 0] });
  assert.throws(() => readPairs(path, { header, columns: ['third'] }), { code: 'INPUT', message: /"third"/ });
});

test('an open quote before many lines is given up in linear time', async (t) => {
  const path = join(await temporaryFolder(t), 'large.csv');
  const line = `${'abcdefgh '.repeat(8)},${'ijklmnop '.repeat(8)}\n`;
  await writeFile(path, `a,b\n"open,x\n${line.repeat(40_000)}`);
  const dataset = readPairs(path, { onBadLine: 'skip' });
  const started = process.cpuUsage();
  assert.equal((await collect(dataset)).length, 40_000);
  assert.equal(dataset.skipped, 1);
  assert.ok(process.cpuUsage(started).user < 20e6);
});
