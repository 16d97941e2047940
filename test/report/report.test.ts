import assert from 'node:assert/strict';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { html } from '../../lib/report/html.js';
import { readRecord } from '../../lib/report/read-record.js';
import { RunRecord } from '../../lib/report/run-record.js';
import { Series } from '../../lib/report/series.js';
import { writeReport } from '../../lib/report/write-report.js';
import { gradcache } from '../cli/program.js';
import { pairs, record, shortRun, temporaryFolder, writeRows } from '../training/support.js';
import { HOSTILE, writeRun } from './support.js';

test('a series of any length has bounded points, each the mean of its steps', () => {
  const series = new Series();
  for (let step = 1; step <= 100_000; step++) series.add(step, step);
  const { steps, values } = series.points;
  assert.ok(steps.length >= 500 && steps.length <= 1001, String(steps.length));
  assert.equal(series.each, 128);
  assert.deepEqual([steps[0], values[0]], [128, 64.5]);
  assert.deepEqual([steps.at(-1), series.last], [100_000, 100_000]);
});

test('a record of a real run has its steps, scores and hardest texts', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'held.jsonl'), pairs(12));
  const { steps } = await record({
    ...config,
    evaluation: { task: 'retrieval', data, every: 3, before: true },
  });
  const run = await readRecord(config.output);
  assert.deepEqual([run.step, run.planned, run.isFinished], [6, 6, true]);
  assert.deepEqual(run.steps.get('loss')!.points, {
    steps: [1, 2, 3, 4, 5, 6],
    values: steps.map(({ loss }) => loss),
  });
  const { first, best, last } = run.scores.get('recall@1')!;
  assert.deepEqual([first.step, last.step], [0, 6]);
  assert.ok(best.value >= Math.max(first.value, last.value));
  assert.equal(run.hardest?.step, 6);
  assert.equal(run.totals.pairs, 120);
  assert.equal(run.settings.batch, 20);
});

test('the pause before a resume is no time of the run', () => {
  const run = new RunRecord('r');
  const start = (done: number) => ({ type: 'start', steps: 9, done, settings: {} });
  const at = (step: number) => ({ type: 'step', step, steps: 9, loss: step });
  run.add(start(0), 0);
  for (const step of [1, 2]) run.add(at(step), 1000 * step);
  run.add(start(2), 1e9);
  run.add(at(3), 1e9 + 1000);
  assert.deepEqual(run.steps.get('loss')!.points, { steps: [1, 2, 3], values: [1, 2, 3] });
  assert.equal(run.seconds, 3);
});

test('lines of other versions, half lines and wrong types are passed over', async (t) => {
  const folder = await writeRun(join(await temporaryFolder(t), 'run'));
  await appendFile(
    join(folder, 'metrics.jsonl'),
    '{"type":"step","step":"many"}\n{"type":"evaluation","step":31,"scores":[1]}\nnull\n7\n{"type":"step","st',
  );
  await writeFile(
    join(folder, 'hardest.json'),
    '{"kind":"queries","step":1,"measured":2,"missed":1,"hardest":[{"query":7}]}',
  );
  const run = await readRecord(folder);
  assert.equal(run.step, 30);
  assert.deepEqual(run.hardest?.hardest, []);
  await writeReport([folder], join(folder, 'page.html'));
});

test('what goes into HTML is escaped, in elements and attributes', () => {
  assert.equal(
    html`<p title="${'a"b'}">${['<', html`<b>${'&'}</b>`, null, false, 7]}</p>`.text,
    '<p title="a&#34;b">&#60;<b>&#38;</b>7</p>',
  );
});

test('gradcache report writes a page, and refuses what it cannot show', async (t) => {
  const folder = await temporaryFolder(t);
  const run = await writeRun(join(folder, 'run'), { text: HOSTILE });
  const path = join(folder, 'page.html');
  const { code, stdout, stderr } = await gradcache(['report', run, run, '-o', path]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, `${path}: 2 runs\n`);
  const page = await readFile(path, 'utf8');
  assert.match(page, /Copyright \(c\) \d+ Leon Sorokin/);
  assert.doesNotMatch(page, /(src|href)="?http/);

  await mkdir(join(folder, 'empty'));
  await writeFile(join(folder, 'empty', 'metrics.jsonl'), '');
  const refused: [string[], number, RegExp][] = [
    [['report', '-o', path], 2, /INPUT: RUN is needed\.\n/],
    [['report', run], 2, /INPUT: --output FILE is needed/],
    [
      ['report', folder, '-o', path],
      1,
      /has no metrics\.jsonl\. Give the output folder of a run of gradcache train\.\n/,
    ],
    [['report', join(folder, 'empty'), '-o', path], 1, /has no event of a run yet\.\n/],
    [
      ['report', run, '-o', join(run, 'metrics.jsonl')],
      1,
      /--output .* would overwrite what the report reads/,
    ],
    [['report', run, '-o', join(folder, 'none', 'page.html')], 1, /page\.html cannot be written: ENOENT/],
  ];
  for (const [args, code, message] of refused) {
    const answer = await gradcache(args);
    assert.match(answer.stderr, message);
    assert.equal(answer.code, code);
  }
});
