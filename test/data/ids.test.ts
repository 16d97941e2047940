import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
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
    [{ a: 'two', id: '' }, /line 2: the id "id" is ""/],
    [{ a: 'two', id: null }, /line 2: the id "id" is null/],
    [
      { a: 'two', id: 1.5 },
      /the id "id" is 1\.5; a text, a whole number or a list of them is needed, \[\] for none/,
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
