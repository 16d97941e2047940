import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import { chromium, type Page } from 'playwright-core';
import { root } from '../training/support.js';

const require = createRequire(import.meta.url);

/** How a page is looked at. */
export interface Look {
  readonly width: number;
  readonly colours?: 'light' | 'dark';
}

/** A browser without a window, which is closed when the test ends. */
export interface Browser {
  /** A new page, and what its console and its errors said. */
  open(url: string, look?: Look): Promise<{ page: Page; said: string[] }>;
}

/** Starts Chromium, which comes with the package @sparticuz/chromium. It needs nothing of the machine but a C library. */
export async function openBrowser(t: TestContext): Promise<Browser> {
  const folder = await unpackChromium();
  const libraries = [process.env.LD_LIBRARY_PATH, join(folder, 'lib')].filter(Boolean).join(':');
  const browser = await chromium.launch({
    executablePath: join(folder, 'chromium'),
    args: ['--no-sandbox', '--disable-gpu', '--no-zygote'],
    env: {
      ...(process.env as Record<string, string>),
      LD_LIBRARY_PATH: libraries,
      FONTCONFIG_FILE: join(folder, 'fonts.conf'),
    },
  });
  t.after(() => browser.close());
  return {
    async open(url, { width, colours = 'light' } = { width: 1280 }) {
      const page = await browser.newPage({ viewport: { width, height: 844 }, colorScheme: colours });
      const said: string[] = [];
      page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
      page.on('pageerror', (error) => said.push(`error: ${error.message}`));
      await page.goto(url);
      return { page, said };
    },
  };
}

/** What axe-core, which knows the rules of accessibility, finds wrong with a page. */
export async function accessibilityFaults(page: Page): Promise<string[]> {
  await page.evaluate(readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations } = await page.evaluate<{
    violations: { id: string; help: string; nodes: { html: string }[] }[];
  }>('axe.run()');
  return violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`,
  );
}

/** Unpacks Chromium beside what other tests need, once for each version. */
async function unpackChromium(): Promise<string> {
  const entry = require.resolve('@sparticuz/chromium');
  const packed =
    entry.slice(0, entry.indexOf(`${join('@sparticuz', 'chromium')}`)) + join('@sparticuz', 'chromium');
  const { version } = JSON.parse(await readFile(join(packed, 'package.json'), 'utf8')) as { version: string };
  const folder = join(root, '.cache', `chromium-${version}`);
  if (existsSync(folder)) return folder;
  const beside = `${folder}.${process.pid}.tmp`;
  await mkdir(join(beside, 'fonts'), { recursive: true });
  try {
    const unpacked = async (name: string): Promise<Buffer> =>
      promisify(brotliDecompress)(await readFile(join(packed, 'bin', name)));
    await writeFile(join(beside, 'chromium'), await unpacked('chromium.br'));
    await chmod(join(beside, 'chromium'), 0o755);
    for (const name of ['fonts', 'al2023']) {
      const archive = join(beside, `${name}.tar`);
      await writeFile(archive, await unpacked(`${name}.tar.br`));
      const { status, stderr } = spawnSync('tar', ['-xf', archive, '-C', beside], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`tar could not unpack ${archive}: ${stderr}`);
      await rm(archive);
    }
    await writeFile(join(beside, 'fonts.conf'), fontSettings(folder));
    await rename(beside, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error; // another test was quicker
    });
  } finally {
    await rm(beside, { recursive: true, force: true });
  }
  return folder;
}

/** The fonts of the machine, if it has any, and those that came with the browser. */
function fontSettings(folder: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>${join(folder, 'fonts')}</dir>
  <cachedir>${join(dirname(folder), 'font-cache')}</cachedir>
</fontconfig>
`;
}
