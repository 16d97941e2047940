/** The site of guides and reference, as `npm run docs` makes it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { openBrowser } from '../browser/browser.js';
import { root, temporaryFolder } from '../training/support.js';
import { node, PAGES, textOf } from './pages.js';

test('the site has all guides, no name without a word about it, and is found through in a browser', async (t) => {
  const folder = await temporaryFolder(t);
  // Types are checked before the tests run. A name without documentation is a warning, as is a link that leads nowhere.
  const flags = ['--skipErrorChecking', '--treatWarningsAsErrors', '--treatValidationWarningsAsErrors'];
  node(
    root,
    join('node_modules', 'typedoc', 'bin', 'typedoc'),
    ...flags,
    '--out',
    folder,
    '--logLevel',
    'Warn',
  );

  const { page, said } = await (
    await openBrowser(t)
  ).open(pathToFileURL(join(folder, 'index.html')).href, { width: 390 });
  /** What a search lists, best first. */
  const search = async (words: string): Promise<string[]> => {
    await page.locator('#tsd-search-trigger').click();
    await page.locator('#tsd-search-input').fill(words);
    await page.locator('#tsd-search-results li a').first().waitFor();
    return page.locator('#tsd-search-results li').allTextContents();
  };
  assert.match((await search('infoNCE'))[0]!, /infoNCE/);
  await page.locator('#tsd-search-results li a').first().click();
  await page.getByRole('heading', { level: 1, name: 'Function infoNCE' }).waitFor();
  // What a guide says is found too, not its name alone.
  const found = await search('false negatives');
  assert.ok(
    found.some((line) => line.includes('Hard negatives')),
    found.join('\n'),
  );
  await page.locator('#tsd-search-results li a', { hasText: 'Hard negatives' }).first().click();
  await page.getByRole('heading', { name: 'Leave out false negatives' }).waitFor();
  assert.deepEqual(
    // Of pages that are files, a browser loads no icons from another file.
    said.filter((line) => !line.startsWith('log') && !line.includes('icons.svg')),
    [],
  );

  // Every name is under a topic, and every guide is listed.
  await page.goto(pathToFileURL(join(folder, 'modules.html')).href);
  const topics = await page.locator('h2').allTextContents();
  assert.deepEqual(topics.slice(0, 3), ['Guides', 'Training runs', 'The cached step']);
  assert.ok(!topics.includes('Other'), topics.join());
  const guides = PAGES.filter((name) => name !== 'README.md').map(
    (name) => /^# (.+)/.exec(textOf(name))![1]!,
  );
  assert.ok(guides.length >= 7);
  const listed = await page.locator('.col-content a').allTextContents();
  for (const guide of guides) assert.ok(listed.includes(guide), guide);
});
