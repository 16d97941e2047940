import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  batches,
  readPairs,
  type BatchOptions,
  type LabelledRow,
  type LabelType,
  type Row,
} from '../../lib/index.js';
import { temporaryFolder, writeRows } from '../training/support.js';

async function all<T>(source: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const each of source) found.push(each);
  return found;
}

const labelsOf = async (
  rows: readonly LabelledRow[],
  options: Partial<BatchOptions> = {},
  type: LabelType = 'number',
) => {
  const found = await all(
    batches(rows, { size: 100, shuffle: false, label: { column: 'label', type }, ...options }),
  );
  return found.flatMap(({ labels }) => labels!);
};

test('a label is read beside the texts, in every format, as a number, a class or numbers', async (t) => {
  const folder = await temporaryFolder(t);
  const csv = join(folder, 'rows.csv');
  await writeFile(csv, 'score,a,b\n0.5,one,two\n 1 ,three,four\n');
  const headless = join(folder, 'headless.csv');
  await writeFile(headless, 'one,two,0.5\nthree,four,1\n');
  const jsonl = await writeRows(join(folder, 'rows.jsonl'), [
    { a: 'one', b: 'two', score: 0.5 },
    { a: 'three', b: 'four', score: true },
  ]);
  const arrays = await writeRows(join(folder, 'arrays.jsonl'), [
    ['one', 'two', 0.5],
    ['three', 'four', '1'],
  ]);
  const label = { column: 'score', type: 'number' } as const;
  for (const [path, options] of [
    [csv, { columns: ['a', 'b'] }],
    [csv, {}],
    [headless, { columns: ['a', 'b'], header: false }],
    [headless, { columns: ['a', 'b'], header: ['a', 'b', 'score'] }],
    [jsonl, { columns: ['a', 'b'] }],
    [jsonl, {}],
    [arrays, { columns: ['a', 'b'] }],
  ] as const) {
    const rows = readPairs(path, { ...options, label });
    const [batch] = await all(batches(rows, { size: 2, shuffle: false, label }));
    assert.deepEqual(batch!.columns, { a: ['one', 'three'], b: ['two', 'four'] }, path);
    assert.deepEqual(batch!.labels, [0.5, 1], path);
  }
  const lists = await writeRows(join(folder, 'lists.jsonl'), [
    { a: 'one', score: [1, -2.5] },
    { a: 'two', score: '[3, 4]' },
  ]);
  const numbers = { column: 'score', type: 'numbers' } as const;
  const [batch] = await all(
    batches(readPairs(lists, { label: numbers }), { size: 2, shuffle: false, label: numbers }),
  );
  assert.deepEqual(batch!.labels, [
    [1, -2.5],
    [3, 4],
  ]);
});

test('classes are whole numbers, or names that are numbered as they come, whatever the order of the epoch', async () => {
  const rows = ['b', 'a', 'b', 'c', '7'].map((label, row) => ({ text: `t${row}`, label }));
  assert.deepEqual(await labelsOf(rows, {}, 'class'), [0, 1, 0, 2, 3]);
  const numbers = [3, '0', '3.0', 12n].map((label, row) => ({ text: `t${row}`, label: label as string }));
  assert.deepEqual(await labelsOf(numbers, {}, 'class'), [3, 0, 3, 12]);
  await assert.rejects(labelsOf([...numbers, { text: 't', label: 'x' }], {}, 'class'), {
    code: 'INPUT',
    message: /^Row 4: the class "label" is "x", and the first one is a whole number/,
  });
  for (const shuffle of [true, { buffer: 3 }]) {
    const source = {
      [Symbol.asyncIterator]: async function* () {
        yield* rows;
      },
    };
    const label = { column: 'label', type: 'class' } as const;
    for (const { columns, labels } of await all(batches(source, { size: 2, shuffle, epochs: 3, label })))
      for (const [place, text] of columns['text'].entries())
        assert.equal(labels![place], [0, 1, 0, 2, 3][Number(text.slice(1))], `${text} in epoch order`);
  }
});

test('a label is no text: rows that share one are no duplicates, and none is a column', async () => {
  const rows = [1, 1, 1].map((label, row) => ({ text: `t${row}`, label }));
  assert.deepEqual(await labelsOf(rows, { uniqueTexts: true }), [1, 1, 1]);
});

test('what is no label is a bad line, told with the column, or skipped', async (t) => {
  const folder = await temporaryFolder(t);
  for (const [type, wrong, told] of [
    ['number', 'high', 'the label "score" is "high", not a number'],
    ['number', [1], 'the label "score" is [1], not a number'],
    ['number', null, 'the label "score" is null, not a number'],
    ['number', undefined, 'it has no label "score", not a number'],
    ['class', ' ', 'the label "score" is " ", not a class: a whole number or a name'],
    ['class', [1], 'the label "score" is [1], not a class: a whole number or a name'],
    ['numbers', [1, 'x'], 'the label "score" is [1,"x"], not a number or a JSON list of numbers'],
    ['numbers', '[1', 'the label "score" is "[1", not a number or a JSON list of numbers'],
    ['numbers', [], 'the label "score" is [], not a number or a JSON list of numbers'],
  ] as const) {
    const path = await writeRows(join(folder, 'rows.jsonl'), [
      { a: 'one', score: 1 },
      { a: 'two', score: wrong },
    ]);
    const options = { columns: ['a'], label: { column: 'score', type } };
    await assert.rejects(all(readPairs(path, options)), {
      code: 'INPUT',
      message: new RegExp(`rows.jsonl, line 2: ${told.replace(/[[\]().]/g, '\\$&')}\\.`),
    });
    const skipping = readPairs(path, { ...options, onBadLine: 'skip' });
    assert.deepEqual(await all<Row>(skipping), [{ a: 'one', score: '1' }]);
    assert.equal(skipping.skipped, 1);
    if (wrong !== undefined)
      await assert.rejects(labelsOf([{ text: 't', label: wrong as never }], {}, type), {
        code: 'INPUT',
        message: /^Row 0: the label "label" is/,
      });
  }
});

test('a column of labels that the file lacks, or that is a text, is refused', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'rows.csv');
  await writeFile(path, 'a,b\none,two\n');
  await assert.rejects(all(readPairs(path, { columns: ['a'], label: { column: 'score' } })), {
    code: 'INPUT',
    message: /there is no column "score"; the header has "a", "b"/,
  });
  assert.throws(() => readPairs(path, { columns: ['a', 'b'], label: { column: 'b' } }), {
    code: 'INPUT',
    message: 'label.column is "b"; a column that is none of the texts is needed.',
  });
  assert.throws(() => readPairs(path, { label: { column: 'b', type: 'score' as never } }), {
    code: 'INPUT',
    message: 'label.type is "score"; "number" or "class" or "numbers" is needed.',
  });
});

test('grouped by label, every batch has several labels and two rows or more of each', async () => {
  const counts = { a: 20, b: 7, c: 5, d: 2, e: 1 };
  const rows = Object.entries(counts).flatMap(([label, count]) =>
    Array.from({ length: count }, (_, row) => ({ text: `${label}${row}`, label })),
  );
  const label = { column: 'label', type: 'class' } as const;
  for (const size of [4, 6, 10]) {
    const found = await all(batches(rows, { size, epochs: 3, seed: 5, label, groupByLabel: true }));
    for (const { labels, size: rows } of found) {
      const each = new Map<unknown, number>();
      for (const of of labels!) each.set(of, (each.get(of) ?? 0) + 1);
      assert.ok(each.size >= 2 && [...each.values()].every((count) => count >= 2), labels!.join());
      assert.ok(rows === size || rows >= 4);
    }
    const texts = found.filter(({ epoch }) => epoch === 0).flatMap(({ columns }) => columns['text']);
    assert.equal(new Set(texts).size, texts.length, 'no row twice in an epoch');
    // a gives as many pairs as the next label, b; one row of b and one of c are left over.
    assert.ok(texts.length <= 6 + 6 + 4 + 2 && texts.length > 18 - 4);
    const again = await all(batches(rows, { size, epochs: 3, seed: 5, label, groupByLabel: true }));
    assert.deepEqual(again, found);
    assert.notDeepEqual(
      found.filter(({ epoch }) => epoch === 1).flatMap(({ columns }) => columns['text']),
      texts,
    );
  }
});

test('options that do not go with groups are refused', () => {
  const label = { column: 'label', type: 'class' } as const;
  for (const [options, problem] of [
    [{ size: 4 }, /it needs the column of the labels \(label\)/],
    [{ size: 5, label }, /the size is 5; an even number from 4 is needed/],
    [{ size: 2, label }, /the size is 2; an even number from 4 is needed/],
    [{ size: 4, label, shuffle: false }, /all rows must be held \(shuffle: true\)/],
    [{ size: 4, label, uniqueTexts: true }, /uniqueTexts would put them apart/],
  ] as const)
    assert.throws(() => batches([], { ...options, groupByLabel: true }), { code: 'INPUT', message: problem });
});
