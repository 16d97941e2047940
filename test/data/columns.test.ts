import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { readPairs } from '../../lib/data/read-pairs.js';
import type { Row } from '../../lib/data/row.js';
import { temporaryFolder } from './temporary-folder.js';

/** The rows of a file with this content. */
async function rowsIn(t: TestContext, name: string, content: string, options: object = {}): Promise<Row[]> {
  const path = join(await temporaryFolder(t), name);
  await writeFile(path, content);
  const rows: Row[] = [];
  for await (const row of readPairs(path, options)) rows.push(row);
  return rows;
}

test('columns are chosen by their numbers, with a header, without one, and in JSON arrays', async (t) => {
  const rows = [{ 2: 'a dog', 3: 'a hound', 5: '4.5' }];
  const columns = ['2', '3'];
  const label = { column: '5' };
  const line = '1\ta dog\ta hound\tENTAILMENT\t4.5\n';
  const header = 'pair_ID\tsentence_A\tsentence_B\tentailment\trelatedness\n';
  assert.deepEqual(await rowsIn(t, 'a.tsv', header + line, { columns, label }), rows);
  assert.deepEqual(await rowsIn(t, 'a.tsv', line, { columns, label, header: false }), rows);
  const json = JSON.stringify(line.trim().split('\t')) + '\n';
  assert.deepEqual(await rowsIn(t, 'a.jsonl', json, { columns, label }), rows);
  // A column that is called so comes first.
  assert.deepEqual(await rowsIn(t, 'a.csv', '2,1\nleft,right\n', { columns: ['1', '2'] }), [
    { 1: 'right', 2: 'left' },
  ]);
  await assert.rejects(
    rowsIn(t, 'a.tsv', header + line, { columns: ['2', '6'] }),
    /no column "6"; the header has/,
  );
  await assert.rejects(
    rowsIn(t, 'a.tsv', line, { columns: ['2', '6'], header: false }),
    /line 1: it has 5 fields, and column 6 is asked for/,
  );
  // Three names and three fields, of which 1 would be the second.
  await assert.rejects(
    rowsIn(t, 'a.tsv', 'q\td\tp\n', { columns: ['0', '2'], ids: ['1'], header: false }),
    /are 0, 2, 1, and 0 is the number of none: they are counted from 1/,
  );
});

test('fields without names are anchor, positive, negative, as in JSON arrays', async (t) => {
  assert.deepEqual(await rowsIn(t, 'a.tsv', 'q\tp\tn\nr\ts\tt\n', { header: false }), [
    { anchor: 'q', positive: 'p', negative: 'n' },
    { anchor: 'r', positive: 's', negative: 't' },
  ]);
  await assert.rejects(
    rowsIn(t, 'a.tsv', 'q\tp\nr\n', { header: false }),
    /line 2: it has 1 value instead of 2/,
  );
});

test('fields are parted by any delimiter', async (t) => {
  const rows = [{ anchor: 'a, b', positive: 'c|d' }];
  assert.deepEqual(await rowsIn(t, 'a.csv', 'anchor;positive\n"a, b";c|d\n', { delimiter: ';' }), rows);
  assert.deepEqual(
    await rowsIn(t, 'a.txt', 'anchor ||| positive\na, b ||| c|d\n', { delimiter: ' ||| ' }),
    rows,
  );
  assert.deepEqual(await rowsIn(t, 'a.data', 'anchor\tpositive\na, b\tc|d\n', { delimiter: '\t' }), rows);
  for (const delimiter of ['', '"', '\n', 7])
    assert.throws(() => readPairs('a.csv', { delimiter } as object), {
      code: 'INPUT',
      message: /^delimiter is/,
    });
});

test('a collection in the format of SMART has title and text, as Cranfield does', async (t) => {
  const collection =
    '.I 1\n.T\nexperimental investigation of the\naerodynamics of a wing .\n.A\nbrenckman,m.\n.B\nj. ae. scs. 25, 1958, 324.\n.W\n' +
    'an experimental study of a wing\nin a propeller slipstream .\n.I 2\n.T\nsimple shear flow\n.A\nting-yili\n.B\n\n.W\nin the study .\n';
  assert.deepEqual(
    await rowsIn(t, 'cran.all.1400', collection, { format: 'smart', columns: ['title', 'text'] }),
    [
      {
        title: 'experimental investigation of the aerodynamics of a wing .',
        text: 'an experimental study of a wing in a propeller slipstream .',
      },
      { title: 'simple shear flow', text: 'in the study .' },
    ],
  );
  await assert.rejects(
    rowsIn(t, 'x.all', 'a line\n', { format: 'smart' }),
    /line 1: a collection .* begins with \.I/,
  );
});
