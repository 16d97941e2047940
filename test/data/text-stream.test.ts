import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RecordSplitter } from '../../lib/data/record-splitter.js';
import type { Fields } from '../../lib/data/record-splitter.js';
import { Random } from '../../lib/data/random.js';
import { anyLineEnd, cutRegions, isDecoded, lineEnds } from '../../lib/data/text-stream.js';

async function* pieces(parts: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield await Promise.resolve(part);
}

async function linesOf(parts: readonly Buffer[]): Promise<[number, string][]> {
  const lines: [number, string][] = [];
  for await (const { text, line } of cutRegions(pieces(parts), 'file', lineEnds)) {
    const rows = text.split('\n');
    if (text.endsWith('\n')) rows.pop();
    rows.forEach((row, index) => lines.push([line + index, row]));
  }
  return lines;
}

async function fieldsOf(parts: readonly Buffer[]): Promise<unknown[]> {
  const all: unknown[] = [];
  const splitter = new RecordSplitter(',', true);
  const take = (records: readonly Fields[]) => {
    for (const { line, lines, fields, problem } of records) all.push({ line, lines, fields, problem });
  };
  for await (const { text } of cutRegions(pieces(parts), 'file', anyLineEnd))
    for (const records of splitter.push(text)) take(records);
  for (const records of splitter.end()) take(records);
  return all;
}

const LINES = '\ufeff{"a":"ü😀"}\r\nzweite Zeile\n\nletzte ohne Ende 漢字';
const RECORDS =
  '\ufeff"a","b ""q"" 😀"\r\nc,"zwei\nZeilen, ü"\n\n,"x"\nfünf"er,"""\n""",y\n"offen,\nbis zum 漢 Ende';

test('pieces that end at any byte give the same lines', async () => {
  const bytes = Buffer.from(LINES);
  const whole = await linesOf([bytes]);
  assert.deepEqual(whole, [
    [1, '{"a":"ü😀"}\r'],
    [2, 'zweite Zeile'],
    [3, ''],
    [4, 'letzte ohne Ende 漢字'],
  ]);
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(await linesOf([bytes.subarray(0, at), bytes.subarray(at)]), whole, `cut at ${at}`);
  }
  assert.deepEqual(await linesOf([...bytes].map((byte) => Buffer.of(byte))), whole);
});

test('pieces that end at any byte give the same quoted records', async () => {
  const bytes = Buffer.from(RECORDS);
  const whole = await fieldsOf([bytes]);
  assert.deepEqual(whole, [
    { line: 1, lines: 1, fields: ['a', 'b "q" 😀'], problem: undefined },
    { line: 2, lines: 2, fields: ['c', 'zwei\nZeilen, ü'], problem: undefined },
    { line: 5, lines: 1, fields: ['', 'x'], problem: undefined },
    { line: 6, lines: 2, fields: ['fünf"er', '"\n"', 'y'], problem: undefined },
    { line: 8, lines: 1, fields: [], problem: 'a quote that opens here is never closed' },
    { line: 9, lines: 1, fields: ['bis zum 漢 Ende'], problem: undefined },
  ]);
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(await fieldsOf([bytes.subarray(0, at), bytes.subarray(at)]), whole, `cut at ${at}`);
  }
  assert.deepEqual(await fieldsOf([...bytes].map((byte) => Buffer.of(byte))), whole);
});

test('random tables survive being written as CSV and cut anywhere', async () => {
  const random = new Random(11);
  const alphabet = ['a', 'ü', '😀', '"', '""', ',', '\n', '\r\n', ' ', "'", '\t', '漢', '\\', 'x y'];
  const text = () =>
    Array.from({ length: random.below(6) }, () => alphabet[random.below(alphabet.length)]!).join('');
  for (let round = 0; round < 300; round++) {
    const width = 2 + random.below(3);
    const rows = Array.from({ length: 1 + random.below(6) }, () => Array.from({ length: width }, text));
    const encode = (field: string) =>
      /[",\n\r]/.test(field) || random.below(3) === 0 ? `"${field.replaceAll('"', '""')}"` : field;
    const end = ['\n', '\r\n', '\r'][random.below(3)]!;
    const bytes = Buffer.from(
      rows.map((row) => row.map(encode).join(',')).join(end) + (random.below(2) === 0 ? end : ''),
    );
    const parts: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      const next = Math.min(at + 1 + random.below(9), bytes.length);
      parts.push(bytes.subarray(at, next));
      at = next;
    }
    const read = (await fieldsOf(parts)) as { fields: string[]; problem?: string }[];
    assert.deepEqual(
      read.map(({ fields, problem }) => problem ?? fields),
      rows,
      JSON.stringify(bytes.toString()),
    );
  }
});

test('one byte that is not UTF-8 does not change its neighbours', async () => {
  const bytes = Buffer.concat([Buffer.from('grün\n'), Buffer.of(0xff, 0x0a), Buffer.from('漢\n')]);
  for await (const { text } of cutRegions(pieces([bytes]), 'file', lineEnds)) {
    const [first, second, third] = text.split('\n') as [string, string, string];
    assert.deepEqual([first, third], ['grün', '漢']);
    assert.deepEqual([first, second, third].map(isDecoded), [true, false, true]);
  }
});

test('a record without an end is given up before it fills the memory', async () => {
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) yield await Promise.resolve(Buffer.alloc(8 * 1024 * 1024, 'x'));
  }
  const read = async () => {
    for await (const region of cutRegions(endless(), 'endless.jsonl', lineEnds))
      assert.fail(region.text.slice(0, 10));
  };
  await assert.rejects(read(), {
    code: 'INPUT',
    message: /endless\.jsonl, line 1: this record is longer than/,
  });
});

test('a quote reaches 16 Mi characters far, and what was held for it comes in small blocks', () => {
  // Doubled quotes close nothing, but each could be the quote that is sought.
  const lines = 'x y ""z"",b ""c\n'.repeat(16_000);
  const pieces = Math.ceil((17 * 1024 * 1024) / lines.length);
  const splitter = new RecordSplitter(',', true);
  let [records, problem, largest, held] = [0, '', 0, 0];
  const take = (block: readonly Fields[]) => {
    held = 0;
    records += block.length;
    largest = Math.max(largest, block.length);
    problem += block.map((record) => record.problem ?? '').join('');
  };
  const begun = process.cpuUsage();
  for (const block of splitter.push('a,"open\n')) take(block);
  for (let i = 0; i < pieces; i++) {
    held += lines.length;
    for (const block of splitter.push(lines)) take(block);
    assert.ok(held <= 17 * 1024 * 1024);
  }
  for (const block of splitter.end()) take(block);
  assert.equal(records, 1 + 16_000 * pieces);
  assert.match(problem, /^a quote that opens here is not closed within 16777216 characters$/);
  assert.ok(largest < 40_000, `${largest} records at once`);
  assert.ok(process.cpuUsage(begun).user < 20e6);
});

test('a record over lines that is too long is given up wherever pieces end', () => {
  const line = `${'x'.repeat(1023)}\n`;
  const text = `"${line.repeat(17 * 1024)}",b\nc,d\n`;
  for (const cut of [text.length, 8 * 1024 * 1024 + 1]) {
    const splitter = new RecordSplitter(',', true);
    let problems = 0;
    for (const part of [text.slice(0, cut), text.slice(cut)])
      for (const block of splitter.push(part))
        for (const { problem } of block) if (problem?.includes('16777216') === true) problems++;
    assert.equal(problems, 1);
  }
});

test('lines each of which could go on to the end of the file are read in linear time', () => {
  for (const line of ['",x",y,"\n', 'a,"\n",b","\n', '"a"",\n']) {
    const text = line.repeat(100_000);
    const lines = text.split('\n').length - 1;
    const splitter = new RecordSplitter(',', true);
    const begun = process.cpuUsage();
    let covered = 0;
    for (const block of [...splitter.push(text), ...splitter.end()])
      for (const record of block) covered += record.lines;
    assert.equal(covered, lines);
    assert.ok(process.cpuUsage(begun).user < 20e6, line);
  }
});
