import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A new empty folder that is removed when the test ends. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'gradcache-test-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** The folder `test/` of the repository, seen from a compiled test. */
export const testFolder = join(import.meta.dirname, '..', '..', '..', 'test');

/** Collects everything that an iterable gives. */
export async function collect<T>(items: AsyncIterable<T> | Iterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
