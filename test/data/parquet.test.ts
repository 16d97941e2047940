import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFile, open, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parquetMetadata } from 'hyparquet';
import { readParquet } from '../../lib/data/parquet/read-parquet.js';
import { Random } from '../../lib/data/random.js';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { BadLine } from '../../lib/data/row.js';
import { readSts } from '../../lib/evaluation/tasks.js';
import { collect, temporaryFolder, testFolder } from './temporary-folder.js';

const fixtures = join(testFolder, 'data', 'fixtures');

test('standard input that is a file is read and counted as that file', async (t) => {
  const input = await open(join(fixtures, 'none.parquet'));
  t.after(() => input.close());
  const [rows, reader] = ['row-counts', 'read-pairs'].map((name) =>
    import.meta.resolve(`../../lib/data/${name}.js`),
  );
  const program = `
    const [{ rowsTold }, { readPairs }] = [await import('${rows}'), await import('${reader}')];
    let rows = 0;
    for await (const _ of readPairs('/dev/stdin', { format: 'parquet' })) rows++;
    console.log(rows, await rowsTold(['/dev/stdin'], 'parquet'));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: [input.fd, 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  assert.equal(stdout, '50 50\n', stderr);
});

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
      readParquet(join(fixtures, `encoding-${name}.parquet`), { columns: wanted, numbers: true }),
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
  // Each is decoded in a process of its own. `npm run fuzz -- parquet` tries more.
  for (let round = 0; round < 120; round++) {
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
    assert.ok(performance.now() - started < 30_000, `round ${round}`);
  }
});

test('a page that promises more values than any memory holds is an INPUT error with the path', async (t) => {
  const path = join(await temporaryFolder(t), 'damaged.parquet');
  const file = await readFile(join(fixtures, 'none.parquet'));
  const { meta_data: chunk } = parquetMetadata(new Uint8Array(file).buffer).row_groups[0]!.columns[1]!;
  const pageStart = Number(chunk!.data_page_offset);
  const chunkEnd = Number(chunk!.dictionary_page_offset! + chunk!.total_compressed_size);
  const bodyLength = chunkEnd - pageStart - 23; // all that a header of 23 bytes leaves
  // A page header in Thrift (2 ** 29 values of a dictionary), the length of its levels, and one run of as many.
  const size = [0x80 | ((bodyLength * 2) & 0x7f), (bodyLength * 2) >> 7];
  const count = [0x80, 0x80, 0x80, 0x80, 0x04];
  const header = [
    0x15,
    0,
    0x15,
    ...size,
    0x15,
    ...size,
    0x2c,
    0x15,
    ...count,
    0x15,
    16,
    0x15,
    6,
    0x15,
    6,
    0,
    0,
  ];
  assert.equal(header.length, 23);
  file.set([...header, 6, 0, 0, 0, ...count, 1, 1, 0], pageStart);
  await writeFile(path, file);
  await assert.rejects(collect(readParquet(path, { patience: 2 })), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'INPUT', error.stack);
    assert.ok(error.message.startsWith(`${path} is damaged`), error.message);
    return true;
  });
});

test('several files at once, one cut off while it is read, one left early, one aborted', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'cut.parquet');
  await copyFile(join(fixtures, 'snappy.parquet'), path);
  const cut = readParquet(path, { columns: ['anchor'] });
  assert.equal((await cut.next()).done, false); // the first row group; one more is decoded ahead
  await truncate(path, 100);
  await assert.rejects(collect(cut), { code: 'INPUT', message: /cut\.parquet.*became shorter|bytes/ });

  const controller = new AbortController();
  const aborted = readPairs(join(fixtures, 'snappy.parquet'), { signal: controller.signal });
  const readAborted = async () => {
    for await (const row of aborted) if (row.anchor !== undefined) controller.abort();
  };
  const leaveEarly = async () => {
    for await (const row of readPairs(join(fixtures, 'snappy.parquet'))) if (row.anchor !== undefined) return;
  };
  const whole = collect(readPairs(join(fixtures, 'snappy.parquet')));
  await Promise.all([
    assert.rejects(readAborted(), { code: 'ABORTED' }),
    leaveEarly(),
    assert.rejects(collect(readPairs(join(fixtures, 'missing.parquet'))), { code: 'INPUT' }),
  ]);
  assert.equal((await whole).length, 50);
});

test('where no process can be started, the error names the file and the way out', () => {
  const library = new URL('../../lib/data/read-pairs.js', import.meta.url).href;
  const script = `
    const { openSync, closeSync } = await import('node:fs');
    const { readPairs } = await import(${JSON.stringify(library)});
    const read = async () => { for await (const row of readPairs(${JSON.stringify(join(fixtures, 'none.parquet'))})); };
    const opened = [];
    if (process.argv[1] === 'fill') try { for (;;) opened.push(openSync('/dev/null')); } catch {}
    for (const one of opened.splice(-5)) closeSync(one); // enough for the file, too few for a process
    await read().catch(({ code, message }) => console.log(code, message));`;
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission';
  const evaluate = ['--no-warnings', '--input-type=module', '--eval', script];
  const command = 'ulimit -n 60; exec "$0" "$@"';
  for (const options of [
    [permission, '--allow-fs-read=*', ...evaluate],
    [...evaluate, 'fill'],
  ]) {
    const { stdout, stderr } = spawnSync('bash', ['-c', command, process.execPath, ...options], {
      encoding: 'utf8',
    });
    assert.match(
      stdout,
      /^INPUT .*none\.parquet.*cannot be started: .*--allow-child-process, .*limits/,
      stdout + stderr,
    );
  }
});

test('little address space is enough for the library, and for files of every compression', () => {
  const library = new URL('../../lib/data/read-pairs.js', import.meta.url).href;
  const script = `
    const { readPairs } = await import(${JSON.stringify(library)});
    for (const name of ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'])
      for await (const row of readPairs(${JSON.stringify(fixtures)} + '/' + name + '.parquet')) if (!row.anchor) throw row;`;
  const { status, stderr } = spawnSync(
    'bash',
    ['-c', 'ulimit -v 3000000; exec "$0" --input-type=module --eval "$1"', process.execPath, script],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0, stderr);
});
