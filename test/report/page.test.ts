/** Pages in a real browser. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { writeReport } from '../../lib/report/write-report.js';
import { accessibilityFaults, openBrowser, type Look } from '../browser/browser.js';
import { temporaryFolder } from '../training/support.js';
import { HOSTILE, writeRun } from './support.js';

const LOOKS: readonly Look[] = [390, 1280].flatMap((width) =>
  (['light', 'dark'] as const).map((colours) => ({ width, colours })),
);

test('a page shows a run on a phone and on a desk, in light and in dark, and everything has a name', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'page.html');
  await writeReport([await writeRun(join(folder, 'first'))], path);
  const browser = await openBrowser(t);
  for (const look of LOOKS) {
    const { page, said } = await browser.open(pathToFileURL(path).href, look);
    assert.equal(await page.title(), 'first · gradcache');
    assert.equal(await page.locator('#state').textContent(), 'Finished after 30 steps');
    const charts = page.getByRole('img');
    const names = await Promise.all((await charts.all()).map((each) => each.getAttribute('aria-label')));
    assert.equal(names.length, 8);
    assert.equal(names[0], 'Loss by step. 5 at step 1, 0.1667 at step 30');
    assert.ok(names.includes('recall@10 by step. 0.1 at step 0, 0.4 at step 30'), names.join('\n'));
    // Something is drawn, in the colour of the page.
    assert.ok((await charts.first().locator('canvas').screenshot()).byteLength > 1000);
    const wide = Number(await page.evaluate('document.documentElement.scrollWidth'));
    assert.ok(wide <= look.width, `${look.width} pixels: the page is ${wide} wide`);
    assert.deepEqual(await accessibilityFaults(page), [], JSON.stringify(look));
    assert.deepEqual(said, []);
    await page.close();
  }
});

test('several runs are compared: a line each, their settings, their scores', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'page.html');
  const runs = [
    await writeRun(join(folder, 'first')),
    await writeRun(join(folder, 'second'), { lr: 5e-4, steps: 20, finished: false }),
  ];
  await writeReport(runs, path, { title: 'Two rates' });
  const { page, said } = await (await openBrowser(t)).open(pathToFileURL(path).href, { width: 390 });
  assert.equal(await page.getByRole('heading', { level: 1 }).textContent(), 'Two rates');
  assert.equal(
    await page.locator('#state').textContent(),
    'first: Finished after 30 steps; second: Not finished: step 20 of 20',
  );
  assert.equal(
    await page.getByRole('img').first().getAttribute('aria-label'),
    'Loss by step. first: 5 at step 1, 0.1667 at step 30. second: 5 at step 1, 0.25 at step 20',
  );
  const differ = await page
    .getByRole('region', { name: 'Settings that differ' })
    .locator('tbody')
    .innerText();
  assert.match(differ, /^optimizer\.lr\s+0\.001\s+0\.0005$/);
  const best = await page.getByRole('region', { name: 'Scores of the runs' }).locator('tbody').innerText();
  assert.match(best, /recall@10\s+0\.4000 step 30, from 0\.1000\s+0\.3000 step 20, from 0\.1000/);
  assert.match(best, /loss\s+0\.1667 step 30, from 5\s+0\.2500 step 20, from 5/);
  assert.deepEqual(await accessibilityFaults(page), []);
  assert.deepEqual(said, []);
});

test('texts of data and names of runs cannot become a part of the page', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'page.html');
  const name = HOSTILE.replaceAll('/', '∕');
  await writeReport([await writeRun(join(folder, name), { text: HOSTILE })], path, { title: HOSTILE });
  const { page, said } = await (await openBrowser(t)).open(pathToFileURL(path).href);
  assert.equal(await page.title(), `${HOSTILE} · gradcache`);
  for (const [selector, count] of [
    ['img', 0],
    ['script', 3],
    ['.cards li', 2],
  ] as const)
    assert.equal(await page.locator(selector).count(), count, selector);
  assert.equal(await page.locator('.cards .text').first().textContent(), HOSTILE);
  assert.equal(await page.locator('.cards dd').first().textContent(), `right ${HOSTILE}`);
  assert.equal(await page.getByRole('img').count(), 8);
  assert.deepEqual(said, []);
});
