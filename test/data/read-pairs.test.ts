import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { ReadOptions } from '../../lib/data/read-pairs.js';
import type { BadLine } from '../../lib/data/row.js';
import { collect, temporaryFolder, testFolder } from './temporary-folder.js';

const fixtures = join(testFolder, 'data', 'fixtures');
const jsonLines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

test('JSON lines: columns from the first record, in its order', async (t) => {
  const path = join(await temporaryFolder(t), 'pairs.jsonl');
  await writeFile(
    path,
    `\ufeff{"id":1,"anchor":"a","positive":"b"}\r\n\n  \n{"positive":"d","anchor":"ü😀","more":null}`,
  );
  const rows = await collect(readPairs(path));
  assert.deepEqual(rows, [
    { anchor: 'a', positive: 'b' },
    { anchor: 'ü😀', positive: 'd' },
  ]);
  assert.deepEqual(Object.keys(rows[1]!), ['anchor', 'positive']);
});

test('JSON lines: arrays are anchor, positive, negatives', async (t) => {
  const path = join(await temporaryFolder(t), 'tuples.jsonl');
  await writeFile(path, jsonLines([['a', 'b', 'c', 'd']]));
  assert.deepEqual(await collect(readPairs(path)), [
    { anchor: 'a', positive: 'b', negative: 'c', negative2: 'd' },
  ]);
  const columns = ['q', 'p', 'n', 'm'];
  assert.deepEqual(await collect(readPairs(path, { columns })), [{ q: 'a', p: 'b', n: 'c', m: 'd' }]);
});

test('CSV and TSV: header, chosen columns, quotes over lines, no header', async (t) => {
  const folder = await temporaryFolder(t);
  const csv = join(folder, 'pairs.csv');
  await writeFile(csv, '\ufeff"query",passage,score\r\n"a, ""b""","zwei\nZeilen",1\r\n\r\nc,d,2');
  assert.deepEqual(await collect(readPairs(csv)), [
    { query: 'a, "b"', passage: 'zwei\nZeilen', score: '1' },
    { query: 'c', passage: 'd', score: '2' },
  ]);
  const chosen = await collect(readPairs(csv, { columns: ['passage', 'query'] }));
  assert.deepEqual(chosen[1], { passage: 'd', query: 'c' });
  assert.deepEqual(Object.keys(chosen[1]), ['passage', 'query']);
  const tsv = join(folder, 'pairs.tsv');
  await writeFile(tsv, 'a\t5" disk, floppy\n"b\tc"\td\n');
  const rows = await collect(readPairs(tsv, { header: false, columns: ['x', 'y'] }));
  assert.deepEqual(rows, [
    { x: 'a', y: '5" disk, floppy' },
    { x: 'b\tc', y: 'd' },
  ]);
});

test('Parquet: every compression, chosen columns, several row groups, page index', async () => {
  const expected = Array.from({ length: 50 }, (_, i) => ({
    anchor: `anchor ${i} ü😀`,
    positive: `positive ${i % 7}`,
  }));
  for (const name of ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4', 'page-index']) {
    assert.deepEqual(await collect(readPairs(join(fixtures, `${name}.parquet`))), expected, name);
  }
  const [row] = await collect(
    readPairs(join(fixtures, 'snappy.parquet'), { columns: ['positive', 'anchor'] }),
  );
  assert.deepEqual(Object.keys(row!), ['positive', 'anchor']);
});

test('gzip, several files of different formats, and reading twice', async (t) => {
  const folder = await temporaryFolder(t);
  const files = [
    join(folder, 'a.jsonl.gz'),
    join(folder, 'b.csv.gz'),
    join(folder, 'c.tsv'),
    join(fixtures, 'snappy.parquet'),
  ];
  // Two members one after the other are one gzip file.
  await writeFile(
    files[0]!,
    Buffer.concat([gzipSync('{"anchor":"1","positive":"2"}\n'), gzipSync('{"anchor":"3","positive":"4"}')]),
  );
  await writeFile(files[1]!, gzipSync('positive,anchor\n6,5\n'));
  await writeFile(files[2]!, 'anchor\tother\tpositive\n7\tx\t8\n');
  const dataset = readPairs(files);
  for (let pass = 0; pass < 2; pass++) {
    const rows = await collect(dataset);
    assert.equal(rows.length, 54);
    assert.deepEqual(
      rows.slice(0, 4).map(({ anchor, positive }) => [anchor, positive].join()),
      ['1,2', '3,4', '5,6', '7,8'],
    );
  }
});

test('files larger than one read keep their lines and characters whole', async (t) => {
  const folder = await temporaryFolder(t);
  const texts = Array.from({ length: 20_000 }, (_, i) => ({
    anchor: `ä😀漢 ${i}`,
    positive: `"${i}",\n${'ü'.repeat(i % 60)}`,
  }));
  await writeFile(join(folder, 'big.jsonl'), jsonLines(texts));
  const quoted = texts
    .map(({ anchor, positive }) => `${anchor},"${positive.replaceAll('"', '""')}"\n`)
    .join('');
  await writeFile(join(folder, 'big.csv.gz'), gzipSync(`anchor,positive\n${quoted}`));
  for (const name of ['big.jsonl', 'big.csv.gz'])
    assert.deepEqual(await collect(readPairs(join(folder, name))), texts);
});

test('a bad line ends the reading with file, line and reason', async (t) => {
  const folder = await temporaryFolder(t);
  const good = '{"anchor":"a","positive":"b"}\n';
  const cases: [name: string, content: string | Buffer, line: number, reason: RegExp][] = [
    ['no.jsonl', `${good}\n{"anchor":"a"}\n`, 3, /it has no "positive"/],
    ['number.jsonl', `${good}{"anchor":"a","positive":7}\n`, 2, /"positive" is 7, not a text/],
    ['null.jsonl', `${good}{"anchor":null,"positive":"b"}\n`, 2, /"anchor" is null/],
    ['blank.jsonl', `${good}{"anchor":" \\n","positive":"b"}\n`, 2, /"anchor" is empty/],
    ['json.jsonl', `${good}{"anchor":"a",\n`, 2, /not JSON/],
    ['text.jsonl', `${good}"a"\n`, 2, /neither a JSON object nor an array/],
    ['short.jsonl', `${good}["a"]\n`, 2, /1 value instead of 2/],
    [
      'bytes.jsonl',
      Buffer.concat([Buffer.from(good), Buffer.from('{"anchor":"\xff","positive":"b"}\n', 'latin1')]),
      2,
      /not UTF-8/,
    ],
    ['proto.jsonl', '{"__proto__":"a"}\n', 1, /no texts from which/],
    ['fields.csv', 'anchor,positive\n"a\nb",c\nd,e,f\n', 4, /3 fields instead of 2/],
    ['open.csv', 'anchor,positive\na,b\n"c,d\ne,f\n', 3, /never closed/],
    ['after.csv', 'anchor,positive\n"a"b,c\n', 2, /text after a closing quote/],
    ['bytes.csv', Buffer.from('anchor,positive\na,b\nc,\xff\n', 'latin1'), 3, /not UTF-8/],
    ['empty.csv', 'anchor,positive\na,\n', 2, /"positive" is empty/],
  ];
  for (const [name, content, line, reason] of cases) {
    const path = join(folder, name);
    await writeFile(path, content);
    await assert.rejects(collect(readPairs(path)), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'INPUT', name);
      assert.ok(error.message.startsWith(`${path}, line ${line}: `), error.message);
      assert.match(error.message, reason);
      return true;
    });
  }
  await assert.rejects(collect(readPairs(join(fixtures, 'nulls.parquet'))), {
    code: 'INPUT',
    message: /line 2: "anchor" is null/,
  });
});

test('bad lines can be skipped: each is reported, all are counted, good ones stay', async (t) => {
  const path = join(await temporaryFolder(t), 'pairs.jsonl');
  await writeFile(
    path,
    Buffer.concat([
      Buffer.from('oops\n{"anchor":"ü","positive":"b"}\n{"anchor":"c"}\n'),
      Buffer.from('\xff\n', 'latin1'),
      Buffer.from('{"anchor":"漢","positive":"e"}\n'),
    ]),
  );
  const reported: BadLine[] = [];
  const dataset = readPairs(path, { onBadLine: 'skip', onSkip: (line) => reported.push(line) });
  for (let pass = 1; pass <= 2; pass++) {
    assert.deepEqual(await collect(dataset), [
      { anchor: 'ü', positive: 'b' },
      { anchor: '漢', positive: 'e' },
    ]);
    assert.equal(dataset.skipped, 3);
    assert.equal(reported.length, 3 * pass);
  }
  assert.deepEqual(
    reported.slice(0, 3).map(({ file, line }) => [file, line]),
    [
      [path, 1],
      [path, 3],
      [path, 4],
    ],
  );
  const nulls = readPairs(join(fixtures, 'nulls.parquet'), { onBadLine: 'skip' });
  assert.deepEqual(
    (await collect(nulls)).map(({ anchor }) => anchor),
    ['a', 'c'],
  );
  assert.equal(nulls.skipped, 2);
});

test('files that cannot be read are errors whatever is skipped', async (t) => {
  const folder = await temporaryFolder(t);
  const gz = gzipSync(
    jsonLines(Array.from({ length: 5000 }, (_, i) => ({ anchor: `a ${i * 7919}`, positive: `p ${i}` }))),
  );
  const snappy = await readFile(join(fixtures, 'snappy.parquet'));
  const wrongLength = Buffer.from(snappy);
  wrongLength.writeUInt32LE(0x7fffffff, wrongLength.length - 8);
  const files: Record<string, string | Buffer> = {
    'truncated.jsonl.gz': gz.subarray(0, gz.length - 200),
    'damaged.jsonl.gz': Buffer.from(gz).fill(0, 300, 400),
    'empty.jsonl.gz': '',
    'plain.jsonl.gz': '{"anchor":"a","positive":"b"}\n',
    'gzip.jsonl': gz,
    'empty.jsonl': '',
    'blank.jsonl': '\n\n',
    'empty.csv': '',
    'header.csv': 'anchor,positive\n',
    'twice.csv': 'anchor,anchor\na,b\n',
    'empty.parquet': '',
    'text.parquet': 'this is not a parquet file at all',
    'truncated.parquet': snappy.subarray(0, snappy.length - 10),
    'no-data.parquet': snappy.subarray(snappy.length >> 1),
    'damaged.parquet': Buffer.from(snappy).fill(0xff, 4, 600),
    'length.parquet': wrongLength,
  };
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await writeFile(path, content);
    await assert.rejects(
      collect(readPairs(path, { onBadLine: 'skip' })),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'INPUT', `${name}: ${error.stack}`);
        assert.ok(error.message.includes(path), error.message);
        return true;
      },
    );
  }
  await mkdir(join(folder, 'folder.jsonl'));
  for (const name of ['missing.jsonl', 'missing.csv.gz', 'missing.parquet', 'folder.jsonl']) {
    await assert.rejects(async () => collect(readPairs(join(folder, name))), {
      code: 'INPUT',
      message: new RegExp(name),
    });
  }
  for (const name of ['no-rows', 'no-text']) {
    await assert.rejects(collect(readPairs(join(fixtures, `${name}.parquet`))), { code: 'INPUT' });
  }
});

test('a Parquet file damaged anywhere gives rows or INPUT, nothing else', async (t) => {
  const path = join(await temporaryFolder(t), 'damaged.parquet');
  const good = await readFile(join(fixtures, 'nulls.parquet'));
  for (let at = 0; at < good.length; at += 11) {
    const damaged = Buffer.from(good);
    damaged[at]! ^= 0x5a;
    await writeFile(path, damaged);
    await collect(readPairs(path, { onBadLine: 'skip' })).catch((error: Error & { code?: string }) => {
      assert.equal(error.code, 'INPUT', `byte ${at}: ${error.stack}`);
    });
  }
});

test('a chosen column that a file lacks is named with those it has', async (t) => {
  const path = join(await temporaryFolder(t), 'pairs.csv');
  await writeFile(path, 'anchor,positive\na,b\n');
  const columns = ['anchor', 'negative'];
  await assert.rejects(collect(readPairs(path, { columns })), {
    code: 'INPUT',
    message: /"negative".*"anchor", "positive"/,
  });
  const parquet = join(fixtures, 'snappy.parquet');
  await assert.rejects(collect(readPairs(parquet, { columns: ['anchor', 'id'] })), {
    code: 'INPUT',
    message: /"id".*id \(INT64\)/,
  });
  assert.deepEqual(await collect(readPairs(join(fixtures, 'binary.parquet'))), [
    { anchor: 'bytes', positive: 'x' },
  ]);
});

test('options that make no sense are refused at once', () => {
  const refused: unknown[] = [
    { columns: [] },
    { columns: ['a', 'a'] },
    { columns: ['__proto__'] },
    { columns: 'anchor' },
    { format: 'xml' },
    { header: 1 },
    { onBadLine: 'ignore' },
    { onSkip: 'log' },
  ];
  for (const options of refused)
    assert.throws(() => readPairs('a.csv', options as ReadOptions), { code: 'INPUT' });
  for (const path of ['a.txt', 'a', 'a.gz', 'a.parquet.gz', 'a.constructor', [], 3]) {
    assert.throws(() => readPairs(path as string), { code: 'INPUT' }, String(path));
  }
});

test('leaving the loop early closes the files', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'a.jsonl.gz');
  await writeFile(
    path,
    gzipSync(jsonLines(Array.from({ length: 50_000 }, (_, i) => ({ anchor: `${i}`, positive: 'p' })))),
  );
  for (const file of [path, join(fixtures, 'snappy.parquet')]) {
    for (let i = 0; i < 40; i++) for await (const row of readPairs(file)) if (row.anchor !== undefined) break;
  }
  const open = (process as unknown as { getActiveResourcesInfo(): string[] }).getActiveResourcesInfo();
  assert.ok(open.filter((kind) => /FILEHANDLE|FSReq|Zlib/i.test(kind)).length < 10, open.join());
});
