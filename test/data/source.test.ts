import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { batches } from '../../lib/data/batches.js';
import { DATA_SETTINGS } from '../../lib/data/setting-names.js';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { ReadOptions } from '../../lib/data/read-pairs.js';
import { readTexts } from '../../lib/evaluation/file-texts.js';
import { readSts } from '../../lib/evaluation/tasks.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { FileHeads } from '../../lib/data/file-heads.js';
import { RunData } from '../../lib/training/data.js';
import { collect, temporaryFolder } from './temporary-folder.js';

const ROWS = Array.from({ length: 6 }, (_, i) => ({ anchor: `a ${i}`, positive: `p ${i}` }));
const LINES = ROWS.map((row) => `${JSON.stringify(row)}\n`).join('');

function makePipe(path: string): string {
  execFileSync('mkfifo', [path]);
  return path;
}

test('a pipe is read once: where its rows are held, that is enough for several epochs', async (t) => {
  const pipe = makePipe(join(await temporaryFolder(t), 'rows.jsonl'));
  const dataset = readPairs(pipe);
  const [held] = await Promise.all([
    collect(batches(dataset, { size: 3, epochs: 2 })),
    writeFile(pipe, LINES),
  ]);
  assert.equal(held.length, 4);
  await assert.rejects(collect(dataset), { code: 'INPUT', message: /rows\.jsonl can be read only once/ });
  for (const shuffle of [false, { buffer: 2 }])
    assert.throws(() => batches(readPairs(pipe), { size: 3, epochs: 2, shuffle }), { code: 'INPUT' });
});

test('a pipe that comes in parts, gzip too, and from a writer that starts late', async (t) => {
  const pipe = makePipe(join(await temporaryFolder(t), 'rows.jsonl.gz'));
  const bytes = gzipSync(LINES);
  const write = async () => {
    await sleep(30);
    const stream = createWriteStream(pipe);
    for (const part of [bytes.subarray(0, 11), bytes.subarray(11, 30), bytes.subarray(30)]) {
      stream.write(part);
      await sleep(10);
    }
    stream.end();
    await once(stream, 'close');
  };
  const [rows] = await Promise.all([collect(readPairs(pipe)), write()]);
  assert.deepEqual(rows, ROWS);
});

test('the length of a run in epochs is not sought in a pipe', async (t) => {
  const pipe = makePipe(join(await temporaryFolder(t), 'rows.jsonl'));
  const columns = ['anchor', 'positive'];
  const config = readTrainConfig({ model: 'm', data: pipe, columns, batch: 2, output: 'o', shuffle: false });
  const data = new RunData({ ...config, columns }, undefined, new FileHeads(), () => undefined);
  await assert.rejects(
    data.count(undefined, () => undefined),
    {
      code: 'INPUT',
      message: /read only once.*--steps.*shuffle: true/,
    },
  );
});

test('an abort ends the wait for a pipe, and the process can end', async (t) => {
  const folder = await temporaryFolder(t);
  for (const name of ['a.jsonl', 'a.csv', 'a.tsv', 'a.jsonl.gz']) {
    const pipe = makePipe(join(folder, name));
    await assert.rejects(collect(readPairs(pipe, { signal: AbortSignal.timeout(20) })), { code: 'ABORTED' });
  }
  const task = readSts(join(folder, 'a.csv'), { signal: AbortSignal.timeout(20) });
  await assert.rejects(task, { code: 'ABORTED' });
  const aborted = AbortSignal.abort();
  await assert.rejects(collect(readPairs(join(folder, 'a.csv'), { signal: aborted })), { code: 'ABORTED' });
  // With a writer that says no more.
  const pipe = join(folder, 'a.jsonl');
  const writer = createWriteStream(pipe);
  const controller = new AbortController();
  const read = async () => {
    let rows = 0;
    for await (const { anchor } of readPairs(pipe, { signal: controller.signal })) {
      if (anchor !== undefined && ++rows === ROWS.length) setTimeout(() => controller.abort(), 20);
    }
  };
  const reading = read();
  writer.write(LINES);
  await assert.rejects(reading, { code: 'ABORTED' });
  writer.destroy();

  const library = new URL('../../lib/data/read-pairs.js', import.meta.url).href;
  const script = `
    import { readPairs } from ${JSON.stringify(library)};
    try { for await (const row of readPairs(${JSON.stringify(pipe)}, { signal: AbortSignal.timeout(50) })); }
    catch (error) { process.exitCode = error.code === 'ABORTED' ? 7 : 8; }`;
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: 'ignore' });
  const killed = setTimeout(() => child.kill('SIGKILL'), 120_000);
  assert.deepEqual(await once(child, 'exit'), [7, null]);
  clearTimeout(killed);
});

test('what a failed download leaves is told from data', async (t) => {
  const folder = await temporaryFolder(t);
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 12345\n`;
  const page = '\ufeff\n<!DOCTYPE html>\n<html><body>404</body></html>\n';
  for (const name of ['a.jsonl', 'a.jsonl.gz', 'a.csv', 'a.tsv', 'a.parquet']) {
    const path = join(folder, name);
    for (const [content, message] of [
      [pointer, /Git LFS.*git lfs pull/],
      [page, /web page/],
    ] as const) {
      await writeFile(path, content);
      await assert.rejects(collect(readPairs(path, { onBadLine: 'skip' })), { code: 'INPUT', message });
    }
  }
});

test('text in another encoding than UTF-8 is refused, the header too', async (t) => {
  const folder = await temporaryFolder(t);
  const refused = async (name: string, content: Buffer, message: RegExp, options?: ReadOptions) => {
    const path = join(folder, name);
    await writeFile(path, name.endsWith('.gz') ? gzipSync(content) : content);
    await assert.rejects(
      async () => collect(readPairs(path, { onBadLine: 'skip', ...options })),
      (error: Error) => {
        assert.equal((error as Error & { code: string }).code, 'INPUT', error.stack);
        assert.ok(error.message.includes(path), error.message);
        assert.match(error.message, message);
        return true;
      },
    );
  };
  const latin = (text: string) => Buffer.from(text, 'latin1');
  await refused('latin.csv', latin('caf\xe9,positive\na,b\n'), /line 1: the header is not UTF-8/);
  await refused('latin.tsv', latin('x\tcaf\xe9\ny\na\tb\n'), /line 1: the header is not UTF-8/, {
    columns: ['x'],
  });
  const contents = { csv: 'a,b\nc,d\n', tsv: '"a"\tb\r\nc\td\r\n', jsonl: '{"a":"b"}\n' };
  for (const [extension, text] of Object.entries(contents)) {
    const utf16 = Buffer.from(`\ufeff${text}`, 'utf16le');
    for (const bytes of [utf16, Buffer.from(utf16).swap16()])
      for (const name of [`a.${extension}`, `a.${extension}.gz`])
        await refused(name, bytes, /is UTF-16 text.*iconv/);
  }
  const lines = join(folder, 'lines.txt');
  await writeFile(lines, Buffer.from('\ufefftext\n', 'utf16le'));
  await assert.rejects(collect(readTexts(lines, undefined, { names: DATA_SETTINGS })), {
    code: 'INPUT',
    message: /is UTF-16 text/,
  });
});

test('folders, devices, empty files and Parquet in a pipe are INPUT errors that say so', async (t) => {
  const folder = await temporaryFolder(t);
  const refused = async (path: string, message: RegExp, options: ReadOptions = {}) => {
    await assert.rejects(
      async () => collect(readPairs(path, { onBadLine: 'skip', ...options })),
      (error: Error) => {
        assert.equal((error as Error & { code: string }).code, 'INPUT', error.stack);
        assert.ok(error.message.includes(path), error.message);
        assert.match(error.message, message);
        return true;
      },
    );
  };
  for (const format of ['jsonl', 'csv', 'tsv', 'parquet'] as const) {
    const path = join(folder, `folder.${format}`);
    await mkdir(path);
    await refused(path, /is a folder/);
    for (const device of ['/dev/null', '/dev/zero', '/dev/urandom'])
      await refused(device, /is a device/, { format });
    await writeFile(join(folder, `empty.${format}`), '');
    await refused(join(folder, `empty.${format}`), /nothing in it|is empty/);
    await refused(join(folder, `missing.${format}`), /no such file/);
  }
  await refused(makePipe(join(folder, 'pipe.parquet')), /is a pipe/);
});

test('a JSON line nested however deep is a bad line', async (t) => {
  const path = join(await temporaryFolder(t), 'deep.jsonl');
  const lines: string[] = [];
  for (const depth of [100, 5_000, 100_000]) {
    const list = '['.repeat(depth) + ']'.repeat(depth);
    const object = '{"anchor":'.repeat(depth) + '1' + '}'.repeat(depth);
    lines.push(list, object, `{"anchor":${list},"positive":"b"}`, `["a",${object}]`);
  }
  await writeFile(
    path,
    `{"anchor":"a","positive":"b"}\n${lines.join('\n')}\n{"anchor":"c","positive":"d"}\n`,
  );
  const dataset = readPairs(path, { onBadLine: 'skip' });
  assert.equal((await collect(dataset)).length, 2);
  assert.equal(dataset.skipped, lines.length);
});

test('a line without a column says which it has', async (t) => {
  const path = join(await temporaryFolder(t), 'keys.jsonl');
  await writeFile(path, '{"query":"a","answer":"b"}\n');
  await assert.rejects(collect(readPairs(path, { columns: ['anchor', 'positive'] })), {
    message: /it has no "anchor"; it has "query", "answer"/,
  });
});
