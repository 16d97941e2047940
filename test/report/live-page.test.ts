/** The page of a run that is under way. */
import assert from 'node:assert/strict';
import { get } from 'node:http';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { LivePage } from '../../lib/report/live-page.js';
import { accessibilityFaults, openBrowser } from '../browser/browser.js';
import { gradcache } from '../cli/program.js';
import { pairs, shortRun, temporaryFolder, writeRows } from '../training/support.js';
import { HOSTILE, writeRun } from './support.js';

const START = { type: 'start', steps: 4, done: 0, device: 'cpu', settings: { batch: 8, model: HOSTILE } };
const stepAt = (step: number) => ({
  type: 'step',
  step,
  steps: 4,
  loss: 1 / step,
  secondsLeft: 60,
  seconds: 1,
});

async function opened(t: TestContext, output = 'runs/a'): Promise<LivePage> {
  const page = await LivePage.open(output, 0);
  t.after(() => page.close());
  return page;
}

/** What a server answers; `onText` is called with what has come so far. */
function asked(
  url: string,
  headers: Record<string, string> = {},
  onText: (text: string) => void = () => undefined,
): Promise<{ code: number; text: string }> {
  return new Promise((resolve, reject) => {
    get(url, { headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => onText((text += part)));
      response.on('end', () => resolve({ code: response.statusCode ?? 0, text }));
    }).on('error', reject);
  });
}

test('an open page takes in what comes, keeps what was opened, and stays when the run has ended', async (t) => {
  const live = await opened(t);
  live.add(START);
  live.add(stepAt(1));
  const { page, said } = await (await openBrowser(t)).open(live.url, { width: 390, colours: 'dark' });
  const state = page.locator('#state');
  await state.getByText('Running: step 1 of 4, about 1 min 00 s left').waitFor();
  await page.locator('#all-settings summary').click();
  live.add(stepAt(2));
  live.add({ type: 'note', message: HOSTILE } as { type: string });
  const wrong = [{ text: HOSTILE, score: 0.9 }];
  const hardest = {
    kind: 'queries',
    measured: 2,
    missed: 1,
    hardest: [{ query: HOSTILE, right: { text: 'r', rank: 2, score: 0.1 }, wrong }],
  };
  live.add({ type: 'evaluation', step: 2, scores: { 'mrr@10': 0.5 }, hardest } as { type: string });
  await state.getByText('Running: step 2 of 4').waitFor();
  const names = await Promise.all(
    (await page.getByRole('img').all()).map((each) => each.getAttribute('aria-label')),
  );
  assert.deepEqual(names, [
    'Loss by step. 1 at step 1, 0.5 at step 2',
    'mrr@10 by step. 0.5 at step 2, 0.5 at step 2',
  ]);
  assert.equal(await page.locator('.cards .text').textContent(), HOSTILE);
  assert.equal(await page.locator('#messages li').textContent(), HOSTILE);
  assert.equal(await page.locator('#all-settings').getAttribute('open'), '');
  assert.deepEqual(await accessibilityFaults(page), []);
  live.add(stepAt(3));
  live.add(stepAt(4));
  live.add({ type: 'saved', step: 4, folder: 'runs/a/model' } as { type: string });
  await live.close();
  await state.getByText('Finished after 4 steps').waitFor();
  assert.equal(
    await page.getByRole('img').first().getAttribute('aria-label'),
    'Loss by step. 1 at step 1, 0.25 at step 4',
  );
  // Nor does it ask for more.
  await page.waitForTimeout(300);
  assert.equal(await state.textContent(), 'Finished after 4 steps');
  assert.deepEqual(said, []);
});

test('the page is for those who have its address: not for other users, and not for pages of other sites', async (t) => {
  const live = await opened(t);
  live.add(START);
  const { code, text } = await asked(live.url);
  assert.equal(code, 200);
  assert.match(text, /connect-src &#39;self&#39;/);
  const { origin, pathname, host } = new URL(live.url);
  assert.equal(new URL(live.url).hostname, '127.0.0.1');
  for (const path of [
    '/',
    '/events',
    `/${'0'.repeat(32)}/`,
    `/${'0'.repeat(32)}/events`,
    pathname.slice(0, -2) + '/',
  ])
    assert.equal((await asked(origin + path)).code, 404, path);
  assert.equal((await asked(live.url, { host: host.replace('127.0.0.1', 'other.example') })).code, 404);
  const [other, port] = [await opened(t), Number(new URL(live.url).port)];
  assert.notEqual(new URL(other.url).pathname, pathname);
  await assert.rejects(LivePage.open('runs/b', port), {
    code: 'INPUT',
    message: new RegExp(`page cannot be shown on port ${port}: .*EADDRINUSE.* Give another port`),
  });
});

test('the page of a resumed run begins with what was done before its checkpoint', async (t) => {
  const output = await writeRun(join(await temporaryFolder(t), 'run'), { steps: 30 });
  const live = await opened(t, output);
  const [start, step] = [
    { ...START, steps: 40, done: 10 },
    { ...stepAt(11), steps: 40 },
  ];
  live.add(start);
  live.add(step);
  const { text } = await asked(`${live.url}events`, {}, (text) => {
    if (text.includes('step 11 of 40')) void live.close();
  });
  assert.match(text, /\nevent: end\ndata:\n\n$/);
  // Before the record of the run was read, the page may have been told that there is nothing.
  const news = text.split('\n').find((line) => line.startsWith('data: ') && line.includes('step 11 of 40'));
  const { state, charts } = JSON.parse(news!.slice(6)) as {
    state: string;
    charts: { id: string; lines: { from: number; steps: number[] }[] }[];
  };
  assert.equal(state, 'Running: step 11 of 40, about 1 min 00 s left');
  const [line] = charts.find(({ id }) => id === 'step-loss')!.lines;
  assert.deepEqual(line!.steps, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
});

test('gradcache train --ui tells an address, and ends with the run though a page is open', async (t) => {
  const { folder, config } = await shortRun(t);
  const data = await writeRows(join(folder, 'held.jsonl'), pairs(10));
  const flags = [
    '--model',
    config.model as string,
    '--data',
    config.data as string,
    '--output',
    config.output,
  ];
  let events: Promise<{ code: number; text: string }> | undefined;
  const how = ['--batch', '20', '--steps', '40', '--device', 'cpu', '--eval-data', data];
  const { code, stderr } = await gradcache(['train', ...flags, ...how, '--ui'], {
    onOutput: (_, written) => {
      const [, url] = /the run can be watched at (\S+)\n/.exec(written) ?? [];
      if (url !== undefined) events ??= asked(`${url}events`);
    },
  });
  assert.equal(code, 0, stderr);
  const answer = await events!;
  assert.equal(answer.code, 200);
  assert.match(answer.text, /"state":"Finished after 40 steps"/);
  assert.match(answer.text, /recall@10/);
  const refused = await gradcache(['train', ...flags, '--batch', '20', '--ui', '70000']);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /--ui is 70000; a port from 0 to 65535 is needed, or none\.\n/);
});
