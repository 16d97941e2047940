import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { dataFiles } from '../../lib/data/data-files.js';
import { fitting } from '../../lib/files/fitting-paths.js';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { Row } from '../../lib/data/row.js';
import { temporaryFolder } from './temporary-folder.js';

async function rowsOf(path: string | string[], options: object = {}): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of readPairs(path, options)) rows.push(row);
  return rows;
}

test('patterns, folders of shards and standard input stand for files, in the order of their names', async (t) => {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'shards', 'more'), { recursive: true });
  const names = ['b.jsonl', 'a.jsonl', 'more/c.jsonl', '_SUCCESS', '.hidden.jsonl', 'notes.txt'];
  for (const name of names)
    await writeFile(join(folder, 'shards', name), `{"anchor": "${name}", "positive": "p"}\n`);
  const anchors = async (path: string): Promise<unknown[]> =>
    (await rowsOf(join(folder, path))).map(({ anchor }) => anchor);
  assert.deepEqual(await anchors('shards'), ['a.jsonl', 'b.jsonl', 'more/c.jsonl']);
  assert.deepEqual(await anchors('shards/*.jsonl'), ['a.jsonl', 'b.jsonl']);
  assert.deepEqual(await anchors('shards/**/*.jsonl'), ['a.jsonl', 'b.jsonl', 'more/c.jsonl']);
  assert.deepEqual(await anchors('sh[a-z]rds/?.jsonl'), ['a.jsonl', 'b.jsonl']);
  assert.deepEqual(await anchors('shards/[!b].jsonl'), ['a.jsonl']);
  assert.deepEqual(dataFiles(['-']), ['/dev/stdin']);
  // A file of that very name is meant by it.
  const odd = join(folder, 'what?.jsonl');
  await writeFile(odd, '');
  assert.deepEqual(dataFiles([odd]), [odd]);
});

test('a set of characters in a pattern has no slash, and one whose range runs backwards stands for itself', () => {
  assert.deepEqual(fitting('a[!b]c', ['a/c', 'abc', 'adc']), ['adc']);
  assert.deepEqual(fitting('a[^-a]c', ['a/c', 'a-c', 'abc']), ['abc']);
  assert.deepEqual(fitting('[z-a]*', ['m', '[z-a]', '[z-a]b']), ['[z-a]', '[z-a]b']);
  assert.deepEqual(fitting('?[!9-0]', ['a5', 'a[!9-0]']), ['a[!9-0]']);
});

test('a pattern or folder without data, with several splits or formats is refused with what there is', async (t) => {
  const folder = await temporaryFolder(t);
  const refused = (path: string, message: RegExp, usual?: string): void => {
    assert.throws(() => dataFiles([path], usual), { code: 'INPUT', message });
  };
  refused(join(folder, '*.jsonl'), /fits no file/);
  refused(join(folder, '[z-a].jsonl'), /fits no file/);
  refused(folder, /a folder without a file of data/);
  for (const name of ['train-0.jsonl', 'train-1.jsonl', 'test-0.jsonl'])
    await writeFile(join(folder, name), '');
  refused(folder, /splits test, train: name the files of one, as .*\*test\*/);
  assert.equal(dataFiles([folder], 'train').length, 2);
  await writeFile(join(folder, 'train-2.csv'), '');
  refused(folder, /several formats \(jsonl, csv\)/, 'train');
  // A split that is the folder itself.
  await writeFile(join(folder, 'dataset_dict.json'), '{"splits": ["."]}');
  refused(folder, /several formats \(jsonl, csv\)/, 'train');
});

test('a JSON file is an array of rows, however it is laid out, or rows line by line', async (t) => {
  const folder = await temporaryFolder(t);
  const rows = Array.from({ length: 5000 }, (_, row) => ({
    anchor: `a "quoted" [text], number ${row} {`,
    positive: `it has \\ and é ${'x'.repeat(row % 300)}`,
  }));
  const write = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const plain = await write('plain.json', JSON.stringify(rows));
  assert.deepEqual(await rowsOf(plain), rows);
  assert.deepEqual(await rowsOf(await write('laid-out.json', `\n ${JSON.stringify(rows, null, 2)}\n`)), rows);
  assert.deepEqual(
    await rowsOf(await write('lines.json', rows.map((row) => JSON.stringify(row)).join('\n'))),
    rows,
  );
  assert.deepEqual(await rowsOf(await write('lists.json', '[["a", "b"], ["c", "d"]]')), [
    { anchor: 'a', positive: 'b' },
    { anchor: 'c', positive: 'd' },
  ]);
  assert.deepEqual(await rowsOf(await write('list-lines.json', '["a", "b"]\n["c", "d"]\n')), [
    { anchor: 'a', positive: 'b' },
    { anchor: 'c', positive: 'd' },
  ]);
  const fails = async (text: string, message: RegExp): Promise<void> => {
    await assert.rejects(rowsOf(await write('bad.json', text)), { code: 'INPUT', message });
  };
  await fails('[{"anchor": "a", "positive": "b"}, {"anchor": ', /the array of rows has no end/);
  await fails('[{"anchor": "a", "positive": "b"}, {"anchor"}]', /not JSON/);
  await fails('[{"anchor": "a", "positive": "b"}, 7]', /line 2: it is neither/);
  await fails('[]', /no row was read/);
  await fails('{\n "anchor": "a"\n}', /line 1: it is not JSON/);
  await fails('[{"anchor": "a", "positive": "b"}] [', /the array of rows has no end/);
});
