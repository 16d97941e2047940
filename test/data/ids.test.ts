import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { batches, readPairs, type BadLine } from '../../lib/index.js';
import { writeRows } from '../training/support.js';
import { collect, temporaryFolder } from './temporary-folder.js';

test('ids are read beside the texts and the label, in every format, as texts or numbers', async (t) => {
  const folder = await temporaryFolder(t);
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const csv = await file(
    'rows.csv',
    'id,score,a,b,also\n7,0.5,one,two,x\n doc 8 ,1,three,four,"[7, ""y""]"\n',
  );
  const tsv = await file(
    'rows.tsv',
    'a\tb\tscore\tid\talso\none\ttwo\t0.5\t7\tx\nthree\tfour\t1\tdoc 8\t[7, "y"]\n',
  );
  const headless = await file('headless.csv', 'one,two,0.5,7,x\nthree,four,1,doc 8,"[7, ""y""]"\n');
  const jsonl = await writeRows(join(folder, 'rows.jsonl'), [
    { a: 'one', b: 'two', score: 0.5, id: 7, also: 'x' },
    { a: 'three', b: 'four', score: 1, id: 'doc 8', also: [7, 'y'] },
  ]);
  const arrays = await writeRows(join(folder, 'arrays.jsonl'), [
    ['one', 'two', 0.5, 7, 'x'],
    ['three', 'four', 1, 'doc 8', [7, 'y']],
  ]);
  const label = { column: 'score', type: 'number' } as const;
  const ids = ['id', 'also'] as const;
  for (const [path, options] of [
    [csv, { columns: ['a', 'b'] }],
    [csv, {}],
    [tsv, {}],
    [headless, { columns: ['a', 'b'], header: false }],
    [jsonl, { columns: ['a', 'b'] }],
    [jsonl, {}],
    [arrays, { columns: ['a', 'b'] }],
  ] as const) {
    const rows = readPairs(path, { ...options, label, ids });
    const [batch] = await collect(batches(rows, { size: 2, shuffle: false, label, ids }));
    assert.deepEqual(batch!.columns, { a: ['one', 'three'], b: ['two', 'four'] }, path);
    assert.deepEqual(batch!.labels, [0.5, 1], path);
    assert.deepEqual(
      batch!.ids,
      [
        ['7', 'x'],
        ['doc 8', '7', 'y'],
      ],
      path,
    );
  }
  const byNumber = readPairs(headless, { columns: ['1', '2'], ids: ['4'], header: false });
  const [batch] = await collect(batches(byNumber, { size: 2, shuffle: false, ids: ['4'] }));
  assert.deepEqual(
    [batch!.columns[1], batch!.ids],
    [
      ['one', 'three'],
      [['7'], ['doc 8']],
    ],
  );
});

/** Writes rows as Parquet, with nulls. */
async function writeParquet(path: string, columns: Record<string, readonly unknown[]>): Promise<string> {
  const { parquetWriteBuffer } = await import('hyparquet-writer');
  const columnData = Object.entries(columns).map(([name, data]) => ({
    name,
    data: [...data],
    type: data.some((each) => typeof each === 'number') ? ('DOUBLE' as const) : ('STRING' as const),
  }));
  await writeFile(path, new Uint8Array(parquetWriteBuffer({ columnData })));
  return path;
}

test('an empty value is no id, in every format', async (t) => {
  const folder = await temporaryFolder(t);
  const csv = join(folder, 'rows.csv');
  await writeFile(csv, 'a,id\none,7\ntwo,\nthree," "\nfour,[]\nfive,"[""x"", """", null]"\n');
  const jsonl = await writeRows(join(folder, 'rows.jsonl'), [
    { a: 'one', id: 7 },
    { a: 'two', id: null },
    { a: 'three', id: ' ' },
    { a: 'four', id: [] },
    { a: 'five', id: ['x', '', null] },
  ]);
  const texts = ['one', 'two', 'three', 'four', 'five'];
  const { tableFromArrays, tableToIPC } = await import('apache-arrow');
  const ids = ['7', null, ' ', '[]', '["x", ""]'];
  const arrow = join(folder, 'rows.arrow');
  await writeFile(arrow, tableToIPC(tableFromArrays({ a: texts, id: ids }), 'file'));
  const parquet = await writeParquet(join(folder, 'rows.parquet'), { a: texts, id: ids });
  // As pandas has whole numbers of which some are missing.
  const numbers = await writeParquet(join(folder, 'numbers.parquet'), {
    a: texts,
    id: [7, NaN, null, NaN, 8],
  });
  for (const [path, last] of [
    [csv, 'x'],
    [jsonl, 'x'],
    [arrow, 'x'],
    [parquet, 'x'],
    [numbers, '8'],
  ] as const) {
    const rows = readPairs(path, { columns: ['a'], ids: ['id'] });
    const [batch] = await collect(batches(rows, { size: 9, shuffle: false, ids: ['id'] }));
    assert.deepEqual(batch!.ids, [['7'], [], [], [], [last]], path);
  }
  const given = [
    { a: 'one', id: null },
    { a: 'two', id: '' },
  ];
  const [batch] = await collect(batches(given as never, { size: 2, shuffle: false, ids: ['id'] as never }));
  assert.deepEqual(batch!.ids, [[], []]);
});

test('ids are read from a folder of save_to_disk: numbers, texts, lists of both, and none', async (t) => {
  const folder = join(await temporaryFolder(t), 'saved');
  await mkdir(folder);
  const arrow = await import('apache-arrow');
  const { Dictionary, Field, Int32, Int64, List, Utf8, vectorFromArray } = arrow;
  const columns = {
    a: vectorFromArray(['one', 'two', 'three'], new Utf8()),
    number: vectorFromArray([7n, null, 2n ** 60n + 1n], new Int64()),
    text: vectorFromArray(['x', 'y', null], new Utf8()),
    of_few: vectorFromArray(['p', null, 'p'], new Dictionary(new Utf8(), new Int32())),
    numbers: vectorFromArray([[1n, 2n], [], null], new List(new Field('item', new Int64(), true))),
    texts: vectorFromArray([['u'], null, ['v', '']], new List(new Field('item', new Utf8(), true))),
  };
  const bytes = arrow.tableToIPC(new arrow.Table(columns), 'stream');
  await writeFile(join(folder, 'data-00000-of-00001.arrow'), bytes);
  const files = [{ filename: 'data-00000-of-00001.arrow' }];
  await writeFile(join(folder, 'state.json'), JSON.stringify({ _data_files: files }));
  await writeFile(join(folder, 'dataset_info.json'), '{}');
  const ids = ['number', 'text', 'of_few', 'numbers', 'texts'] as const;
  const rows = readPairs(folder, { columns: ['a'], ids });
  const [batch] = await collect(batches(rows, { size: 9, shuffle: false, ids }));
  assert.deepEqual(batch!.columns, { a: ['one', 'two', 'three'] });
  assert.deepEqual(batch!.ids, [['7', 'x', 'p', '1', '2', 'u'], ['y'], [String(2n ** 60n + 1n), 'p', 'v']]);
});

test('an id is the text of its value: 7 and "7" are one, "7.0" is another', async (t) => {
  const folder = await temporaryFolder(t);
  const csv = join(folder, 'rows.csv');
  await writeFile(csv, 'a,id\none,7\ntwo,7.0\nthree, 7 \nfour,07\n');
  const jsonl = join(folder, 'rows.jsonl');
  await writeFile(
    jsonl,
    ['7', '7.0', '"7"', '"7.0"'].map((id, row) => `{"a": "row ${row}", "id": ${id}}\n`).join(''),
  );
  const idsIn = async (path: string) => {
    const rows = readPairs(path, { columns: ['a'], ids: ['id'] });
    const [batch] = await collect(batches(rows, { size: 9, shuffle: false, ids: ['id'] }));
    return batch!.ids!.flat();
  };
  assert.deepEqual(await idsIn(csv), ['7', '7.0', '7', '07']);
  assert.deepEqual(await idsIn(jsonl), ['7', '7', '7', '7.0']);
});

test('ids stay with their rows when these are shuffled, put apart or dealt out', async () => {
  const rows = Array.from({ length: 40 }, (_, row) => ({
    a: `a${row}`,
    b: `b${row % 10}`,
    label: row,
    id: [`${row}`, 'x'],
  }));
  const label = { column: 'label', type: 'class' } as const;
  for (const options of [
    {},
    { ranks: { rank: 1, size: 2 } },
    { groupByLabel: true, dropLast: true, uniqueTexts: false },
  ]) {
    const own = rows.map((row) => ({ ...row, label: 'groupByLabel' in options ? row.label % 4 : row.label }));
    let seen = 0;
    for await (const { columns, labels, ids } of batches(own as never, {
      size: 8,
      label,
      ids: ['id'],
      seed: 5,
      ...options,
    })) {
      const numbers = (columns as { a: string[] }).a.map((text) => Number(text.slice(1)));
      assert.deepEqual(
        ids,
        numbers.map((row) => [`${row}`, 'x']),
      );
      assert.deepEqual(
        labels,
        numbers.map((row) => own[row]!.label),
      );
      seen += numbers.length;
    }
    assert.ok(seen >= 16, `${seen}`);
  }
});

test('what is no id is a bad line, told with the column, or skipped', async (t) => {
  const folder = await temporaryFolder(t);
  const good = { a: 'one', id: 1 };
  for (const [bad, message] of [
    [{ a: 'two' }, /line 2: it has no id "id"/],
    [
      { a: 'two', id: 1.5 },
      /the id "id" is 1\.5; a text, a whole number or a list of them is needed; nothing, null or \[\] for none/,
    ],
    [{ a: 'two', id: [1, [2]] }, /the id "id" is \[1,\[2\]\]; a text/],
    [{ a: 'two', id: 2 ** 60 }, /numbers above 2\^53 are read as texts alone/],
  ] as const) {
    const path = await writeRows(join(folder, 'rows.jsonl'), [good, bad, { a: 'three', id: [] }]);
    const read = (onBadLine: 'throw' | ((line: BadLine) => void)) =>
      collect(
        batches(readPairs(path, { columns: ['a'], ids: ['id'], onBadLine: onBadLine as never }), {
          size: 9,
          shuffle: false,
          ids: ['id'],
        }),
      );
    await assert.rejects(read('throw'), { code: 'INPUT', message });
  }
  const path = join(folder, 'rows.jsonl');
  const skipped: number[] = [];
  const rows = readPairs(path, {
    columns: ['a'],
    ids: ['id'],
    onBadLine: 'skip',
    onSkip: ({ line }) => skipped.push(line),
  });
  const [batch] = await collect(batches(rows, { size: 9, shuffle: false, ids: ['id'] }));
  assert.deepEqual([batch!.ids, skipped], [[['1'], []], [2]]);

  await assert.rejects(collect(batches([{ a: 'one' }], { size: 1, ids: ['id'] })), {
    code: 'INPUT',
    message: /^Row 0: it has no id "id"/,
  });
  for (const ids of [[], 'id', ['id', 'id'], [''], ['a']])
    assert.throws(() => readPairs(path, { columns: ['a'], ids: ids as never }), {
      code: 'INPUT',
      message: /^ids is /,
    });
  for (const ids of [[], 'id', ['id', 'id'], ['l']])
    assert.throws(() => batches([good] as never, { size: 1, ids: ids as never, label: { column: 'l' } }), {
      code: 'INPUT',
      message: /^ids is /,
    });
});
