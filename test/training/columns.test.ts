import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { FileHeads } from '../../lib/data/file-heads.js';
import { readSts } from '../../lib/evaluation/tasks.js';
import { withColumns } from '../../lib/training/columns.js';
import { readTrainConfig } from '../../lib/training/read-config.js';
import { pairs, record, shortRun, temporaryFolder } from './support.js';

test('two columns of texts are anchor and positive, whatever they are called', async (t) => {
  const folder = await temporaryFolder(t);
  const found = async (name: string, content: string, change: object = {}) => {
    const data = join(folder, name);
    await writeFile(data, content);
    const heads = new FileHeads();
    const config = readTrainConfig({ model: 'm', data, output: 'o', batch: 2, ...change });
    try {
      const { columns, label, evaluation } = await withColumns(config, heads, undefined);
      return [columns, label, evaluation?.columns];
    } finally {
      await heads.close();
    }
  };
  const nothing = undefined;
  await assert.rejects(
    found('more.csv', 'anchor,positive,negative,negative2\na,p,n,m\n', { loss: { kind: 'triplet' } }),
    {
      code: 'INPUT',
      message:
        /^config\.columns is .*"negative2"\]; .* is needed\. The data has "anchor", .*"negative2": name some of them \(columns, --columns\)/,
    },
  );
  assert.deepEqual(await found('a.csv', 'question,answer\nq,a\n'), [
    ['question', 'answer'],
    nothing,
    nothing,
  ]);
  // Numbers are no texts, and what is held out has the same columns.
  const evaluation = { data: 'held-out.csv' };
  assert.deepEqual(await found('b.csv', 'id,question,answer\n7,q,a\n', { evaluation }), [
    ['question', 'answer'],
    nothing,
    ['question', 'answer'],
  ]);
  // Of three texts nobody knows which are meant: reading says what there is.
  assert.deepEqual((await found('c.csv', 'author,question,answer\nx,q,a\n'))[0], ['anchor', 'positive']);
  assert.deepEqual(await found('d.tsv', 'q\ta\n', { header: false }), [
    ['anchor', 'positive'],
    nothing,
    nothing,
  ]);
  const cosent = { loss: { kind: 'cosent' } };
  assert.deepEqual(await found('e.csv', 'left,right,similarity\nl,r,0.5\n', cosent), [
    ['left', 'right'],
    'similarity',
    nothing,
  ]);
  assert.deepEqual(await found('f.tsv', '0.5\tl\tr\n', { ...cosent, header: false }), [
    ['2', '3'],
    '1',
    nothing,
  ]);
  assert.deepEqual(await found('g.jsonl', '[0.5, "l", "r"]\n', cosent), [['2', '3'], '1', nothing]);
  await assert.rejects(found('h.csv', 'id,left,right,similarity\n7,l,r,0.5\n', cosent), {
    code: 'INPUT',
    message: /config\.label is missing.*"id", "left", "right", "similarity"/,
  });
});

test('data as it is published trains: SICK, STS, AgNews, a collection of SMART, a folder of shards', async (t) => {
  const { folder, config } = await shortRun(t);
  const run = async (name: string, content: string, change: object) => {
    const data = join(folder, name);
    await writeFile(data, content);
    const output = join(folder, `run-${name}`);
    const { events } = await record({ ...config, data, output, steps: 1, batch: 10, ...change });
    const [start] = events;
    assert.ok(start?.type === 'start');
    return start.columns;
  };
  const rows = pairs(30);
  const sick = rows.map(
    ({ anchor, positive }, row) => `${row}\t${anchor}\t"${positive}\tENTAILMENT\t4.5\r\n`,
  );
  const columns = ['sentence_A', 'sentence_B'];
  const header = 'pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\r\n';
  const score = { loss: { kind: 'cosent' }, label: 'relatedness_score', format: 'tsv' };
  assert.deepEqual(await run('SICK.txt', header + sick.join(''), { ...score, columns }), columns);
  const news = rows.map(({ anchor }, row) => `${row % 4}\t${anchor}\n`).join('');
  const byTopic = { loss: { kind: 'batch-hard-triplet' }, groupByLabel: true, format: 'tsv', header: false };
  assert.deepEqual(await run('agnews', news, { ...byTopic, columns: ['2'], label: '1' }), ['2']);
  const cranfield = rows.map(
    ({ anchor, positive }, row) => `.I ${row}\n.T\n${anchor}\n.A\n.B\n.W\n${positive}\n`,
  );
  const titled = { format: 'smart', columns: ['title', 'text'] };
  assert.deepEqual(await run('cran.all.1400', cranfield.join(''), titled), ['title', 'text']);
  const stored = JSON.stringify(rows.map(({ anchor, positive }) => ({ question: anchor, answer: positive })));
  assert.deepEqual(await run('pairs.json', stored, {}), ['question', 'answer']);
});

test('STS as SemEval publishes it, its scores pasted behind its pairs, is measured and trained', async (t) => {
  const { folder, config } = await shortRun(t);
  // Four fields of the pair, and a score that some pairs lack; a quote is text.
  const lines = pairs(30).map(({ anchor, positive }, row) =>
    [anchor, `"${positive}`, 'source', 'other source', row % 5 === 4 ? '' : `${row % 6}.2`].join('\t'),
  );
  const data = join(folder, 'STS.input.x.txt');
  await writeFile(data, lines.map((line) => `${line}\n`).join(''));
  const how = { format: 'tsv', header: false, quoting: 'none' } as const;
  const task = await readSts(data, { ...how, columns: ['1', '2', '5'] });
  assert.deepEqual([task.scores.length, task.unscored, task.second[0]], [24, 6, '"dog that is old']);
  const settings = {
    ...config,
    ...how,
    data,
    columns: ['1', '2'],
    label: '5',
    loss: { kind: 'cosent' as const },
  };
  const { events } = await record({ ...settings, onBadLine: 'skip', steps: undefined, epochs: 1, batch: 12 });
  assert.ok(events[0]?.type === 'skipped');
  const total = events.find((event) => event.type === 'skippedTotal');
  assert.equal(total?.lines, 6);
});
