import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import assert from 'node:assert/strict';
import { root, temporaryFolder } from '../training/support.js';

/** What users read: the README and the guides. */
export const PAGES: readonly string[] = [
  'README.md',
  ...readdirSync(join(root, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/** The text of a page. */
export const textOf = (page: string): string => readFileSync(join(root, page), 'utf8');

/** The code blocks of a page that are in a language, in order. */
export function blocks(page: string, language: string): string[] {
  const pattern = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms');
  return [...textOf(page).matchAll(pattern)].map(([, code]) => code!);
}

/** A folder in which `gradcache` is installed. */
export async function consumer(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t);
  await mkdir(join(folder, 'node_modules'));
  await symlink(root, join(folder, 'node_modules', 'gradcache'));
  return folder;
}

/** Runs Node.js in a folder, and gives what it printed. */
export function node(folder: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}
