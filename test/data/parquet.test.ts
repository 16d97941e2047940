import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readParquet } from '../../lib/data/parquet/read-parquet.js';
import { unpackHadoopLz4 } from '../../lib/data/parquet/lz4.js';
import { unpackSnappy } from '../../lib/data/parquet/snappy.js';
import { Random } from '../../lib/data/random.js';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { BadLine } from '../../lib/data/row.js';
import { readSts } from '../../lib/evaluation/tasks.js';
import { collect, temporaryFolder, testFolder } from './temporary-folder.js';

const fixtures = join(testFolder, 'data', 'fixtures');

test('every encoding gives the values that were written', async () => {
  const texts = Array.from(
    { length: 120 },
    (_, i) => ['', 'ü😀', 'the same beginning', 'the same beginning and more', null, 'the same'][i % 6]!,
  );
  const lengths = texts.map((text) => (text === null ? null : [...text].length));
  const expected = texts.map((text, i) => ({
    text,
    whole: lengths[i] === null ? null : BigInt(lengths[i]! * 7919 - 9),
    unsigned: BigInt(2 ** 32 - 1 - i),
    long: i % 2 === 0 ? 2n ** 62n / BigInt(i + 1) : (-(2n ** 62n) - BigInt(i)) / BigInt(i + 1), // rounded down
    real: i / 8,
    double: i / 3,
    nothing: null,
    required: text ?? 'None',
  }));
  const wanted = Object.keys(expected[0]!);
  for (const name of ['dictionary', 'plain', 'deltas'].flatMap((kind) => [`${kind}-1`, `${kind}-2`])) {
    const blocks = await collect(
      readParquet(join(fixtures, `encoding-${name}.parquet`), { wanted, numbers: true }),
    );
    const rows = blocks.flat().map((record) => ('values' in record ? record.values : record.problem));
    assert.deepEqual(rows, expected, name);
  }
});

test('bytes that are not UTF-8 make their row a bad line', async () => {
  const bad: BadLine[] = [];
  const dataset = readPairs(join(fixtures, 'not-utf8.parquet'), {
    onBadLine: 'skip',
    onSkip: (line) => bad.push(line),
  });
  assert.deepEqual(await collect(dataset), [{ anchor: 'good', positive: 'x' }]);
  assert.deepEqual(
    bad.map(({ line }) => line),
    [2, 3],
  );
  assert.match(bad[0]!.reason, /"anchor" is not UTF-8/);
});

test('two columns of one name are refused where one of them is to be read', async () => {
  const path = join(fixtures, 'twice.parquet');
  for (const columns of [undefined, ['x']])
    await assert.rejects(collect(readPairs(path, { columns })), {
      code: 'INPUT',
      message: /two columns "x"/,
    });
  assert.deepEqual(await collect(readPairs(path, { columns: ['y'] })), [{ y: 'b' }]);
});

test('columns of numbers are scores', async () => {
  const columns = ['anchor', 'positive', 'score'];
  const { scores } = await readSts(join(fixtures, 'snappy.parquet'), { columns });
  assert.deepEqual(scores.slice(0, 3), [0, 1 / 50, 2 / 50]);
});

test('files damaged at random give rows or INPUT, soon', async (t) => {
  const path = join(await temporaryFolder(t), 'damaged.parquet');
  const names = (await readdir(fixtures)).filter((name) => name.endsWith('.parquet')).sort();
  const files = await Promise.all(names.map((name) => readFile(join(fixtures, name))));
  const random = new Random(23);
  for (let round = 0; round < 600; round++) {
    const damaged = Buffer.from(files[random.below(files.length)]!);
    for (let i = 0; i <= random.below(3); i++) {
      const at = random.below(damaged.length);
      const values = [0, 127, 128, 255, damaged[at]! ^ (1 << random.below(8)), random.below(256)];
      damaged[at] = values[random.below(values.length)]!;
    }
    await writeFile(path, damaged);
    const started = performance.now();
    await collect(readPairs(path, { onBadLine: 'skip' })).catch((error: Error & { code?: string }) => {
      assert.equal(error.code, 'INPUT', `round ${round}: ${error.stack}`);
      assert.ok(error.message.includes(path), error.message);
    });
    assert.ok(performance.now() - started < 10_000, `round ${round}`);
  }
});

test('lengths below zero and runs without end do not hold up what unpacks them', () => {
  // A literal of 2^32 - 4 bytes; a block of Hadoop's LZ4 with sizes of 2^32 - 8.
  const literal = Uint8Array.of(8, 252, 251, 255, 255, 255, 1, 2);
  const block = Uint8Array.of(0, 0, 0, 1, 255, 255, 255, 248, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  assert.throws(() => unpackSnappy(literal, 8), Error);
  assert.throws(() => unpackHadoopLz4(block, 8), Error);
});

test('little address space is enough for the library, and for files that do not need WebAssembly', () => {
  const library = new URL('../../lib/data/read-pairs.js', import.meta.url).href;
  const script = `
    const { readPairs } = await import(${JSON.stringify(library)});
    for (const name of ['none', 'snappy', 'gzip', 'brotli', 'lz4'])
      for await (const row of readPairs(${JSON.stringify(fixtures)} + '/' + name + '.parquet')) if (!row.anchor) throw row;`;
  const { status, stderr } = spawnSync(
    'bash',
    ['-c', 'ulimit -v 3000000; exec "$0" --input-type=module --eval "$1"', process.execPath, script],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
});
